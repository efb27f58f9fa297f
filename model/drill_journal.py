"""What the journal of one drill says: its records folded into one value. Only drills and their scorecard read it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AwareDatetime

from model.canonical import Value
from model.drill_records import (
    DrillBegan,
    DrillEnded,
    DrillIncidentOpened,
    DrillLease,
    FaultPlanted,
    FaultPlanting,
    FaultRefused,
    FaultUndone,
    Outcome,
    StagingLooked,
    StagingProven,
)
from model.errors import Damaged
from model.faults import Fault, Planted
from model.incident import Incident
from model.journal import Opened, Record


class Plant(Value):
    """One damage of a drill.

    Attributes:
        planting_at: when it was about to be done.
        planted: what was done; None when it was refused, or the drill was killed in the middle.
        refused: why it could not be done.
        undone: how it was taken back.
    """

    number: int
    fault: Fault
    planting_at: AwareDatetime
    planted: Planted | None = None
    planted_at: AwareDatetime | None = None
    refused: FaultRefused | None = None
    undone: FaultUndone | None = None


class Drill(Value):
    """What the journal of one drill says together.

    Attributes:
        opened: who started it, of which plan, under the drill's id.
        tokens: host → fencing token of the drill's lease, while it is held.
        plants: the damage, in the order it was done.
        before, after: what the checks said of staging, and when.
        incident: id of its incident; empty while there is none.
    """

    opened: Incident
    began: DrillBegan | None = None
    proven: StagingProven | None = None
    tokens: dict[str, int] = {}
    plants: tuple[Plant, ...] = ()
    before: StagingLooked | None = None
    before_at: AwareDatetime | None = None
    after: StagingLooked | None = None
    after_at: AwareDatetime | None = None
    incident: str = ""
    incident_at: AwareDatetime | None = None
    ended: DrillEnded | None = None
    ended_at: AwareDatetime | None = None

    @property
    def id(self) -> str:
        """The drill's id."""
        return self.opened.id

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        return self.ended.outcome if self.ended is not None else None


def fold_drill(records: Sequence[Record]) -> Drill:
    """Fold the records of a drill, oldest first.

    Raises:
        Damaged: the journal does not begin with the drill's opening.
    """
    first = records[0].payload if records else None
    if not isinstance(first, Opened):
        raise Damaged("the journal does not begin with a drill.", remedy="run `reinstate journal verify`")
    plants: dict[int, Plant] = {}
    data: dict[str, object] = {"opened": first.incident}
    for record in records:
        match record.payload:
            case FaultPlanting(number=number, fault=fault):
                plants[number] = Plant(number=number, fault=fault, planting_at=record.at)
            case FaultPlanted() | FaultRefused() | FaultUndone() as happened:
                plants[happened.number] = _with(plants[happened.number], happened, record)
            case _:
                data |= _said(record)
    return Drill.model_validate(
        data | {"plants": tuple(plants[number] for number in sorted(plants)), "tokens": _tokens(records)}
    )


def _said(record: Record) -> dict[str, object]:
    match record.payload:
        case DrillBegan() as began:
            return {"began": began}
        case StagingProven() as proven:
            return {"proven": proven}
        case StagingLooked() as looked:
            return {looked.when: looked, f"{looked.when}_at": record.at}
        case DrillIncidentOpened(incident=incident):
            return {"incident": incident, "incident_at": record.at}
        case DrillEnded() as ended:
            return {"ended": ended, "ended_at": record.at}
        case _:
            return {}


def _tokens(records: Sequence[Record]) -> dict[str, int]:
    held: dict[str, int] = {}
    for record in records:
        match record.payload:
            case DrillLease(host=host, token=token, held=True):
                held[host] = token
            case DrillLease(host=host):
                held.pop(host, None)
            case _:
                pass
    return held


def _with(plant: Plant, happened: FaultPlanted | FaultRefused | FaultUndone, record: Record) -> Plant:
    match happened:
        case FaultPlanted(planted=planted):
            return plant.model_copy(update={"planted": planted, "planted_at": record.at})
        case FaultRefused():
            return plant.model_copy(update={"refused": happened})
        case FaultUndone():
            return plant.model_copy(update={"undone": happened})
