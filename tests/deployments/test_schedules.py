"""Scans on a running installation: schedules the UI shows and that vanish, and damage that reports itself."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from deployments.server.settings import client_settings
from model.incident import Source
from model.outcome import Gate
from model.verification import VerificationRule
from tasks.scanning import history_of
from tasks.work import open_work
from tests.support.installation import Installation, apart
from tests.support.schedules import registered
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


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
    assert listed(installation)["switched_on"] is False
    assert [("0 5 * * 1", "UTC", True)] == registered(installation, {"schedule": "0 5 * * 1"})
    assert [] == registered(installation, {})
    assert [("0 2 * * *", "UTC", True)] == registered(installation, {"schedule": "0 2 * * *"}, "back_up")
    assert [] == registered(installation, {}, "back_up")
    weekly = {"schedule": "50 23 * * sat,sun", "jitter": "2h"}
    late = VerificationRule.model_validate(weekly).late("demo-shop")
    assert late > 10, "so that it moves into the next day"
    line = f"{(50 + late) % 60} {(50 + late) // 60 - 1} * * 0,1"
    assert [(line, "UTC", True)] == registered(installation, weekly, "verification")
    assert [] == registered(installation, {}, "verification")
    assert [("0 9 1 * *", "UTC", True)] == registered(installation, {"schedule": "0 9 1 * *"}, "drill")
    assert [] == registered(installation, {}, "drill")


def start_scan(installation: Installation, **parameters: object) -> UUID:
    """Start the deployment, as the schedule or a person in the UI does."""

    async def act() -> UUID:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name("scan/demo-shop")
            run = await client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            return run.id

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


def in_blackout(more: str) -> str:
    """A section of a plan with a window that is open now."""
    begin, end = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=3)
    window = f'{{from: "{begin:%H:%M}", to: "{end:%H:%M}"}}'
    return f'scan: {{schedule: "{end:%M} {(end.hour + 1) % 24} * * *", blackout: [{window}], {more}}}'


def listed(installation: Installation) -> dict[str, Any]:
    """What `reinstate schedules` says of the scan."""
    said = installation.run("schedules", "--json")
    assert 0 == said.returncode, said.stderr
    (row,) = [row for row in json.loads(said.stdout) if row["flow"] == "scan"]
    return dict(row)


def test_scan_finds_new_damage_and_people_only_have_to_sign(installation: Installation) -> None:
    """R-PREV-2, R-RESP-1: the scan opens the incident and starts its recovery; a second scan opens no other."""
    text = installation.plan.read_text()
    known = set(installation.store.incidents())
    try:
        installation.plan.write_text(f"{text}\n{in_blackout('open_incident: serious')}\n")
        assert "Skipped" == ended(installation, start_scan(installation, scheduled=True))
        scanned = listed(installation)
        assert "Not run: it falls into the blackout window" in scanned["last_result"]
        assert "The next run: 20" in scanned["last_result"]
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
