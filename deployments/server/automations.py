"""What a running `up` has the Prefect server do by itself: mark lost runs, and lead from an event to a proposal.

None of them repairs anything: `recover` goes up to the proposal and waits for signatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture

from flows.events import DAMAGE, OPENED, PLAN
from model.incident import Source

OURS = "Reinstate: "
"""How the names of our automations begin."""

PAGE = 100
"""Automations read at a time; the server gives no more than 200."""

LOST_AFTER = timedelta(seconds=90)


async def register_automations(client: PrefectClient, plans: list[str], deployed: Mapping[str, UUID]) -> None:
    """Make ours what they should be, by name: no second one, none that is over; one switched off stays off.

    Args:
        client: of the server.
        plans: names of the plans that are served.
        deployed: deployment ids by `flow/deployment`.
    """
    wanted = {one.name: one for one in _wanted(plans, deployed)}
    seen: set[str] = set()
    for known in await _ours(client):
        if known.name in seen or known.name not in wanted:
            await client.delete_automation(known.id)
            continue
        seen.add(known.name)
        changed = wanted[known.name].model_copy(update={"enabled": known.enabled})
        await client.update_automation(known.id, changed)
    for name in wanted.keys() - seen:
        await client.create_automation(wanted[name])


async def _ours(client: PrefectClient) -> list[Automation]:
    found: list[Automation] = []
    while page := await client.read_automations(limit=PAGE, offset=len(found)):
        found += page
    return [one for one in found if one.name.startswith(OURS)]


def _wanted(plans: list[str], deployed: Mapping[str, UUID]) -> Iterator[AutomationCore]:
    yield _lost_runs()
    for plan in plans:
        yield _answer(
            f"{OURS}{plan}: a report opens an incident",
            f"Event {DAMAGE} about reinstate.plan.{plan}: `report` runs.",
            EventTrigger(
                expect={DAMAGE}, match={"prefect.resource.id": f"reinstate.plan.{plan}"}, posture=Posture.Reactive,
                threshold=1,
            ),
            deployed[f"report/{plan}"],
            {"plan": plan, "summary": "{{ event.payload.summary }}", "reported_by": "{{ event.payload.reported_by }}",
             "source": Source.WEBHOOK.value},
        )  # fmt: skip
        yield _answer(
            f"{OURS}{plan}: an opened incident is examined",
            f"Event {OPENED} of {plan}: `recover` confirms and proposes, and waits for signatures.",
            EventTrigger(expect={OPENED}, match={PLAN: plan}, posture=Posture.Reactive, threshold=1),
            deployed[f"recover/{plan}"],
            {"plan": plan, "incident": "{{ event.payload.incident }}"},
        )


def _answer(
    name: str, description: str, trigger: EventTrigger, deployment: UUID, parameters: dict[str, str]
) -> AutomationCore:
    run = RunDeployment(source="selected", deployment_id=deployment, parameters=dict(parameters))
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[run])


def _lost_runs() -> AutomationCore:
    """A run whose process is gone without a word is marked crashed (prefect.md, section 6)."""
    ends = ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed", "Suspended")
    return AutomationCore(
        name=f"{OURS}a run lost its process",
        description="No heartbeat: the worker or its machine is gone. Start `recover` again for the incident.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={f"prefect.flow-run.{event}" for event in ends},
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
