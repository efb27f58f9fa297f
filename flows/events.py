"""Prefect events of ours, which automations answer: their names, and how they are emitted once.

An event has an id made of what it is about, so that a run which is carried out again emits the same one, and the
server drops it.
"""

from __future__ import annotations

from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import Event, emit_event

from model.canonical import now

DAMAGE = "reinstate.damage.reported"
"""Somebody else's: damage was seen on what a plan protects. Payload: `summary`, `reported_by`."""

OPENED = "reinstate.incident.opened"
"""An incident was opened by a run of `report` alone; nobody works on it yet. Payload: `plan`, `incident`."""

ALERTED = "reinstate.alert.opened"
"""An alert opened an incident, whose recovery is started already. Payload: `plan`, `incident`, `host`, `cause`."""

PLAN = "reinstate.plan"
"""Label of the plan on our resources."""


def event_id(event: str, incident: str) -> UUID:
    """The id of an event about an incident."""
    return uuid5(NAMESPACE_URL, f"{event}/{incident}")


def about(event: str, plan: str, incident: str, **more: str) -> Event:
    """An event about an incident, with what else it tells."""
    return Event.model_validate(
        {
            "id": event_id(event, incident),
            "occurred": now(),
            "event": event,
            "resource": {"prefect.resource.id": f"reinstate.incident.{incident}", PLAN: plan},
            "payload": {"plan": plan, "incident": incident, **more},
        }
    )


def emit(event: Event) -> None:
    """Emit an event from a flow run; it is sent in the background, and a server that is away is no error."""
    emit_event(
        event=event.event,
        resource=dict(event.resource),
        payload=event.payload,
        id=event.id,
        occurred=event.occurred,
    )
