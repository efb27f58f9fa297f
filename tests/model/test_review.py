"""Rectification items: numbered by the journal, never lost, whatever people do with them (R-REV-2)."""

from __future__ import annotations

from datetime import date

import pytest

from model.errors import BadInput
from model.journal import Payload, Reviewed, fold
from model.outcome import RunVerdict
from model.review import (
    Item,
    ItemAdded,
    ItemAssigned,
    ItemClosed,
    ReviewRule,
    in_order,
    item_reference,
    settled,
)
from model.steps import Finished, next_step

from .builders import ID, chain, good_run, plan

RUN: list[Payload] = [payload for _, payload in good_run()][:-1]
REPORT = Reviewed(report="report.html", sha256="0" * 64, items=("Back up more often.", "Find out why."))


def items(*after: Payload) -> tuple[Item, ...]:
    return fold(chain([*RUN, REPORT, *after])).items


def test_items_of_the_report_are_numbered_in_order() -> None:
    assert [(f"{ID}.1", "Back up more often."), (f"{ID}.2", "Find out why.")] == [
        (i.id, i.text) for i in items()
    ]


def test_report_written_again_after_a_crash_adds_no_item() -> None:
    assert items() == items(REPORT)


def test_item_keeps_its_number_and_history_through_assignment_and_closing() -> None:
    one, two, three = items(
        ItemAdded(text="Train the night shift.", person="ann"),
        ItemAssigned(number=2, owner="bob", due=date(2025, 3, 1), person="ann"),
        ItemAssigned(number=2, due=date(2025, 4, 1)),
        ItemClosed(number=2, person="bob", note="A full disk; there is an alarm now."),
    )
    assert ("open", 3, "Train the night shift.") == (one.state, three.number, three.text)
    assert ("bob", date(2025, 4, 1), "closed") == (two.owner, two.due, two.state)
    assert [
        "Found by the report.", "Item 2 assigned to bob, due 2025-03-01 by ann.", "Item 2 assigned due 2025-04-01.",
        "Item 2 closed by bob: A full disk; there is an alarm now.",
    ] == [event.sentence for event in two.history]  # fmt: skip


def test_record_about_an_item_that_is_not_there_changes_nothing() -> None:
    assert items() == items(ItemClosed(number=9, person="ann", note="done"))


def test_items_of_an_incident_do_not_change_what_comes_next() -> None:
    step = next_step(chain([*RUN, REPORT, ItemAdded(text="x"), ItemClosed(number=3, person="ann", note="y")]))
    assert isinstance(step, Finished)
    assert RunVerdict.RECOVERED is step.verdict


def test_plan_gives_owner_and_date_where_nobody_did() -> None:
    one, two = settled(items(ItemAssigned(number=2, owner="dan")), ReviewRule(), plan().reviewer)
    assert ("ann", date(2025, 1, 31)) == (one.owner, one.due)
    assert ("dan", date(2025, 1, 31)) == (two.owner, two.due)


def test_item_is_overdue_from_the_day_after_its_last() -> None:
    one, two = settled(items(ItemClosed(number=2, person="ann", note="done")), ReviewRule(), "ann")
    assert [False, True] == [one.overdue(date(2025, 1, 31)), one.overdue(date(2025, 2, 1))]
    assert not two.overdue(date(2026, 1, 1))


def test_open_items_come_first_the_one_due_first_at_the_top() -> None:
    found = settled(
        items(
            ItemClosed(number=1, person="ann", note="done"),
            ItemAdded(text="x"),
            ItemAssigned(number=3, due=date(2025, 1, 2)),
        ),
        ReviewRule(),
        "ann",
    )
    assert [3, 2, 1] == [item.number for item in in_order(found)]


@pytest.mark.parametrize("text", ["", "1", ID, f"{ID}.0", f"{ID}.x", f"{ID}.1\n", f"../{ID}.1"])
def test_what_is_no_id_of_an_item_says_where_the_ids_are(text: str) -> None:
    with pytest.raises(BadInput, match="reinstate actions"):
        item_reference(text)
    assert (ID, 12) == item_reference(f"{ID}.12")
