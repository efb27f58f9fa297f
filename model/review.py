"""After the end: rectification items tracked until closed, and the leading group's opinions (R-REV-2). Pure.

An item is numbered by its place in the journal: the report's items, and those people add. Nothing is ever changed:
each assignment and each closing is a record of its own, and the newest counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from model.assets import Seconds, Word
from model.canonical import Value
from model.errors import BadInput

Text = Annotated[str, Field(min_length=1, max_length=2000)]

MOST = 3650 * 86400.0
"""Longest `due`, ten years: a longer one is a slip of the pen."""

_ITEM = re.compile(r"(inc-[0-9]{8}-[0-9]{6}-[0-9a-f]{4})\.([1-9][0-9]{0,5})")


class ReviewRule(Value):
    """What holds for a rectification item until a person says otherwise (R-REV-2).

    Attributes:
        due: how long after the item was found it is due.
        owner: who must see to it: a person, or a role, which means its first person.
    """

    due: Annotated[Seconds, Field(le=MOST)] = 30 * 86400.0
    owner: Word = "leading_group"


class ItemAdded(Value):
    """A person added a rectification item."""

    type: Literal["item_added"] = "item_added"
    text: Text
    person: str = ""


class ItemAssigned(Value):
    """An item was given an owner, a due date, or both; what is None stays as it was."""

    type: Literal["item_assigned"] = "item_assigned"
    number: int = Field(ge=1)
    owner: str | None = None
    due: date | None = None
    person: str = ""


class ItemClosed(Value):
    """An item is done, or needs nothing more; `note` says what was done."""

    type: Literal["item_closed"] = "item_closed"
    number: int = Field(ge=1)
    person: str
    note: Text


class Judgement(StrEnum):
    """What a member of the leading group says of the report."""

    APPROVE = "approve"
    MORE = "more"


class Opinion(Value):
    """A proven opinion on the report (R-ORG-1, R-REV-2).

    Attributes:
        report: SHA-256 of the report it is about.
        proof: how identity was proven, as in `model.signoff.Vote`; `proof_ref` likewise.
    """

    type: Literal["opinion"] = "opinion"
    report: str = Field(pattern=r"^[0-9a-f]{64}$")
    person: str
    role: str
    decision: Judgement
    text: Text
    proof: Literal["totp", "ssh"]
    proof_ref: str


class Said(Value):
    """An opinion with the moment it was recorded."""

    at: AwareDatetime
    opinion: Opinion


class Event(Value):
    """One moment of an item's history."""

    at: AwareDatetime
    sentence: str


class Item(Value):
    """A rectification item as it stands.

    Attributes:
        id: incident and number, `inc-….3`.
        owner: id of a person; empty in the journal's fold until one was assigned (`settled` fills it in).
        due: the last day it may be open, UTC; None as with `owner`.
        history: what happened to it, oldest first.
    """

    id: str
    number: int
    text: str
    added_at: AwareDatetime
    owner: str = ""
    due: date | None = None
    state: Literal["open", "closed"] = "open"
    note: str = ""
    history: tuple[Event, ...] = ()

    def overdue(self, today: date) -> bool:
        """Open after its last day."""
        return self.state == "open" and self.due is not None and self.due < today


def item_reference(text: str) -> tuple[str, int]:
    """Incident and number of an item's id.

    Raises:
        BadInput: it is no such id.
    """
    match = _ITEM.fullmatch(text)
    if match is None:
        raise BadInput(
            "that is not the id of a rectification item.", text, "`reinstate actions` lists them: `inc-….1`"
        )
    return match[1], int(match[2])


def added(items: Sequence[Item], incident: str, text: str, at: datetime, how: str) -> tuple[Item, ...]:
    """The items with one more; `how` begins its history."""
    number = len(items) + 1
    event = Event(at=at, sentence=how)
    return (*items, Item(id=f"{incident}.{number}", number=number, text=text, added_at=at, history=(event,)))


def found(items: Sequence[Item], incident: str, texts: Sequence[str], at: datetime) -> tuple[Item, ...]:
    """The items with those of the report; the same report written again after a crash adds nothing."""
    for text in texts:
        if all(item.text != text for item in items):
            items = added(items, incident, text, at, "Found by the report.")
    return tuple(items)


def changed(items: Sequence[Item], payload: ItemAssigned | ItemClosed, at: datetime) -> tuple[Item, ...]:
    """The items after one was assigned or closed; a record about an unknown item changes nothing."""
    return tuple(_changed(item, payload, at) if item.number == payload.number else item for item in items)


def _changed(item: Item, payload: ItemAssigned | ItemClosed, at: datetime) -> Item:
    new: dict[str, object] = {}
    if isinstance(payload, ItemClosed):
        new = {"state": "closed", "note": payload.note}
    else:
        new |= {"owner": payload.owner} if payload.owner is not None else {}
        new |= {"due": payload.due} if payload.due is not None else {}
    history = (*item.history, Event(at=at, sentence=sentence(payload)))
    return item.model_copy(update=new | {"history": history})


def sentence(payload: ItemAdded | ItemAssigned | ItemClosed) -> str:
    """What happened to an item, in one sentence."""
    match payload:
        case ItemAdded(text=text, person=person):
            return f"Rectification item added{_by(person)}: {text}"
        case ItemAssigned(number=number, owner=owner, due=due, person=person):
            parts = [f"to {owner}"] if owner is not None else []
            parts += [f"due {due}"] if due is not None else []
            return f"Item {number} assigned {', '.join(parts)}{_by(person)}."
        case ItemClosed(number=number, person=person, note=note):
            return f"Item {number} closed by {person}: {note}"


def _by(person: str) -> str:
    return f" by {person}" if person else ""


def settled(items: Sequence[Item], rule: ReviewRule, owner: str) -> tuple[Item, ...]:
    """The items with owner and due date filled in by the plan where nobody gave them.

    Args:
        items: of one incident.
        rule: of the plan the incident followed.
        owner: the person the rule's `owner` means.
    """
    return tuple(
        item.model_copy(
            update={
                "owner": item.owner or owner,
                "due": item.due or (item.added_at + timedelta(seconds=rule.due)).date(),
            }
        )
        for item in items
    )


def in_order(items: Sequence[Item]) -> list[Item]:
    """Open items first, the one due first at the top; then the closed ones."""
    return sorted(items, key=lambda item: (item.state == "closed", item.due or date.max, item.id))
