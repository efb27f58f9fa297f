"""What `up` registers on the Prefect server: work pool, block types, deployments, automations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from blocks.backups.s3block import S3Backup
from blocks.hosts.ssh import SSHHost
from deployments.server.paths import POOL
from deployments.server.runs import TAG
from flows.back_up import back_up
from flows.recover import recover
from flows.stages import STAGES, report
from tasks.work import PlanFile

LOST_AFTER = timedelta(seconds=90)


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
        yield flow, flow.name, {}, []


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
