"""Recovering without Prefect (`flows.local`), signing at each gate as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flows.back_up import back_up
from flows.gate import WaitingForSignOff
from flows.local import recover_here
from model.incident import Kind, Source
from model.mistake import Mistake
from model.outcome import Gate
from model.signoff import Decision
from model.steps import Ask, next_step
from tasks.voting import cast_vote, gate_digest, open_gate
from tasks.work import Work, open_work
from tests.support.labworld import World

SIGNERS: Mapping[Gate, str] = {Gate.DECIDE: "lena", Gate.ACCEPT: "ines"}


def back_up_locally(world: World) -> None:
    """Back up while everything is healthy."""
    asyncio.run(back_up.fn(str(world.plan_file)))


def begin(plan: str, incident: str = "", mistakes: list[Mistake] | None = None) -> str:
    """Run until people must sign, or to the end; returns the incident's id."""
    try:
        ended = asyncio.run(
            recover_here(
                plan,
                incident,
                "The shop is down.",
                "monitor",
                Kind.REAL,
                Source.WEBHOOK,
                lambda text: None,
                mistakes,
            )
        )
    except WaitingForSignOff as waiting:
        return waiting.where
    return ended["incident"]


def sign(
    world: World, work: Work, decision: Decision = Decision.APPROVE, signers: Mapping[Gate, str] = SIGNERS
) -> None:
    """Sign the gate the incident waits at, by one-time code."""
    step = next_step(work.state())
    assert isinstance(step, Ask), step
    state, person = open_gate(work, step.gate), signers[step.gate]
    cast_vote(
        work, step.gate, person=person, decision=decision, reason=f"{person} says {decision}.",
        signed_digest=gate_digest(state, step.gate), code=world.code(person),
    )  # fmt: skip


def recover_locally(
    world: World,
    accept: Decision = Decision.APPROVE,
    signers: Mapping[Gate, str] = SIGNERS,
    mistakes: list[Mistake] | None = None,
) -> Work:
    """A whole recovery, approved at *decide* and signed as said at *accept* (if it comes to that)."""
    plan = str(world.plan_file)
    incident = begin(plan, mistakes=mistakes)
    work = open_work(incident)
    for decision in (Decision.APPROVE, accept):
        if not isinstance(next_step(work.state()), Ask):
            break
        sign(world, work, decision, signers)
        begin(plan, incident)
    return work
