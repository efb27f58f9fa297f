"""A gate: a durable state in the journal; the Prefect run suspends and its form brings one vote. No process waits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Literal

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from pydantic import ConfigDict, Field

from flows.showing import COSMETIC, show_question, waiting_is_no_error
from flows.stage import in_prefect, run, say
from model.canonical import now
from model.errors import Refused
from model.journal import State
from model.outcome import Gate
from model.signoff import Decision
from tasks import steps
from tasks.deadlines import keep_gate
from tasks.diagnosis_page import summary
from tasks.gate_page import asked_markdown
from tasks.render import standing_markdown
from tasks.simulated_votes import simulate_if_due
from tasks.voting import (
    cast_vote,
    expired,
    gate_digest,
    gate_standing,
    glass_is_due,
    open_gate,
    rule_of,
    settle,
)
from tasks.work import Work

NOTHING = {
    "person": "journal",
    "decision": "approve",
    "reason": "Dealt with elsewhere.",
    "digest": "0" * 12,
    "code": "000000",
}
"""What wakes a run whose form is out of date: it is no vote."""

RESUMED = "Resuming"
"""Name of the state that the Prefect server gives a run whose form it took."""


class SignOff(RunInput):
    """Your sign-off. It is verified by Reinstate, not by Prefect; a refused answer leaves the gate open."""

    model_config = ConfigDict(extra="forbid")

    person: str = Field(min_length=1, max_length=64, description="Your id in the plan")
    decision: Literal["approve", "deny", "ask for more", "withdraw"] = Field(description="What you decide")
    reason: str = Field(min_length=1, max_length=2000, description="Why; kept for ever in the journal")
    digest: str = Field(
        pattern=r"^[0-9a-f]{12,64}$", description="First 12 digits (or all) of the digest you read above"
    )
    code: str = Field(pattern=r"^[0-9]{6}$", description="Your six-digit one-time code")


class WaitingForSignOff(Refused):
    """People have not signed yet and this run has no form to ask them: sign with `reinstate approve`, run again."""

    code = "WAITING_FOR_SIGN_OFF"
    exit_code = 3


def description(work: Work, state: State, gate: Gate) -> str:
    """What the form shows: the last refusal, who must still sign, then what is to be signed."""
    body = asked_markdown(work, state, gate)
    where = gate_standing(work, state, gate)
    head = standing_markdown(work.plan, rule_of(work, gate), state, gate, where)
    confirmed = state.confirmed
    if gate is Gate.DECIDE and confirmed is not None and confirmed.diagnosis is not None:
        body = f"{summary(confirmed.results, confirmed.diagnosis)}\n\n{body}"
    return f"{head}\n\nDigest to sign: `{gate_digest(state, gate)[:12]}`\n\n{body}"


async def ask(work: Work, gate: Gate) -> None:
    """Ask for one vote at a gate; returns when one answer was dealt with, settled or not.

    Raises:
        WaitingForSignOff: outside Prefect, when the votes in the journal do not settle the gate.
    """
    if gate is Gate.DECIDE and await asyncio.to_thread(glass_is_due, work):
        return
    if expired(await asyncio.to_thread(work.state), gate, now()):
        say("The proposal expired before it was signed; a fresh one is made.")
        await run(steps.make_proposal, work.incident.id)
    state = await asyncio.to_thread(open_gate, work, gate)
    await asyncio.to_thread(simulate_if_due, work, gate)
    where = await asyncio.to_thread(settle, work, gate)
    for sentence in await asyncio.to_thread(keep_gate, work):
        say(sentence)
    if (await asyncio.to_thread(work.state)).signed(gate) is not None:
        return
    if not in_prefect():
        again = "`reinstate plan publish`" if gate is Gate.PUBLISH else "`recover`"
        raise WaitingForSignOff(
            f"{gate} waits for its sign-off: {where.sentence}",
            where=work.incident.id,
            remedy=f"`reinstate approve {work.incident.id}`, then run {again} again",
        )
    say(f"{gate} waits for its sign-off: {where.sentence}")
    digest, number = gate_digest(state, gate), state.asked(gate)
    await show_question(work, state, gate, digest)
    waiting_is_no_error()
    form = SignOff.with_initial_data(description=description(work, state, gate))
    answer = await asuspend_flow_run(wait_for_input=form, key=f"{gate}-{digest[:8]}-{number}")
    if answer.digest == NOTHING["digest"] or (await asyncio.to_thread(work.state)).asked(gate) != number:
        return  # what was asked has expired, or someone voted by another way; the journal has what counts
    try:
        standing = await asyncio.to_thread(
            cast_vote, work, gate, person=answer.person, decision=Decision(answer.decision),
            reason=answer.reason, signed_digest=answer.digest, code=answer.code, given=await answered_at(),
        )  # fmt: skip
    except Refused as refusal:
        say(f"The answer was refused and the gate stays open: {refusal}")
    else:
        say(f"{gate}: {standing.sentence}")


async def answered_at() -> datetime | None:
    """When the Prefect server took the answer this run goes on with; None outside Prefect."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    with suppress(*COSMETIC):
        async with get_client() as client:
            states = await client.read_flow_run_states(context.flow_run.id)
        return max((state.timestamp for state in states if state.name == RESUMED), default=None)
    return None
