"""After the end: rectification items and proven opinions, each a record of the incident's journal (R-REV-2)."""

from __future__ import annotations

from datetime import date

from blocks.journals.base import JournalStore
from blocks.people import statement
from model.canonical import now
from model.errors import BadInput, Refused
from model.journal import State
from model.review import (
    Item,
    ItemAdded,
    ItemAssigned,
    ItemClosed,
    Judgement,
    Opinion,
    in_order,
    item_reference,
    settled,
)
from tasks.open_incidents import states_of
from tasks.proofs import prove
from tasks.work import Work, open_work

STEP = "review"
"""What an opinion's statement says in place of a gate: a signature of one is never good for the other."""


def items_of(work: Work, state: State | None = None) -> tuple[Item, ...]:
    """The items of an incident, with owner and due date of its plan where nobody gave them."""
    state = state or work.state()
    return settled(state.items, work.plan.review, work.plan.reviewer)


def all_items(store: JournalStore) -> list[Item]:
    """The items of all incidents whose journal verifies, open ones first, the one due first at the top."""
    items: list[Item] = []
    for incident, state in states_of(store):
        if state.items:
            items += items_of(open_work(incident, store), state)
    return in_order(items)


def add_item(work: Work, text: str, person: str = "") -> Item:
    """Add an item to an incident.

    Raises:
        BadInput: there is no text, or the person is not of the plan.
    """
    text = _said(text, "the text")
    if person:
        _known(work, person, "--by")
    work.record(ItemAdded(text=text, person=person))
    return items_of(work)[-1]


def assign_item(reference: str, owner: str | None, due: date | None, person: str = "") -> Item:
    """Give an open item an owner, a due date, or both.

    Raises:
        BadInput: no such item or person, or neither is given. Refused: it is closed.
    """
    work, item = _open_item(reference)
    if owner is None and due is None:
        raise BadInput("nothing to assign.", reference, "give `--owner PERSON`, `--due DATE`, or both")
    for name, option in ((owner, "--owner"), (person or None, "--by")):
        if name is not None:
            _known(work, name, option)
    work.record(ItemAssigned(number=item.number, owner=owner, due=due, person=person))
    return items_of(work)[item.number - 1]


def close_item(reference: str, person: str, note: str) -> Item:
    """Close an open item.

    Raises:
        BadInput: no such item or person, or no note. Refused: it is closed.
    """
    work, item = _open_item(reference)
    _known(work, person, "--by")
    work.record(ItemClosed(number=item.number, person=person, note=_said(note, "--note")))
    return items_of(work)[item.number - 1]


def _open_item(reference: str) -> tuple[Work, Item]:
    incident, number = item_reference(reference)
    work = open_work(incident)
    items = items_of(work)
    if number > len(items):
        raise BadInput(
            f"{incident} has {len(items)} rectification items.", reference, "`reinstate actions` lists them"
        )
    item = items[number - 1]
    if item.state == "closed":
        raise Refused(
            f"this item is closed: {item.note}",
            reference,
            f"add another with `reinstate actions add {incident} TEXT`",
        )
    return work, item


def _known(work: Work, person: str, option: str) -> None:
    if person not in work.plan.people:
        raise BadInput(
            f"{person!r} is not a person of the plan.", option, f"give one of {', '.join(work.plan.people)}"
        )


def _said(text: str, option: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= 2000:
        raise BadInput(f"a text of {len(text)} characters.", option, "say it in 1 to 2000 characters")
    return text


def report_digest(work: Work) -> str:
    """What an opinion is about: the SHA-256 of the report that was written at the end.

    Raises:
        Refused: the incident has no report yet.
    """
    reviewed = work.state().reviewed
    if reviewed is None:
        raise Refused(
            "the incident has not ended, there is no report to review yet.",
            work.incident.id,
            f"see `reinstate report {work.incident.id}` for how far it is",
        )
    return reviewed.sha256


def opinion_statement(work: Work, report: str, person: str, decision: Judgement, text: str) -> bytes:
    """What an SSH signature of an opinion signs."""
    return statement(work.incident.id, STEP, report, person, decision, text, nonce="")


def give_opinion(
    work: Work,
    person: str,
    decision: Judgement,
    text: str,
    *,
    report: str,
    code: str = "",
    signature: str = "",
) -> Opinion:
    """Record one opinion of the leading group, proven by one-time code or SSH signature.

    Args:
        work: the incident.
        person: id of the person in the plan.
        decision: whether the report will do.
        text: the opinion; kept for ever.
        report: SHA-256 of the report the person read.
        code: six-digit one-time code.
        signature: armoured SSH signature over `opinion_statement`.

    Raises:
        BadInput: there is no text. Refused: the proof or the person is not admitted; nothing is recorded.
    """
    text = _said(text, "--opinion")
    if report != report_digest(work):
        raise Refused("that is not the report of this incident.", work.incident.id, "read the current report")
    members = work.plan.roles.leading_group
    if person not in members:
        raise Refused(
            f"{person!r} is not of the leading group, which reviews the report.",
            work.incident.id,
            f"may review: {', '.join(members)}",
        )
    reference = prove(
        work.store, work.file, person, now(), opinion_statement(work, report, person, decision, text),
        signature=signature, code=code,
        claim=f"{work.incident.id}/{STEP}/{len(work.state().opinions)}/{person}/{decision}",
    )  # fmt: skip
    opinion = Opinion(
        report=report, person=person, role="leading_group", decision=decision, text=text,
        proof="ssh" if signature else "totp", proof_ref=reference,
    )  # fmt: skip
    work.record(opinion)
    return opinion
