"""Sign-off: votes bound to a digest, proven by a code or a signature, settled by quorum (R-RESP-3, G6).

Pure rules; proofs are verified by `blocks.people`, records are written by `flows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from model.canonical import Value
from model.errors import Refused
from model.outcome import Gate
from model.plan import GateRule, Plan


class Decision(StrEnum):
    """What a person can say at a gate."""

    APPROVE = "approve"
    DENY = "deny"
    ASK = "ask for more"
    WITHDRAW = "withdraw"


class Vote(Value):
    """One person's word at one gate; written to the journal only once its proof was verified.

    Attributes:
        digest: what was voted on: the proposal's digest, or the acceptance result's.
        proof: how identity was proven. The one-time code itself is never kept; `proof_ref` is its time step, or
            the SSH signature. `simulated`: nobody was asked, `proof_ref` is the drill whose policy cast it.
    """

    gate: Gate
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    person: str
    role: str
    decision: Decision
    reason: str = Field(max_length=2000)
    proof: Literal["totp", "ssh", "simulated"]
    proof_ref: str
    at: AwareDatetime


class Standing(Value):
    """Where a gate stands: settled or not, and who must still sign.

    Attributes:
        instead: person of the rule → who stands in for them now.
    """

    settled: Decision | None
    approvals: tuple[str, ...]
    needed: int
    may_sign: tuple[str, ...]
    sentence: str
    instead: dict[str, str] = {}


StandIns = Callable[[datetime], Mapping[str, str]]
"""The moment → who signs in whose place then: person → who stands in."""


def nobody_stands_in(_: datetime) -> Mapping[str, str]:
    """Everybody signs for themselves."""
    return {}


def signers(
    plan: Plan, rule: GateRule, requester: str, instead: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Ids of the people who may sign under a rule; the requester never may (separation of duties).

    Args:
        plan: the plan.
        rule: of the gate.
        requester: who reported or proposed; neither they nor who stands in for them signs.
        instead: person → who stands in for them now.
    """
    return tuple(seats(plan, rule, requester, instead or {}))


def seats(plan: Plan, rule: GateRule, requester: str, instead: Mapping[str, str]) -> dict[str, str]:
    """Who may sign → whose seat it is: their own, or that of the one they stand in for."""
    people = list(dict.fromkeys(person for role in rule.roles for person in getattr(plan.roles, role)))
    found = {person: person for person in people if person != requester and person not in instead}
    for person in people:
        other = instead.get(person, "")
        if other and requester not in {person, other} and other in plan.people:
            found.setdefault(other, person)
    return found


def admit(
    plan: Plan,
    rule: GateRule,
    requester: str,
    current_digest: str,
    votes: Sequence[Vote],
    vote: Vote,
    stand_ins: StandIns = nobody_stands_in,
) -> None:
    """Refuse a vote the rule does not allow.

    Raises:
        Refused: unknown person, wrong role, self-approval, another digest, a second vote of the same person, the same
            signature again, or nothing to withdraw.
    """
    if vote.person not in plan.people:
        raise Refused(
            f"{vote.person} is not a person of the plan.", remedy=f"known: {', '.join(plan.people)}"
        )
    if vote.person == requester:
        raise Refused(
            f"{vote.person} reported or proposed this and may not sign it.", remedy="ask another signer"
        )
    instead = stand_ins(vote.at)
    allowed = seats(plan, rule, requester, instead)
    if vote.person not in allowed and instead.get(vote.person):
        raise Refused(
            f"{instead[vote.person]} signs in the place of {vote.person} at this time.",
            remedy="take it back first: `reinstate people recall`",
        )
    if vote.person not in allowed:
        raise Refused(
            f"{vote.person} does not hold a role that signs this gate ({', '.join(rule.roles)}).",
            remedy=f"may sign: {', '.join(allowed) or 'nobody: the plan needs another signer'}",
        )
    if vote.digest != current_digest:
        raise Refused(
            f"the sign-off is for {vote.digest[:12]}, the current one is {current_digest[:12]}: it changed.",
            remedy="read the current proposal and sign that",
        )
    given = in_force(current_digest, votes)
    signed = vote.person in given
    for other in given.values():
        if (
            other.person != vote.person
            and seats(plan, rule, requester, stand_ins(other.at)).get(other.person) == allowed[vote.person]
        ):
            raise Refused(
                f"{other.person} already signed for {allowed[vote.person]}.",
                remedy="another person must sign",
            )
    if vote.decision is Decision.WITHDRAW and not signed:
        raise Refused(
            f"{vote.person} has signed nothing here that could be withdrawn.", remedy="nothing to do"
        )
    if vote.decision is not Decision.WITHDRAW and signed:
        raise Refused(f"{vote.person} already signed this gate.", remedy="another person must sign")
    if vote.proof == "ssh" and any(earlier.proof_ref == vote.proof_ref for earlier in votes):
        raise Refused("this very signature was given before.", remedy="sign again with another reason")


def in_force(digest: str, votes: Sequence[Vote]) -> dict[str, Vote]:
    """Person → their approval or denial of a digest that they have not taken back; questions are neither."""
    found: dict[str, Vote] = {}
    for vote in votes:
        if vote.digest != digest or vote.decision is Decision.ASK:
            continue
        if vote.decision is Decision.WITHDRAW:
            found.pop(vote.person, None)
        else:
            found.setdefault(vote.person, vote)
    return found


def standing(
    plan: Plan,
    rule: GateRule,
    requester: str,
    digest: str,
    votes: Sequence[Vote],
    stand_ins: StandIns = nobody_stands_in,
    at: datetime | None = None,
) -> Standing:
    """Fold the votes on one digest into where the gate stands. One denial settles it; approvals need the quorum.

    A vote counts for the seat its person had when it was cast, and a seat counts once.
    """
    by_seat: dict[str, Vote] = {}
    for person, vote in in_force(digest, votes).items():
        seat = seats(plan, rule, requester, stand_ins(vote.at)).get(person)
        if seat is not None:
            by_seat.setdefault(seat, vote)
    counted = list(by_seat.values())
    now = stand_ins(at) if at is not None else {}
    allowed = seats(plan, rule, requester, now)
    approvals = tuple(v.person for v in counted if v.decision is Decision.APPROVE)
    denials = [vote.person for vote in counted if vote.decision is Decision.DENY]
    voted = {vote.person for vote in counted}
    remaining = tuple(who for who, seat in allowed.items() if who not in voted and seat not in by_seat)
    settled: Decision | None = None
    if denials:
        settled, sentence = Decision.DENY, f"Denied by {denials[0]}."
    elif len(approvals) >= rule.quorum:
        settled, sentence = Decision.APPROVE, f"Approved by {', '.join(approvals)}."
    else:
        sentence = (
            f"{len(approvals)} of {rule.quorum} signed; may sign: {', '.join(remaining) or 'nobody left'}."
        )
    return Standing(
        settled=settled,
        approvals=approvals,
        needed=rule.quorum,
        may_sign=remaining,
        sentence=sentence,
        instead={one: now[one] for one in signers(plan, rule, "") if one in now},
    )
