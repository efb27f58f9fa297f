"""The incident: what was reported, of which kind, against which version of which plan. Immutable."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from model.canonical import Value
from model.mistake import Mistake


class Kind(StrEnum):
    """A drill is a drill (G12): on every record, message and report."""

    REAL = "real"
    DRILL = "drill"
    VERIFICATION = "verification"


class Source(StrEnum):
    """How the report came in (R-RESP-1)."""

    UI = "ui"
    CLI = "cli"
    WEBHOOK = "webhook"
    SCHEDULE = "schedule"
    DEMO = "demo"


class Incident(Value):
    """One report of software damage.

    Attributes:
        id: `inc-YYYYMMDD-HHMMSS-xxxx`, a valid file name and object key; `pub-…` of a plan's publication, `drl-…` of a
            drill.
        plan_digest: SHA-256 of the plan's text that this incident follows.
        published: number of the published plan version it follows; None when that text was not published.
        detected_at: when damage was first noticed by anyone; RTO is measured from here.
        mistakes: what people did by mistake; no check can find it.
        drill: the drill it is part of; its hosts are then the staging hosts of the plan.
        tabletop: it is played through on paper; no host is connected to.
    """

    id: str = Field(pattern=r"^(inc|pub|drl)-[0-9]{8}-[0-9]{6}-[0-9a-f]{4}$")
    kind: Kind
    plan: str
    plan_version: str
    plan_digest: str
    summary: str = Field(max_length=2000)
    reported_by: str = Field(max_length=80)
    source: Source
    detected_at: AwareDatetime
    opened_at: AwareDatetime
    mistakes: tuple[Mistake, ...] = Field(default=(), exclude_if=lambda mistakes: not mistakes)
    published: int | None = Field(default=None, ge=1, exclude_if=lambda number: number is None)
    drill: str = Field(
        default="", pattern=r"^$|^drl-[0-9]{8}-[0-9]{6}-[0-9a-f]{4}$", exclude_if=lambda ident: not ident
    )
    tabletop: bool = Field(default=False, exclude_if=lambda paper: not paper)

    @property
    def kept_as(self) -> str:
        """Under what name its plan's hosts are remembered; see `Plan.kept_as`."""
        return f"{self.plan}@staging" if self.drill else self.plan

    @property
    def follows(self) -> str:
        """The plan's version in words."""
        known = f"published as {self.published}" if self.published else "not published"
        return f"plan {self.plan} version {self.plan_version} ({known})"


def new_incident_id(moment: datetime, prefix: Literal["inc", "pub", "drl"] = "inc") -> str:
    """A fresh id; four random hex digits keep two reports of one second apart.

    `pub` is for a plan's publication, `drl` for a drill.
    """
    return f"{prefix}-{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
