"""`readiness`: whether everything a recovery needs is there, before it is needed (R-PREV-1, R-PREV-4)."""

from __future__ import annotations

import asyncio
from typing import cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event

from flows.scheduled import skipped
from flows.stage import in_prefect, run, say
from model.errors import ReinstateError
from model.readiness import PlanReadiness
from tasks import readiness as looking
from tasks.work import load_plan

CHANGED = "reinstate.readiness.changed"
"""The event of a change; automations of the Prefect server may wait for it."""


@flow(
    name="readiness", flow_run_name="readiness of {plan}", persist_result=True, result_serializer="json"
)  # fmt: skip
async def readiness(plan: str, scheduled: bool = False) -> str:
    """Look whether a recovery could be done now: hosts, rights, tools, room, packages, recovery points, people, plan.

    Nothing is changed, and nothing is restored: a gap is told on this run's page, and by an event when it is new.

    Args:
        plan: name of a registered plan, or the path of a plan file.
        scheduled: nobody asked for it now: in a blackout window of the plan it does not run.

    Returns:
        What was found, in one sentence.
    """
    if scheduled and (end := await asyncio.to_thread(_skipped, plan)):
        return cast("str", end)  # Prefect takes a state for the result
    return (await look_now(plan))[1].sentence


def _skipped(plan: str) -> State | None:
    try:
        known = load_plan(plan).plan
    except ReinstateError:  # that it cannot be read is what the look tells
        return None
    return skipped(known.readiness, known.name)


async def look_now(plan: str) -> tuple[PlanReadiness, looking.Looked]:
    """Look, remember, and tell what changed."""
    seen: PlanReadiness = await run(looking.look_at_readiness, plan)
    looked: looking.Looked = await run(looking.conclude_readiness, seen)
    say(looked.sentence)
    for change in looked.changes:
        say(change.sentence)
    if looked.changes and in_prefect():
        emit_event(
            CHANGED, {"prefect.resource.id": f"reinstate.plan.{looked.plan}", "reinstate.state": looked.state},
            payload={"state": looked.state, "changes": [change.sentence for change in looked.changes]},
        )  # fmt: skip
    return seen, looked
