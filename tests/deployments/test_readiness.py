"""Readiness on a running installation: looked at once `up` runs, on the plan's schedule, and when the plan changes."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.schedules import CronSchedule

from deployments.server.settings import client_settings
from flows.readiness import CHANGED
from model.readiness import Lack, PlanReadiness, Qualification
from tasks.readiness import basis
from tasks.readiness_page import history_of
from tests.support.installation import Installation, apart
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

PLAN = "demo-shop"


def looked(installation: Installation, after: datetime | None = None) -> PlanReadiness:
    """The newest look at the plan as it is now, once there is one."""

    def newest() -> PlanReadiness | None:
        latest = history_of(installation.store, PLAN).latest
        current = basis(installation.store, PLAN, installation.plan)
        right = latest is not None and latest.basis == current and (after is None or latest.at > after)
        return latest if right else None

    return wait_for("the plan is looked at", newest, 300)


def shown(installation: Installation, key: str) -> list[str]:
    """Data of the artifacts with a key, newest last."""

    async def act() -> list[str]:
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            )
            return [str(one.data) for one in sorted(found, key=lambda one: str(one.created))]

    def call() -> list[str]:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)


def scheduled(installation: Installation) -> list[str]:
    async def act() -> list[str]:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name(f"readiness/{PLAN}")
            found = await client.read_deployment_schedules(deployment.id)
            return [one.schedule.cron for one in found if isinstance(one.schedule, CronSchedule)]

    def call() -> list[str]:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)


def events(installation: Installation) -> list[str]:
    """What the events of a change say, as an automation gets them."""
    found = installation.ask("events/filter", filter={"event": {"name": [CHANGED]}}, limit=50)["events"]
    assert all(event["resource"]["prefect.resource.id"] == f"reinstate.plan.{PLAN}" for event in found)
    return [sentence for event in found for sentence in event["payload"]["changes"]]


def test_plan_is_looked_at_once_served_every_half_hour_and_when_it_changes(
    installation: Installation,
) -> None:
    """Must show 6 through the scheduler: an edit of the plan file is looked at without a hand, and told as an event."""
    assert ["0,30 * * * *"] == scheduled(installation)
    first = looked(installation)
    names = [row.asset for row in first.rows]
    assert "" == names[0]
    assert Qualification.QUALIFIED in {row.state for row in first.rows}, [
        gap.sentence for row in first.rows for gap in row.gaps
    ]
    text = installation.plan.read_text()
    try:
        installation.plan.write_text(text + "\n{")
        wrong = looked(installation, first.at)
        assert [Lack.PLAN_WRONG] == [gap.lack for gap in wrong.rows[0].gaps]
        assert {Qualification.BLOCKED} == {row.state for row in wrong.rows}
        said = wait_for("the change is an event", lambda: events(installation), 120)
        assert any("PLAN_WRONG" in one for one in said)
        page = shown(installation, f"readiness-page-{PLAN}")[-1]
        assert "✗ blocked" in page
        assert "Days since proven" in shown(installation, f"readiness-page-{PLAN}")[0]
        assert shown(installation, f"readiness-{PLAN}")
    finally:
        installation.plan.write_text(text)
    mended = looked(installation, wrong.at)
    assert [row.state for row in first.rows] == [row.state for row in mended.rows]
