"""From an event to a proposal on a running installation: each step once, and nothing repaired (R-USE-6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.events.schemas.automations import Automation

from deployments.server.automations import OURS
from deployments.server.register import register
from deployments.server.settings import client_settings
from flows.events import DAMAGE, OPENED, PLAN
from model.incident import Source
from model.outcome import Gate
from tasks.work import load_plan, open_work
from tests.support.installation import Installation, apart
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

T = TypeVar("T")


def ask(installation: Installation, question: Callable[[PrefectClient], Awaitable[T]]) -> T:
    """The server's answer."""

    async def act() -> T:
        async with get_client() as client:
            return await question(client)

    def call() -> T:
        with client_settings(installation.where):
            return asyncio.run(act())

    return apart(call)


def automations(installation: Installation) -> dict[str, Automation]:
    """Ours, by name."""
    found = [one for one in ask(installation, PrefectClient.read_automations) if one.name.startswith(OURS)]
    assert len(found) == len({one.name for one in found}), "one of each"
    return {one.name: one for one in found}


def test_automations_are_registered_once_follow_the_plans_and_stay_off(installation: Installation) -> None:
    """Those of a plan that is no longer served vanish; none does more than start runs and mark lost ones."""
    plan = load_plan(str(installation.plan))
    before = automations(installation)
    names = ("a report opens an incident", "an opened incident is examined")
    assert {f"{OURS}a run lost its process", *(f"{OURS}demo-shop: {name}" for name in names)} == set(before)
    assert {"run-deployment", "change-flow-run-state"} == {
        one.type for known in before.values() for one in known.actions
    }
    off = before[f"{OURS}demo-shop: {names[0]}"]
    ask(installation, lambda client: client.pause_automation(off.id))
    try:
        ask(installation, lambda client: register(client, [plan]))
        again = automations(installation)
        assert {name: one.id for name, one in before.items()} == {name: one.id for name, one in again.items()}
        assert [off.name] == [name for name, one in again.items() if not one.enabled]
        ask(installation, lambda client: register(client, []))
        assert {f"{OURS}a run lost its process"} == set(automations(installation))
    finally:
        ask(installation, lambda client: register(client, [plan]))
    assert set(before) == set(automations(installation))
    assert all(one.enabled for one in automations(installation).values())


def emit(
    installation: Installation, ident: UUID, event: str, resource: dict[str, str], **payload: str
) -> None:
    """Post an event as any program with the password can."""
    body = {
        "id": str(ident), "occurred": datetime.now(UTC).isoformat(), "event": event, "resource": resource,
        "payload": payload,
    }  # fmt: skip
    answer = httpx.post(
        f"{installation.where.url}/api/events",
        json=[body],
        auth=("admin", installation.where.password),
        timeout=30,
    )
    assert 204 == answer.status_code, answer.text


def runs_of(installation: Installation, flow: str) -> set[str]:
    """Ids of the flow's runs, as (id, incident)."""
    named = FlowFilter(name=FlowFilterName(any_=[flow]))
    return {str(run.id) for run in ask(installation, lambda client: client.read_flow_runs(flow_filter=named))}


def test_event_leads_to_one_incident_with_a_proposal_and_no_repair(installation: Installation) -> None:
    """Issue 6: event → report → confirm → proposal; the event comes twice, the one that follows it as well."""
    installation.damage("config")
    incidents, before = set(installation.store.incidents()), runs_of(installation, "recover")
    about, ident = {"prefect.resource.id": "reinstate.plan.demo-shop"}, uuid4()
    for _ in range(2):
        emit(
            installation,
            ident,
            DAMAGE,
            about,
            summary="The shop is {{ 7*7 }} broken",
            reported_by="watchdog",
        )
    (incident,) = wait_for("an incident is open", lambda: set(installation.store.incidents()) - incidents)
    work = open_work(incident, installation.store)
    assert ("The shop is {{ 7*7 }} broken", "watchdog") == (work.incident.summary, work.incident.reported_by)
    assert Source.WEBHOOK is work.incident.source
    state = installation.gate(work, Gate.DECIDE)
    assert state.proposal is not None
    assert {} == state.intents, "nothing was changed"
    events = installation.ask("events/filter", filter={"event": {"name": [OPENED]}, "order": "DESC"})[
        "events"
    ]
    (opened,) = [one for one in events if one["payload"]["incident"] == incident]
    emit(
        installation,
        UUID(opened["id"]),
        OPENED,
        {"prefect.resource.id": f"reinstate.incident.{incident}", PLAN: "demo-shop"},
        plan="demo-shop",
        incident=incident,
    )
    other = uuid4()
    emit(
        installation,
        other,
        DAMAGE,
        {"prefect.resource.id": "reinstate.plan.other"},
        summary="x",
        reported_by="y",
    )
    installation.sign(work, Gate.DECIDE, "lena")
    installation.sign(work, Gate.ACCEPT, "omar")
    installation.finish(work)
    assert 1 == len(runs_of(installation, "recover") - before), "sent twice, started once"
    assert {incident} == set(installation.store.incidents()) - incidents
