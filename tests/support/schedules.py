"""A plan's schedules, given to a running server as `up` gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule

from deployments.server.register import register
from deployments.server.settings import client_settings
from tasks.work import PlanFile, load_plan
from tests.support.installation import Installation, apart


def registered(
    installation: Installation, section: Mapping[str, Any], key: str = "scan"
) -> list[tuple[str, str, bool]]:
    """Register the plan with this section and return the schedules the server has for its flow."""
    file = load_plan(str(installation.plan))
    rule = type(getattr(file.plan, key)).model_validate(section)
    changed = PlanFile(file.plan.model_copy(update={key: rule}), file.text, file.path)

    async def act() -> list[tuple[str, str, bool]]:
        async with get_client() as client:
            deployed = await register(client, [changed])
            found = await client.read_deployment_schedules(deployed[f"{rule.flow}/{file.plan.name}"])
            assert all(s.parameters == {"scheduled": True} for s in found)
            crons = [(s.schedule, s.active) for s in found if isinstance(s.schedule, CronSchedule)]
            return [(cron.cron, str(cron.timezone), active) for cron, active in crons]

    def call() -> list[tuple[str, str, bool]]:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)
