"""Sign-off: votes bound to a digest, proven by a code or a signature, settled by quorum (R-RESP-3, G6).

Pure rules; proofs are verified by `blocks.people`, records are written by `flows`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
            the SSH signature.
    """

    gate: Gate
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    person: str
    role: str
    decision: Decision
    reason: str = Field(max_length=2000)
    proof: Literal["totp", "ssh"]
    proof_ref: str
    at: AwareDatetime


class Standing(Value):
    """Where a gate stands: settled or not, and who must still sign."""

    settled: Decision | None
    approvals: tuple[str, ...]
    needed: int
    may_sign: tuple[str, ...]
    sentence: str


def signers(plan: Plan, rule: GateRule, requester: str) -> tuple[str, ...]:
    """Ids of the people who may sign under a rule; the requester never may (separation of duties)."""
    people: dict[str, None] = {}
    for role in rule.roles:
        people.update(dict.fromkeys(getattr(plan.roles, role)))
    return tuple(person for person in people if person != requester)


def admit(
    plan: Plan, rule: GateRule, requester: str, current_digest: str, votes: Sequence[Vote], vote: Vote
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
    allowed = signers(plan, rule, requester)
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
    signed = vote.person in in_force(current_digest, votes)
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


def standing(plan: Plan, rule: GateRule, requester: str, digest: str, votes: Sequence[Vote]) -> Standing:
    """Fold the votes on one digest into where the gate stands. One denial settles it; approvals need the quorum."""
    allowed = signers(plan, rule, requester)
    counted = [vote for person, vote in in_force(digest, votes).items() if person in allowed]
    approvals = tuple(v.person for v in counted if v.decision is Decision.APPROVE)
    denials = [vote.person for vote in counted if vote.decision is Decision.DENY]
    remaining = tuple(person for person in allowed if person not in {vote.person for vote in counted})
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
        settled=settled, approvals=approvals, needed=rule.quorum, may_sign=remaining, sentence=sentence
    )
