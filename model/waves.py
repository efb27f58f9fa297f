"""Which actions of a proposal may run side by side (R-RESP-5: the shortest way that keeps the plan's order)."""

from __future__ import annotations

from collections.abc import Sequence

from model.plan import Plan
from model.proposal import Action


def waves(actions: Sequence[Action], plan: Plan) -> list[list[Action]]:
    """Group actions by what they wait for: on one host one after another, and after what their asset depends on.

    Args:
        actions: in order of execution.
        plan: the plan they follow.

    Returns:
        Groups in order; the actions of one group are on different hosts and none waits for another of them.
    """
    level: dict[str, int] = {}
    grouped: list[list[Action]] = []
    for action in actions:
        before = [level[one.id] for one in actions if one.id in level and _waits(action, one, plan)]
        level[action.id] = number = max(before, default=-1) + 1
        if number == len(grouped):
            grouped.append([])
        grouped[number].append(action)
    return grouped


def _waits(action: Action, earlier: Action, plan: Plan) -> bool:
    """Whether an action must not begin before an earlier one ended."""
    restarts = plan.assets[earlier.asset].services
    return (
        action.host == earlier.host or earlier.asset in plan.needs(action.asset) or action.asset in restarts
    )
