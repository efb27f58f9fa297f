"""Whether what is about to be changed was signed: asked again before every single action (G6)."""

from __future__ import annotations

from model.canonical import now
from model.errors import Refused, Withdrawn
from model.journal import State
from model.outcome import Gate
from model.signoff import Decision
from tasks.versions import glass_needed
from tasks.voting import TAKEN_BACK, gate_standing
from tasks.work import Work


def require_signed(work: Work, state: State) -> None:
    """Check the sign-off again, from the proof of each vote and not from a settlement someone wrote (G6).

    Raises:
        Refused: the proposal in the journal is not the one that was approved.
    """
    decided = gate_standing(work, state, Gate.DECIDE)
    taken_back = [v.person for v in state.votes if v.decision is Decision.WITHDRAW and v.gate in TAKEN_BACK]
    if (
        taken_back
        and not state.intents
        and any(g in state.gates and state.signed(g) is None for g in TAKEN_BACK)
    ):
        raise Withdrawn(
            f"{taken_back[-1]} took their approval back before anything was changed: {decided.sentence}",
            where=work.incident.id, remedy="the gate is open again",
        )  # fmt: skip
    if decided.settled is not Decision.APPROVE or state.signed(Gate.DECIDE) is not Decision.APPROVE:
        raise Refused(
            f"the current proposal is not signed: {decided.sentence}",
            where=work.incident.id,
            remedy=f"sign it in the UI or with `reinstate approve {work.incident.id}`",
        )
    _require_plan(work, state)


def _require_plan(work: Work, state: State) -> None:
    """Check that the plan is the published one, or that two people broke the glass for this very text.

    What has begun under their word is not cut off when it runs out: half a repair is worse.

    Raises:
        Refused: neither holds. Damaged: a published version was altered.
    """
    needed = glass_needed(work.store, work.incident)
    if needed is None:
        return
    remedy = f"break the glass with two people: `reinstate approve {work.incident.id}`; or publish the plan"
    opened = state.gates.get(Gate.BREAK_GLASS)
    if opened is None:
        raise Refused(needed.sentence, work.incident.id, remedy)
    where = gate_standing(work, state, Gate.BREAK_GLASS)
    if where.settled is not Decision.APPROVE or state.signed(Gate.BREAK_GLASS) is not Decision.APPROVE:
        raise Refused(f"{needed.sentence} {where.sentence}", work.incident.id, remedy)
    if opened.deadline <= now() and not state.intents:
        raise Refused(
            f"the glass was broken until {opened.deadline:%Y-%m-%d %H:%M} UTC, and nothing was begun by then.",
            work.incident.id, remedy,
        )  # fmt: skip
