"""What a running server knows of the schedules of plans: switched off or not, what comes, how the last run ended."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import NamedTuple

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from deployments.server.paths import Paths
from deployments.server.register import SCHEDULED
from deployments.server.runs import TAG
from deployments.server.settings import client_settings

_ENDED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


class Known(NamedTuple):
    """What the server knows of one flow of a plan.

    Attributes:
        active: whether it is switched on; None: it has no schedule there.
        upcoming: the next runs that the server has laid down.
        last: when the last run began; None: there was none.
        result: the name of the state it ended in, and its message.
    """

    active: bool | None
    upcoming: tuple[datetime, ...]
    last: datetime | None
    result: str


def served(where: Paths) -> list[str]:
    """Names of the plans that a running `up` has registered."""

    async def ask() -> list[str]:
        async with get_client() as client:
            names = FlowFilter(name=FlowFilterName(any_=[flow.name for flow in SCHEDULED]))
            found = await client.read_deployments(flow_filter=names)
            return sorted({one.name for one in found if TAG in one.tags})

    with client_settings(where):
        return asyncio.run(ask())


def known(where: Paths, flow: str, plan: str) -> Known | None:
    """What the server knows of a flow of a plan; None: it does not know this plan."""

    async def ask() -> Known | None:
        async with get_client() as client:
            try:
                deployment = await client.read_deployment_by_name(f"{flow}/{plan}")
            except ObjectNotFound:
                return None
            schedules = await client.read_deployment_schedules(deployment.id)
            mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
            coming = await _runs(client, mine, (StateType.SCHEDULED,), FlowRunSort.EXPECTED_START_TIME_ASC, 5)
            ended = await _runs(client, mine, _ENDED, FlowRunSort.EXPECTED_START_TIME_DESC, 1)
            return Known(
                all(one.active for one in schedules) if schedules else None,
                tuple(one.expected_start_time for one in coming if one.expected_start_time is not None),
                ended[0].start_time or ended[0].expected_start_time if ended else None,
                _result(ended[0]) if ended else "",
            )

    with client_settings(where):
        return asyncio.run(ask())


async def _runs(
    client: PrefectClient, mine: DeploymentFilter, types: tuple[StateType, ...], sort: FlowRunSort, most: int
) -> list[FlowRun]:
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
    return await client.read_flow_runs(
        deployment_filter=mine, flow_run_filter=FlowRunFilter(state=states), sort=sort, limit=most
    )


def _result(run: FlowRun) -> str:
    if run.state is None:
        return ""
    return f"{run.state.name}: {run.state.message}" if run.state.message else str(run.state.name)
