"""Talking to a running `up`: start a recovery, wake a run whose gate was settled elsewhere, answer a form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import Event
from prefect.exceptions import ObjectNotFound

from deployments.server.paths import Paths
from deployments.server.runs import TAG, incident_of, runs_in
from deployments.server.settings import UNREACHABLE, client_settings
from flows.gate import NOTHING
from flows.showing import incident_tag
from model.errors import BadInput
from model.incident import Kind, Source
from model.mistake import Mistake
from tasks.work import Work, load_plan, open_work


def start_recovery(
    where: Paths,
    plan: str,
    incident: str,
    summary: str,
    reported_by: str,
    kind: Kind,
    mistakes: Sequence[Mistake] = (),
) -> str:
    """Create a `recover` run on a running `up` and return its address in the UI.

    Raises:
        BadInput: the plan is not registered there.
    """
    name = open_work(incident).plan.name if incident else load_plan(plan).plan.name
    return start_run(
        where, name, incident=incident, summary=summary, reported_by=reported_by, kind=kind, source=Source.CLI,
        mistakes=mistakes,
    )[1]  # fmt: skip


def start_run(
    where: Paths,
    plan: str,
    *,
    incident: str = "",
    summary: str = "",
    reported_by: str = "",
    kind: Kind = Kind.REAL,
    source: Source = Source.UI,
    detected_at: datetime | None = None,
    mistakes: Sequence[Mistake] = (),
    once: str = "",
) -> tuple[UUID, str]:
    """Create a `recover` run of a registered plan; returns its id and its address in the UI.

    Args:
        where: the installation.
        plan: name of the plan.
        incident: an incident that is open; empty: the run opens one.
        summary: what was noticed.
        reported_by: who noticed it.
        kind: real, drill or verification.
        source: how the report came in.
        detected_at: when it was noticed.
        mistakes: what people did by mistake.
        once: a run that was made for this before is found, not made again.

    Raises:
        BadInput: the plan is not registered there.
    """
    parameters = {
        "plan": plan, "incident": incident, "summary": summary, "reported_by": reported_by, "kind": kind.value,
        "source": source.value, "detected_at": detected_at.isoformat() if detected_at else None,
        "mistakes": [mistake.model_dump(mode="json") for mistake in mistakes] or None,
    }  # fmt: skip

    return _start(where, "recover", plan, parameters, incident, once)


def start_publication(where: Paths, plan: str, proposed_by: str, publication: str) -> str:
    """Create a `publish_plan` run and return its address in the UI.

    Args:
        where: a running `up`.
        plan: a plan file or the name of a registered plan; its name must be registered there.
        proposed_by: id of a person.
        publication: id of one to go on with.
    """
    if publication:
        name, path = open_work(publication).plan.name, ""
    else:
        file = load_plan(plan)
        name, path = file.plan.name, str(file.path)
    parameters = {
        "plan": path, "proposed_by": proposed_by, "publication": publication, "source": Source.CLI.value,
    }  # fmt: skip
    return _start(where, "publish_plan", name, parameters, publication)[1]


def start_drill(where: Paths, given: Mapping[str, Any]) -> str:
    """Create a `drill` run of a registered plan and return its address in the UI.

    Args:
        where: a running `up`.
        given: parameters of the flow; a plan by file or name, or a drill to go on with.

    Raises:
        BadInput: the plan is not registered there.
    """
    ident = str(given["drill"])
    name = open_work(ident).plan.name if ident else load_plan(str(given["plan"])).plan.name
    return _start(where, "drill", name, {**given, "plan": name}, "")[1]


def start_readiness(where: Paths, plan: str) -> None:
    """Create a `readiness` run of a registered plan."""
    _start(where, "readiness", plan, {"plan": plan}, "")


def _start(
    where: Paths, flow: str, plan: str, parameters: Mapping[str, Any], incident: str, once: str = ""
) -> tuple[UUID, str]:
    """Create a run of a plan's deployment; returns its id and its address in the UI."""

    async def create() -> FlowRun:
        async with get_client() as client:
            try:
                deployment = await client.read_deployment_by_name(f"{flow}/{plan}")
            except ObjectNotFound:
                raise BadInput(
                    f"plan {plan} is not registered.",
                    where=where.url,
                    remedy="start `reinstate up` with its file",
                ) from None
            tags = [TAG, *([incident_tag(incident)] if incident else [])]
            return await client.create_flow_run_from_deployment(
                deployment.id,
                parameters=dict(parameters),
                tags=tags,
                idempotency_key=f"once-{once}" if once else None,
            )

    with client_settings(where):
        run = asyncio.run(create())
    return run.id, f"{where.url}/runs/flow-run/{run.id}"


def announce(where: Paths, event: Event) -> bool:
    """Post an event, for the automations of whoever listens; nothing of ours depends on it.

    Returns:
        False when the server does not answer.
    """
    body = [event.model_dump(mode="json")]
    try:
        answer = httpx.post(f"{where.url}/api/events", json=body, auth=("admin", where.password), timeout=5)
    except httpx.HTTPError:
        return False
    return answer.is_success


def wait_for_gate(where: Paths, work: Work) -> bool:
    """True when a run of the incident is suspended, so that its form can be answered."""

    async def look() -> bool:
        async with get_client() as client:
            return await waiting_run(client, work) is not None

    with client_settings(where):
        return asyncio.run(look())


def wake(where: Paths, work: Work) -> bool:
    """Resume the suspended run of an incident; what the form gets is ignored, the journal has the votes.

    Returns:
        False when no run waits, or the server does not answer: a running `up` sees to it within seconds.
    """
    try:
        return answer(where, work, NOTHING)
    except UNREACHABLE:
        return False


def answer(where: Paths, work: Work, values: Mapping[str, Any]) -> bool:
    """Give the waiting run of an incident an answer to its form, as the UI does."""

    async def resume() -> bool:
        async with get_client() as client:
            run = await waiting_run(client, work)
            if run is None:
                return False
            await client.resume_flow_run(run.id, run_input=dict(values))
            return True

    with client_settings(where):
        return asyncio.run(resume())


async def waiting_run(client: PrefectClient, work: Work) -> FlowRun | None:
    """The suspended run of an incident."""
    paused = await runs_in(client, StateType.PAUSED)
    return next((run for run in paused if incident_of(work.store, run) == work.incident.id), None)
