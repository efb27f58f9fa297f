"""Verdicts of a run and the one-sentence outcomes every step ends in."""

from __future__ import annotations

from enum import StrEnum

from model.canonical import Value


class RunVerdict(StrEnum):
    """The three allowed ends of a recovery (guarantees.md, "Nothing lost")."""

    RECOVERED = "RECOVERED"
    ROLLED_BACK = "ROLLED_BACK"
    STOPPED_SAFE = "STOPPED_SAFE"


class Stage(StrEnum):
    """The response stages in order, and the way back."""

    REPORT = "report"
    CONFIRM = "confirm"
    DECIDE = "decide"
    PRESERVE = "preserve"
    REPAIR = "repair"
    RESTORE = "restore"
    VERIFY = "verify"
    ACCEPT = "accept"
    CLOSE = "close"
    REVIEW = "review"
    ROLL_BACK = "roll_back"


class Gate(StrEnum):
    """The sign-offs: of a recovery, of a plan that was changed and not published, of a plan's new version."""

    DECIDE = "decide"
    ACCEPT = "accept"
    BREAK_GLASS = "break_glass"
    PUBLISH = "publish"


class Outcome(Value):
    """How a step ended: one plain sentence for the log, the timeline and the tests."""

    ok: bool
    sentence: str
    remedy: str = ""
