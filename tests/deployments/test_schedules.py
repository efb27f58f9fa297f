"""Scans on a running installation: schedules the UI shows and that vanish, and damage that reports itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule

from deployments.server.register import register
from deployments.server.settings import client_settings
from model.incident import Source
from model.outcome import Gate
from tasks.scanning import history_of
from tasks.work import PlanFile, load_plan, open_work
from tests.support.installation import Installation, apart
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def registered(
    installation: Installation, section: Mapping[str, Any], flow: str = "scan"
) -> list[tuple[str, str, bool]]:
    """Register the plan with this section and return the schedules the server has for its flow."""
    file = load_plan(str(installation.plan))
    rule = type(getattr(file.plan, flow)).model_validate(section)
    changed = PlanFile(file.plan.model_copy(update={flow: rule}), file.text, file.path)

    async def act() -> list[tuple[str, str, bool]]:
        async with get_client() as client:
            deployed = await register(client, [changed])
            found = await client.read_deployment_schedules(deployed[f"{flow}/{file.plan.name}"])
            given = {"scheduled": True} if flow in {"back_up", "drill"} else {}
            assert all(s.parameters == given for s in found)
            crons = [(s.schedule, s.active) for s in found if isinstance(s.schedule, CronSchedule)]
            return [(cron.cron, str(cron.timezone), active) for cron, active in crons]

    def call() -> list[tuple[str, str, bool]]:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)


def switch_off(installation: Installation) -> None:
    """As a person does in the UI."""

    async def act() -> None:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name("scan/demo-shop")
            for known in await client.read_deployment_schedules(deployment.id):
                await client.update_deployment_schedule(deployment.id, known.id, active=False)

    def call() -> None:
        with client_settings(installation.where):
            asyncio.run(act())

    apart(call)


def test_schedule_of_the_plan_is_on_the_server_follows_it_and_vanishes_with_it(
    installation: Installation,
) -> None:
    """R-PREV-2: registered twice it stands once; what a person switched off stays off; removed it is gone."""
    nightly = {"schedule": "30 3 * * *", "timezone": "Europe/Berlin"}
    assert [("30 3 * * *", "Europe/Berlin", True)] == registered(installation, nightly)
    assert [("30 3 * * *", "Europe/Berlin", True)] == registered(installation, nightly)
    switch_off(installation)
    assert [("30 3 * * *", "Europe/Berlin", False)] == registered(installation, nightly)
    assert [("0 5 * * 1", "UTC", True)] == registered(installation, {"schedule": "0 5 * * 1"})
    assert [] == registered(installation, {})
    assert [("0 2 * * *", "UTC", True)] == registered(installation, {"schedule": "0 2 * * *"}, "back_up")
    assert [] == registered(installation, {}, "back_up")
    assert [("0 9 1 * *", "UTC", True)] == registered(installation, {"schedule": "0 9 1 * *"}, "drill")
    assert [] == registered(installation, {}, "drill")


def start_scan(installation: Installation) -> UUID:
    """Start the deployment, as the schedule or a person in the UI does."""

    async def act() -> UUID:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name("scan/demo-shop")
            return (await client.create_flow_run_from_deployment(deployment.id)).id

    def call() -> UUID:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)


def ended(installation: Installation, run: UUID) -> str:
    """The name of the state a run ended in."""

    async def act() -> str:
        async with get_client() as client:
            state = (await client.read_flow_run(run)).state
            return (state.name or "") if state is not None and state.is_final() else ""

    def call() -> str:
        with client_settings(installation.where):
            return asyncio.run(act())

    return wait_for("the scan ends", lambda: apart(call), 300, 0.5)


def test_scan_finds_new_damage_and_people_only_have_to_sign(installation: Installation) -> None:
    """R-PREV-2, R-RESP-1: the scan opens the incident and starts its recovery; a second scan opens no other."""
    text = installation.plan.read_text()
    known = set(installation.store.incidents())
    try:
        installation.plan.write_text(text + "\nscan: {open_incident: serious}\n")
        installation.damage("pip-file")
        assert "Completed" == ended(installation, start_scan(installation))
        (incident,) = set(installation.store.incidents()) - known
        work = open_work(incident, installation.store)
        assert (Source.SCHEDULE, "scan") == (work.incident.source, work.incident.reported_by)
        assert history_of(installation.store, "demo-shop").runs[-1].incident == incident
        installation.gate(work, Gate.DECIDE)
        assert "Completed" == ended(installation, start_scan(installation))
        assert {incident} == set(installation.store.incidents()) - known
        installation.sign(work, Gate.DECIDE, "lena")
        installation.sign(work, Gate.ACCEPT, "omar")
        installation.finish(work)
    finally:
        installation.plan.write_text(text)
