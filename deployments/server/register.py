"""What `up` registers on the Prefect server: work pool, block types, deployments, automations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from blocks.backups.s3block import S3Backup
from blocks.home import open_store
from blocks.hosts.ssh import SSHHost
from blocks.journals.base import JournalStore
from deployments.server.paths import POOL
from flows.back_up import back_up
from flows.recover import recover
from flows.stages import STAGES, report
from model.steps import Finished, next_step
from tasks.work import PlanFile, open_work

TAG = "reinstate"
LOST_AFTER = timedelta(seconds=90)
MOST_CRASHES = 5
"""After so many crashed runs of one incident a person must look before it goes on."""


def incident_tag(incident: str) -> str:
    """Tag of every run of an incident."""
    return f"incident:{incident}"


async def register(client: PrefectClient, plans: Sequence[PlanFile]) -> dict[str, UUID]:
    """Register everything; a second registration changes nothing but what changed.

    Returns:
        Deployment ids by `flow/deployment`.
    """
    await _pool(client)
    for block in (SSHHost, S3Backup):
        await block.aregister_type_and_schema(client=client)
    deployed: dict[str, UUID] = {}
    for flow, name, parameters, tags in _wanted(plans):
        deployment = await flow.ato_deployment(
            name,
            parameters=parameters,
            description=flow.description,
            tags=[TAG, *tags],
            work_pool_name=POOL,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        deployed[f"{flow.name}/{name}"] = await deployment.aapply()
    await _automations()
    return deployed


def _wanted(plans: Sequence[PlanFile]) -> Iterator[tuple[Flow[Any, Any], str, dict[str, Any], list[str]]]:
    for file in plans:
        plan = file.plan
        tags = [f"plan:{plan.name}"]
        yield recover, plan.name, {"plan": plan.name}, tags
        yield report, plan.name, {"plan": plan.name}, tags
        yield back_up, plan.name, {"plan": plan.name}, tags
    for flow in STAGES.values():
        yield flow, "incident", {}, []


async def _pool(client: PrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    await client.update_work_pool(POOL, WorkPoolUpdate(is_paused=False))


async def pause_pool(client: PrefectClient) -> None:
    """Hand out no more runs; those made meanwhile start after the next `up`."""
    await client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))


async def _automations() -> None:
    """A run whose process is gone without a word is marked crashed (prefect.md, section 6)."""
    wanted = Automation(
        name="Reinstate: a run lost its process",
        description="No heartbeat: the worker or its machine is gone. Start `recover` again for the incident.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={
                f"prefect.flow-run.{event}"
                for event in ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed", "Suspended")
            },
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=LOST_AFTER,
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message="No heartbeat: process lost.")
        ],
    )
    try:
        known = await Automation.aread(name=wanted.name)
    except ValueError:
        await wanted.acreate()
    else:
        wanted.id = known.id
        await wanted.aupdate()


async def runs_in(client: PrefectClient, *types: StateType) -> list[FlowRun]:
    """Our flow runs in these states."""
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
            tags=FlowRunFilterTags(all_=[TAG]),
        )
    )


async def bury_lost_runs(client: PrefectClient) -> int:
    """Mark runs that stand in RUNNING or PENDING with no worker as crashed; called before the worker starts."""
    lost = await runs_in(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
    for run in lost:
        await client.set_flow_run_state(run.id, Crashed(message="Its worker ended without it."), force=True)
    return len(lost)


async def continue_incidents(client: PrefectClient, deployed: dict[str, UUID]) -> list[str]:
    """Start `recover` again for incidents whose run crashed, unless one is alive; the journal says where it goes on.

    Returns:
        The incidents that go on.
    """
    store = open_store()
    alive_types = (StateType.PAUSED, StateType.SCHEDULED, StateType.RUNNING, StateType.PENDING)
    alive = {incident_of(store, run) for run in await runs_in(client, *alive_types)}
    crashed = Counter(incident_of(store, run) for run in await runs_in(client, StateType.CRASHED))
    going_on = []
    for incident, times in crashed.items():
        if not incident or incident in alive or times > MOST_CRASHES or incident not in store.incidents():
            continue
        work = open_work(incident, store)
        deployment = deployed.get(f"recover/{work.plan.name}")
        if deployment is None or isinstance(next_step(work.state()), Finished):
            continue
        await client.create_flow_run_from_deployment(
            deployment,
            parameters={"plan": work.plan.name, "incident": incident},
            tags=[TAG, incident_tag(incident)],
            idempotency_key=f"{incident}-{times}",
        )
        going_on.append(incident)
    return going_on


def incident_of(store: JournalStore, run: FlowRun) -> str:
    """The incident a `recover` run works on; empty for other runs."""
    named = str(run.parameters.get("incident") or "")
    return named or (store.get(f"runs/{run.id}") or b"").decode()
