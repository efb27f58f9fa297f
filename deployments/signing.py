"""Signing a gate or an opinion outside the form, and waking the run that waits for it."""

from __future__ import annotations

from pathlib import Path

from blocks.people import sign_statement, statement
from deployments.server.paths import running
from deployments.server.remote import wake
from model.outcome import Gate
from model.review import Judgement, Opinion
from model.signoff import Decision, Standing
from tasks.reviewing import give_opinion, opinion_statement
from tasks.voting import cast_vote
from tasks.work import Work


def sign_gate(
    work: Work,
    gate: Gate,
    person: str,
    decision: Decision,
    reason: str,
    *,
    digest: str,
    key: Path | None = None,
    code: str = "",
) -> Standing:
    """Cast a vote by SSH signature (`key`) or one-time code, then let the suspended run see it.

    Args:
        work: the incident.
        gate: which gate.
        person: id of the person in the plan.
        decision: what the person decides.
        reason: why.
        digest: what the person was shown; a sign-off of anything newer is refused.
        key: private key to sign with.
        code: one-time code instead.

    Raises:
        Refused: the vote was not admitted; it is in the journal, and the gate stays open.
    """
    signature = ""
    if key is not None:
        text = statement(work.incident.id, gate, digest, person, decision, reason, nonce="")
        signature = sign_statement(text, key)
    try:
        return cast_vote(
            work, gate, person=person, decision=decision, reason=reason, signed_digest=digest, code=code,
            signature=signature,
        )  # fmt: skip
    finally:  # settled or not: the form that is open in the UI shows where the gate stood before
        up = running()
        if up is not None:
            wake(up.paths, work)


def sign_opinion(
    work: Work, person: str, decision: Judgement, text: str, *, report: str, key: Path | None, code: str
) -> Opinion:
    """Give an opinion on the report by SSH signature (`key`) or one-time code.

    Raises:
        Refused: the opinion was not admitted; nothing is recorded.
    """
    text, signature = text.strip(), ""
    if key is not None:
        signature = sign_statement(opinion_statement(work, report, person, decision, text), key)
    return give_opinion(work, person, decision, text, report=report, code=code, signature=signature)
