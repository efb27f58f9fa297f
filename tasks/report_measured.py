"""What a report measures: bars of its picture, times per stage and asset, what went well and badly (R-REV-1). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from model.canonical import Value
from model.finding import Verdict
from model.journal import Effect, GateOpened, GateSettled, Intent, Record, StageEnded, StageStarted, State
from model.outcome import Gate, RunVerdict, Stage
from model.plan import Objectives
from tasks.render import duration

BARS = 60
"""Bars in the picture; the timeline below it has everything."""


class Bar(Value):
    """A stretch of the picture, in seconds since the incident was opened.

    Attributes:
        open: it had not ended when the report was built; `end` is then the newest record's moment.
    """

    kind: Literal["stage", "gate", "action"]
    label: str
    begin: float
    end: float
    open: bool = False


class AssetTime(Value):
    """What was measured of one asset.

    Attributes:
        back: seconds from detection until the last action on it ended; None when nothing was done to it.
        lost: seconds between its recovery point and detection; None when no data was brought back.
    """

    asset: str
    host: str
    back: float | None
    lost: float | None


def bars(records: Sequence[Record]) -> tuple[Bar, ...]:
    """Stages, actions and gates (as waiting) in the order they began; one still open at the end, too."""
    start = records[0].at
    begun: dict[tuple[Literal["stage", "gate", "action"], str], datetime] = {}
    found: list[Bar] = []

    def end(kind: Literal["stage", "gate", "action"], label: str, at: datetime, still: bool = False) -> None:
        if (kind, label) in begun:
            since = begun.pop((kind, label))
            found.append(
                Bar(
                    kind=kind,
                    label=label,
                    begin=(since - start).total_seconds(),
                    end=(at - start).total_seconds(),
                    open=still,
                )
            )

    for record in records:
        match record.payload:
            case StageStarted(stage=stage):
                begun.setdefault(("stage", stage.value), record.at)
            case StageEnded(stage=stage):
                end("stage", stage.value, record.at)
            case GateOpened(gate=gate):
                begun.setdefault(("gate", gate.value), record.at)
            case GateSettled(gate=gate):
                end("gate", gate.value, record.at)
            case Intent(step=step):
                begun.setdefault(("action", step), record.at)
            case Effect(step=step):
                end("action", step, record.at)
    begun.pop(("stage", Stage.REVIEW.value), None)  # it writes this very report
    for kind, label in list(begun):
        end(kind, label, records[-1].at, still=True)
    return tuple(sorted(found, key=lambda bar: (bar.begin, -bar.end)))


def asset_times(records: Sequence[Record], state: State) -> tuple[AssetTime, ...]:
    """What was measured of each damaged asset, in the order of the findings."""
    detected = state.require_incident().detected_at
    ended = {
        record.payload.step: record.at
        for record in records
        if isinstance(record.payload, Effect) and record.payload.result != "failed"
    }
    actions = state.proposal.actions if state.proposal else ()
    ages = {point.asset: point.age for point in (state.proposal.points if state.proposal else ())}
    results = state.confirmed.results if state.confirmed else ()
    damaged = dict.fromkeys((f.asset, f.host) for result in results for f in result.findings)
    times = []
    for asset, host in damaged:
        moments = [ended[a.id] for a in actions if (a.asset, a.host) == (asset, host) and a.id in ended]
        back = (max(moments) - detected).total_seconds() if moments else None
        times.append(AssetTime(asset=asset, host=host, back=back, lost=ages.get(asset) if moments else None))
    return tuple(times)


def went_well(state: State, objectives: Objectives) -> tuple[str, ...]:
    """What may stay as it is."""
    said = []
    ended = state.ended
    if ended is not None and ended.verdict is RunVerdict.RECOVERED:
        said.append("The service was recovered and the result accepted.")
    if ended is not None and ended.rto is not None and ended.rto <= objectives.rto:
        said.append(f"RTO kept: {duration(ended.rto)}, {duration(objectives.rto)} allowed.")
    if ended is not None and ended.rpo is not None and ended.rpo <= objectives.rpo:
        said.append(f"RPO kept: {duration(ended.rpo)}, {duration(objectives.rpo)} allowed.")
    first = [e.step for e in state.effects.values() if e.result != "failed" and e.attempt == 1]
    if first and len(first) == len(state.effects):
        said.append(f"Every action worked at its first attempt ({len(first)}).")
    if state.proposal is not None and state.proposal.actions and not state.proposal.losses:
        said.append("No data was lost.")
    return tuple(said)


def went_badly(records: Sequence[Record], state: State, objectives: Objectives) -> tuple[str, ...]:
    """What should not happen again."""
    said = []
    ended = state.ended
    if ended is not None and ended.verdict is not RunVerdict.RECOVERED:
        said.append(f"The service was not recovered: {ended.sentence}")
    if ended is not None and ended.rto is not None and ended.rto > objectives.rto:
        said.append(f"RTO missed: {duration(ended.rto)}, {duration(objectives.rto)} allowed.")
    if ended is not None and ended.rpo is not None and ended.rpo > objectives.rpo:
        said.append(f"RPO missed: {duration(ended.rpo)}, {duration(objectives.rpo)} allowed.")
    said += [f"Stage {e.stage} failed: {e.sentence}" for e in state.ended_stages.values() if not e.ok]
    for effect in state.effects.values():
        if effect.result == "failed":
            said.append(f"Action {effect.step} failed: {effect.sentence}")
        elif effect.attempt > 1:
            said.append(f"Action {effect.step} needed {effect.attempt} attempts.")
    said += [f"Not cured: {unmet.sentence}" for unmet in (state.proposal.unmet if state.proposal else ())]
    said += [f"Refused at {one.gate}, {one.person}: {one.reason}" for one in state.refused]
    said += _late(records)
    last = state.verified[-1].results if state.verified else ()
    said += [f"Check {r.check}: {r.sentence}" for r in last if r.verdict is not Verdict.PASSED]
    return tuple(said)


def _late(records: Sequence[Record]) -> list[str]:
    """Gates that were settled after their deadline."""
    deadlines: dict[Gate, datetime] = {}
    said = []
    for record in records:
        match record.payload:
            case GateOpened(gate=gate, deadline=deadline):
                deadlines[gate] = deadline
            case GateSettled(gate=gate) if gate in deadlines and record.at > deadlines[gate]:
                late = (record.at - deadlines[gate]).total_seconds()
                said.append(f"The sign-off at {gate} came {duration(late)} after its deadline.")
    return said
