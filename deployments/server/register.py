"""What `up` registers on the Prefect server: work pool, block types, deployments, automations."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessWorker

from blocks.backups.s3block import S3Backup
from blocks.hosts.ssh import SSHHost
from deployments.server.automations import register_automations
from deployments.server.paths import POOL
from deployments.server.runs import TAG
from flows.back_up import back_up
from flows.drill import drill
from flows.publish_plan import publish_plan
from flows.readiness import readiness
from flows.recover import recover
from flows.scan import scan
from flows.stages import STAGES, report
from flows.verify_backups import verify_backups
from model.schedule import Schedule
from tasks.work import PlanFile

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""After a pause the runs that were missed come all at once: one is enough."""

ENGINE = command_to_string([sys.executable, "-m", "prefect.engine"])
"""What the worker starts for a run; without it another Python comes first, looking for a project to install."""

SCHEDULED: tuple[Flow[Any, Any], ...] = (scan, back_up, verify_backups, drill, readiness)
"""What a plan can have run by itself."""


async def register(client: PrefectClient, plans: Sequence[PlanFile]) -> dict[str, UUID]:
    """Register everything; a second registration changes nothing but what changed.

    Returns:
        Deployment ids by `flow/deployment`.
    """
    await _pool(client)
    for block in (SSHHost, S3Backup):
        await block.aregister_type_and_schema(client=client)
    deployed: dict[str, UUID] = {}
    off = {
        (flow.name, file.plan.name): await _switched_off(client, flow.name, file.plan.name)
        for flow in SCHEDULED
        for file in plans
    }
    for flow, name, parameters, tags in _wanted(plans):
        deployment = await flow.ato_deployment(
            name,
            parameters=parameters,
            description=flow.description,
            tags=[TAG, *tags],
            work_pool_name=POOL,
            job_variables={"command": ENGINE},
            entrypoint_type=EntrypointType.MODULE_PATH,
            concurrency_limit=ONE_AT_A_TIME if flow in SCHEDULED else None,
        )
        deployed[f"{flow.name}/{name}"] = await deployment.aapply()
    for file in plans:
        name = file.plan.name
        for rule in file.plan.schedules.values():
            await _schedule(client, deployed[f"{rule.flow}/{name}"], name, rule, off[rule.flow, name])
    await _unschedule_others(client, set(deployed.values()))
    await register_automations(client, [file.plan.name for file in plans], deployed)
    return deployed


def _wanted(plans: Sequence[PlanFile]) -> Iterator[tuple[Flow[Any, Any], str, dict[str, Any], list[str]]]:
    """What is deployed: each stage, and what runs for a plan."""
    for stage in STAGES.values():
        yield stage, stage.name, {}, []
    of_plans: tuple[Flow[Any, Any], ...] = (
        publish_plan, readiness, verify_backups, drill, scan, back_up, report, recover,
    )  # fmt: skip
    for flow in of_plans:
        for file in plans:
            name = file.plan.name
            yield flow, name, {"plan": name}, [f"plan:{name}"]


async def _switched_off(client: PrefectClient, flow: str, plan: str) -> set[tuple[str, str | None]]:
    """Schedules of a plan's flow that a person switched off; registering a deployment anew forgets them."""
    try:
        deployment = await client.read_deployment_by_name(f"{flow}/{plan}")
    except ObjectNotFound:
        return set()
    found = await client.read_deployment_schedules(deployment.id)
    return {
        (one.schedule.cron, one.schedule.timezone)
        for one in found
        if not one.active and isinstance(one.schedule, CronSchedule)
    }


async def _schedule(
    client: PrefectClient, deployment: UUID, plan: str, rule: Schedule, off: set[tuple[str, str | None]]
) -> None:
    """Give a deployment the plan's schedule and no other; one that a person switched off stays off."""
    for known in await client.read_deployment_schedules(deployment):
        await client.delete_deployment_schedule(deployment, known.id)
    wanted = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=line, timezone=rule.timezone),
            active=(line, rule.timezone) not in off,
            parameters={"scheduled": True},
        )
        for line in rule.lines(plan)
    ]
    if wanted:
        await client.create_deployment_schedules(deployment, wanted)


async def _unschedule_others(client: PrefectClient, ours: set[UUID]) -> None:
    """A plan that is no longer served runs by itself no more; its deployments stay for incidents that are not over."""
    names = [flow.name for flow in SCHEDULED]
    found = await client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=names)))
    for deployment in found:
        if deployment.id not in ours and TAG in deployment.tags:
            for known in await client.read_deployment_schedules(deployment.id):
                await client.delete_deployment_schedule(deployment.id, known.id)


async def _pool(client: PrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    await client.update_work_pool(POOL, WorkPoolUpdate(is_paused=False))


async def pause_pool(client: PrefectClient) -> None:
    """Hand out no more runs; those made meanwhile start after the next `up`."""
    await client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
