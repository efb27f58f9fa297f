"""Texts that the plan holds back until somebody approves them, proven like a vote (R-RESP-8, R-ORG-2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from blocks.people import statement
from model.canonical import digest, now
from model.errors import BadInput, Damaged, Refused
from model.informing import Send, held, releases, sends
from model.journal import Record
from model.messages import MessageReleased
from tasks.inform import approved_text, keep_text
from tasks.messages import Text, compose
from tasks.proofs import prove
from tasks.work import Work

STEP = "message"
Decision = Literal["approve", "deny"]


class Waiting(NamedTuple):
    """A message that waits, and its text as it would be sent now."""

    message: str
    text: Text


def waiting(work: Work) -> list[Waiting]:
    """The messages of an incident that nobody has decided on, or whose approved text is lost, oldest first."""
    plan, at = work.plan.told, now()
    if plan is None:
        return []
    records = work.store.read(work.incident.id)
    lost = {send.message for send in sends(records, plan, work.plan.people, at) if _lost(work, records, send)}
    return [
        Waiting(one.name, compose(work.plan, work.incident, records, one, at))
        for one in (*held(records, plan, at), *sorted(lost, key=lambda one: one.name))
    ]


def _lost(work: Work, records: Sequence[Record], send: Send) -> bool:
    """Whether the approved text of a message is not what it was, or gone."""
    decided = releases(records).get(send.message.name)
    if decided is None:
        return False
    try:
        approved_text(work, decided.sha256)
    except Damaged:
        return True
    return False


def release_statement(work: Work, message: str, sha256: str, person: str, decision: Decision) -> bytes:
    """What an SSH signature of such a decision signs."""
    return statement(work.incident.id, STEP, digest([message, sha256]), person, decision, message, nonce="")


def release(
    work: Work, one: Waiting, person: str, decision: Decision, *, code: str = "", signature: str = ""
) -> MessageReleased:
    """Decide on the text of a message; an approved one is sent to the letter, a denied one never.

    Args:
        work: the incident.
        one: the message with the text that the person has read.
        person: id of the person.
        decision: approve or deny.
        code: six-digit one-time code.
        signature: armoured SSH signature over `release_statement`.

    Raises:
        BadInput: the message does not wait. Refused: the proof or the person is not admitted; nothing is recorded.
    """
    names = [other.message for other in waiting(work)]
    if one.message not in names:
        raise BadInput(
            f"{one.message!r} does not wait for approval.", work.incident.id,
            f"waiting: {', '.join(names) or 'nothing'}",
        )  # fmt: skip
    may = work.plan.publishers
    if person not in may:
        raise Refused(
            f"{person!r} does not approve messages.", work.incident.id, f"may approve: {', '.join(may)}"
        )
    at, sha256 = now(), keep_text(work, one.text)
    reference = prove(
        work.store, work.file, person, at, release_statement(work, one.message, sha256, person, decision),
        signature=signature, code=code, claim=f"{work.incident.id}/{STEP}/{one.message}/{sha256}/{person}/{decision}",
    )  # fmt: skip
    done = MessageReleased(
        message=one.message, person=person, role=", ".join(work.plan.roles.of(person)), decision=decision,
        sha256=sha256, proof="ssh" if signature else "totp", proof_ref=reference,
    )  # fmt: skip
    work.record(done)
    return done
