"""What is due at a gate, by the plan and the clock alone (R-RESP-3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model.deadlines import Due, due
from model.journal import GateOpened, GateReminded
from model.outcome import Gate
from model.plan import GateRule

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600.0
RULE = GateRule(deadline=4 * HOUR, remind=(HOUR, HOUR / 4), escalate=HOUR / 2)
REMINDER, LAST, ESCALATION, TIMEOUT = (
    Due("reminder", HOUR),
    Due("reminder", HOUR / 4),
    Due("escalation", HOUR / 2),
    Due("timeout", 0.0),
)


def opened(rule: GateRule = RULE) -> GateOpened:
    return GateOpened(gate=Gate.ACCEPT, digest="a" * 64, deadline=START + timedelta(seconds=rule.deadline))


def done(*dues: Due) -> list[GateReminded]:
    names = {"reminder": "reminder", "escalation": "escalation", "timeout": "held"}
    return [
        GateReminded.model_validate(
            {"gate": Gate.ACCEPT, "digest": "a" * 64, "what": names[one.what], "before": one.before, "sentence": "."}
        )
        for one in dues
    ]  # fmt: skip


def at(left: float) -> datetime:
    """So many seconds before the deadline."""
    return START + timedelta(seconds=RULE.deadline - left)


@pytest.mark.parametrize(
    ("left", "before", "expected"),
    [
        (4 * HOUR, (), []),
        (HOUR + 1, (), []),
        (HOUR, (), [REMINDER]),
        (HOUR - 1, (REMINDER,), []),
        (HOUR / 2, (REMINDER,), [ESCALATION]),
        (HOUR / 2, (), [REMINDER, ESCALATION]),
        (HOUR / 4, (REMINDER, ESCALATION), [LAST]),
        (60, (), [LAST, ESCALATION]),
        (60, (LAST, ESCALATION), []),
        (0, (), [TIMEOUT]),
        (-1, (REMINDER, ESCALATION, LAST), [TIMEOUT]),
        (-72 * HOUR, (TIMEOUT,), []),
    ],
)
def test_each_is_due_once_and_in_its_order(left: float, before: tuple[Due, ...], expected: list[Due]) -> None:
    assert expected == due(RULE, opened(), done(*before), at(left))


def test_reminder_that_would_come_at_the_opening_is_none() -> None:
    """A deadline shorter than the time before it at which one reminds."""
    short = GateRule(deadline=HOUR / 2, remind=(HOUR, HOUR / 4), escalate=HOUR / 2)
    assert [] == due(short, opened(short), [], START)
    later = START + timedelta(seconds=HOUR / 4)
    assert [LAST] == due(short, opened(short), [], later)


def test_nobody_to_escalate_to() -> None:
    alone = GateRule(deadline=4 * HOUR, remind=(), escalate_to=())
    assert [] == due(alone, opened(alone), [], at(60))
