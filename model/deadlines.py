"""When people are reminded at a gate, others are told, and what happens at its deadline. Pure (R-RESP-3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from model.journal import GateOpened, GateReminded
from model.plan import GateRule

What = Literal["reminder", "escalation", "timeout"]


class Due(NamedTuple):
    """Something that is due at a gate.

    Attributes:
        before: seconds before the deadline at which the plan asks for it; 0 for the timeout.
    """

    what: What
    before: float


def due(rule: GateRule, opened: GateOpened, done: Sequence[GateReminded], at: datetime) -> list[Due]:
    """What is due at a gate now and was not done yet.

    Of several reminders that fell due while nobody looked only the last is given; after the deadline none is.

    Args:
        rule: the plan's.
        opened: the gate.
        done: what was done at this opening of it.
        at: the present moment.
    """
    left = (opened.deadline - at).total_seconds()
    if left <= 0:
        return [] if any(one.what == "held" for one in done) else [Due("timeout", 0.0)]
    given = {(one.what, one.before) for one in done}
    reached = [before for before in rule.remind if left <= before < rule.deadline]
    found = [Due("reminder", min(reached))] if reached else []
    if rule.escalate_to and left <= rule.escalate < rule.deadline:
        found.append(Due("escalation", rule.escalate))
    return [one for one in found if (one.what, one.before) not in given]
