"""Drills on a running installation: people sign its run, a real incident wakes it, its start is a surprise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType

from deployments.server.remote import start_drill, start_run
from deployments.server.settings import client_settings
from model.canonical import now
from model.drill_journal import Drill
from model.incident import Source
from model.outcome import Gate, RunVerdict
from tasks.drilling import drill_of
from tasks.work import load_plan, open_incident, open_work
from tests.support.installation import Installation, apart
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow
TABLETOP = "\ndrill: {mode: tabletop, window: 1h}\n"


@pytest.fixture
def exercised(installation: Installation) -> Iterator[Installation]:
    """The installation with tabletop exercises in its plan: no host is needed, and none is touched."""
    text = installation.plan.read_text()
    installation.plan.write_text(text + TABLETOP)
    yield installation
    installation.plan.write_text(text)


def begin(installation: Installation) -> Drill:
    """Start a drill and wait until people are told of it."""
    known = set(installation.store.drills())
    given = {
        "plan": str(installation.plan),
        "drill": "",
        "seed": 1,
        "faults": None,
        "mode": None,
        "sign_off": None,
    }
    apart(start_drill, installation.where, given)

    def told() -> Drill | None:
        new = [drill_of(installation.store, one) for one in set(installation.store.drills()) - known]
        return next((one for one in new if one.incident), None)

    return wait_for("the drill has its incident", told, 240)


def ended(installation: Installation, drill: Drill) -> Drill:
    """Wait for its end."""

    def look() -> Drill | None:
        found = drill_of(installation.store, drill.id)
        return found if found.ended is not None else None

    return wait_for("the drill ends", look, 300)


def test_people_sign_a_drill_in_the_ui_and_it_goes_on(exercised: Installation) -> None:
    """R-DRILL-1, R-USE-2: the drill's own run suspends at each gate, and its form is answered like any other."""
    known = begin(exercised)
    work = open_work(known.incident, exercised.store)
    exercised.sign(work, Gate.DECIDE, "lena")
    exercised.sign(work, Gate.ACCEPT, "omar")
    done = ended(exercised, known)
    assert "done" == done.outcome
    assert RunVerdict.RECOVERED is exercised.finish(work).ended.verdict  # type: ignore[union-attr] # it has ended


def test_real_incident_ends_a_drill_that_waits_for_people(exercised: Installation) -> None:
    """A real incident pre-empts: the suspended run is woken, the drill ends, and the record says why."""
    known = begin(exercised)
    exercised.gate(open_work(known.incident, exercised.store), Gate.DECIDE)
    file = load_plan(str(exercised.plan), exercised.store)
    real = open_incident(file, exercised.store, "It is real.", "mia", Source.CLI).incident.id
    done = ended(exercised, known)
    assert "pre-empted" == done.outcome
    assert done.ended is not None
    assert real in done.ended.sentence
    apart(start_run, exercised.where, "demo-shop", incident=real)  # nothing is damaged: it closes by itself
    exercised.finish(open_work(real, exercised.store), RunVerdict.STOPPED_SAFE)


def runs_of(installation: Installation, start: bool) -> tuple[UUID, list[FlowRun]]:
    """The runs of the drill's deployment; `start`: first begin one as the schedule would."""

    async def act() -> tuple[UUID, list[FlowRun]]:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name("drill/demo-shop")
            if start:
                await client.create_flow_run_from_deployment(deployment.id, parameters={"scheduled": True})
            one = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
            return deployment.id, await client.read_flow_runs(deployment_filter=one)

    def call() -> tuple[UUID, list[FlowRun]]:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)


def test_scheduled_drill_begins_at_some_moment_of_its_window(exercised: Installation) -> None:
    """A surprise: the scheduled run only puts the start off, by seconds that nobody knows."""
    before, drills = now(), exercised.store.drills()
    known = {run.id for run in runs_of(exercised, start=True)[1]}

    def put_off() -> FlowRun | None:
        new = [run for run in runs_of(exercised, start=False)[1] if run.id not in known]
        return next((run for run in new if run.state_type is StateType.SCHEDULED), None)

    later = wait_for("the start is put off", put_off, 240)
    assert later.expected_start_time is not None
    assert before <= later.expected_start_time <= now() + timedelta(hours=1)
    assert "scheduled" not in {key for key, value in later.parameters.items() if value}
    assert drills == exercised.store.drills()

    async def cancel() -> None:
        async with get_client() as client:
            await client.delete_flow_run(later.id)

    def call() -> None:
        with client_settings(exercised.where):
            asyncio.run(cancel())

    apart(call)
