"""Letting another person sign in one's place for a while, proven like a vote (R-ORG-1, G6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from blocks.journals.base import JournalStore
from blocks.people import statement, verify_ssh
from model.canonical import now
from model.delegation import Delegation, stand_ins
from model.errors import BadInput, Refused
from model.outcome import Gate
from model.plan import Plan
from model.signoff import StandIns
from tasks.proofs import change_book, prove, read_book, require_proof
from tasks.work import PlanFile

LONGEST = timedelta(days=90)
"""A delegation ends by itself; who is away for longer is replaced in the plan."""

STEP = "delegate"


def delegation_statement(plan: str, given: Delegation) -> bytes:
    """What an SSH signature of a delegation signs."""
    return statement(plan, STEP, given.to_sign, given.giver, given.to, given.reason, nonce="")


def draft(
    file: PlanFile, giver: str, to: str, until: datetime, gates: tuple[Gate, ...], reason: str
) -> Delegation:
    """A delegation that is not proven yet.

    Raises:
        BadInput: unknown people, a giver without a role, an end that is past or too far off.
    """
    people = file.plan.people
    for ident, option in ((giver, "--as"), *(((to, "--to"),) if to else ())):
        if ident not in people:
            raise BadInput(
                f"{ident!r} is not a person of the plan.", option, f"give one of {', '.join(people)}"
            )
    if not file.plan.roles.of(giver):
        raise BadInput(
            f"{giver} holds no role, so there is nothing to hand on.", "--as", "see `reinstate people list`"
        )
    if to == giver:
        raise BadInput("nobody stands in for themselves.", "--to", "name another person")
    if to and not (people[to].totp or people[to].ssh_keys):
        raise BadInput(f"{to} has no code and no key in the plan.", "--to", "name somebody who can sign")
    at = now()
    if to and not at < until <= at + LONGEST:
        raise BadInput(
            f"it would end {until:%Y-%m-%d %H:%M} UTC.",
            "--until",
            f"give a moment within the next {LONGEST.days} days",
        )
    if not reason.strip():
        raise BadInput("no reason is given.", "--reason", "say why; it is kept for ever")
    return Delegation(
        giver=giver, to=to, gates=gates, at=at, until=until, reason=reason.strip(), proof="totp", proof_ref="",
    )  # fmt: skip


def delegate(
    file: PlanFile, store: JournalStore, given: Delegation, *, code: str = "", signature: str = ""
) -> Delegation:
    """Prove a drafted delegation and write it down; it holds from then on.

    Raises:
        Refused: the proof is not right, or was used before; nothing is written.
    """
    plan = file.plan
    reference = prove(
        store, file, given.giver, given.at, delegation_statement(plan.name, given),
        signature=signature, code=code, claim=_claim(plan.name, given),
    )  # fmt: skip
    if signature and any(other.proof_ref == reference for other in read_book(store, plan.name).delegations):
        raise Refused("this very signature was given before.", remedy="sign again with another reason")
    proven = given.model_copy(update={"proof": "ssh" if signature else "totp", "proof_ref": reference})
    change_book(
        store, plan.name, lambda book: book.model_copy(update={"delegations": (*book.delegations, proven)})
    )
    return proven


def _claim(plan: str, given: Delegation) -> str:
    return f"{STEP}/{plan}/{given.to_sign}"


def delegations_of(store: JournalStore, plan: Plan) -> tuple[Delegation, ...]:
    """The delegations of a plan's people whose proof still holds when it is read again, oldest first.

    Raises:
        Damaged: what is known of them was altered.
    """
    return tuple(one for one in read_book(store, plan.name).delegations if _holds(store, plan, one))


def _holds(store: JournalStore, plan: Plan, one: Delegation) -> bool:
    person = plan.people.get(one.giver)
    if person is None:
        return False
    try:
        who = require_proof(store, plan.name, one.giver, person, one.at, by_key=one.proof == "ssh")
        if one.proof == "ssh":
            verify_ssh(who, delegation_statement(plan.name, one), one.proof_ref)
            return True
    except Refused:
        return False
    step = one.proof_ref.removeprefix("totp:")
    return step.isdecimal() and store.claim_of(one.giver, int(step)) == _claim(plan.name, one)


def stand_ins_of(store: JournalStore, plan: Plan, gate: Gate) -> StandIns:
    """Who signs in whose place at a gate, by the moment.

    Raises:
        Damaged: what is known of it was altered.
    """
    book = read_book(store, plan.name)
    given = delegations_of(store, plan) if book.delegations else ()

    def at_that_time(at: datetime) -> Mapping[str, str]:
        return stand_ins(given, gate, at, book.revoked)

    return at_that_time
