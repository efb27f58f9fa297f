"""What a drill showed: damage found and nothing else, times, data lost, hands needed, lessons (R-DRILL-2). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime

from model.canonical import HostText, Value
from model.drill import Mode, SignedBy
from model.drill_journal import Drill, Plant
from model.drill_records import Outcome
from model.fault_kinds import FaultKind
from model.finding import CheckResult, Code, Finding
from model.journal import Confirmed, GateSettled, Record, StageEnded, State
from model.messages import Telling, Told
from model.outcome import Gate, RunVerdict, Stage
from model.plan import Plan
from model.signoff import Decision

Seen = Literal["found", "reported", "late", "missed", "refused"]
"""How a damage was noticed: by a check, by people's report, only after the repair, not at all; or it was not done."""

Mended = Literal["repaired", "declared", "still there", "unknown"]
"""What became of it: `declared` means that the proposal said it cannot be repaired, and what a person must do."""

Name = Literal["detect", "decide", "repair", "accept", "whole"]
MEASURED = {
    "decide": "decided in time",
    "accept": "accepted in time",
    "whole": "RTO kept",
    "lost": "RPO kept",
}
"""Criteria that are a time against an objective."""
REPAIRING = (Stage.PRESERVE, Stage.REPAIR, Stage.RESTORE, Stage.VERIFY)


class FaultScore(Value):
    """One damage: what was done, how it was noticed, what became of it."""

    kind: FaultKind
    asset: str
    host: str
    sentence: HostText
    seen: Seen
    mended: Mended


class Lap(Value):
    """One stretch of the drill in seconds.

    Attributes:
        seconds: None when it did not come to its end.
        objective: seconds the plan allows; None where it says nothing.
    """

    name: Name
    seconds: float | None
    objective: float | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the objective was kept; None when there is none, or nothing was measured."""
        return None if self.seconds is None or self.objective is None else self.seconds <= self.objective


class Criterion(Value):
    """One thing a drill must show.

    Attributes:
        ok: None where the drill showed nothing of it.
        seconds: what was measured, where it is a time.
        allowed: seconds the plan allows.
    """

    name: str
    ok: bool | None
    sentence: HostText
    seconds: float | None = None
    allowed: float | None = None


class Scorecard(Value):
    """The score of one drill.

    Attributes:
        drill: its id.
        incident: id of its incident; empty when it had none.
        outcome: how the drill ended; None while it goes on.
        result: of the recovery; None when it did not end.
        faults: what was planted.
        unexplained: findings that nothing planted explains.
        laps: times.
        lost: seconds of data lost; None when not known.
        by_hand: steps that a person had to do, one sentence each.
        messages: how many were sent.
        unsent: how many of them did certainly not arrive.
        criteria: what it must show.
        items: what to look at after the drill.
    """

    drill: str
    plan: str
    plan_version: str
    mode: Mode
    sign_off: SignedBy
    seed: int
    began_at: AwareDatetime
    ended_at: AwareDatetime | None
    incident: str
    outcome: Outcome | None
    result: RunVerdict | None
    faults: tuple[FaultScore, ...]
    unexplained: tuple[HostText, ...]
    laps: tuple[Lap, ...]
    lost: float | None
    lost_allowed: float
    by_hand: tuple[HostText, ...]
    messages: int
    unsent: int
    left_behind: tuple[HostText, ...]
    criteria: tuple[Criterion, ...]
    items: tuple[HostText, ...]

    @property
    def verdict(self) -> Literal["PASSED", "FAILED", "NO SCORE", "OPEN"]:
        """A drill that was not carried through shows nothing, and passes nothing."""
        if self.outcome is None:
            return "OPEN"
        if self.outcome != "done":
            return "NO SCORE"
        return "FAILED" if any(one.ok is False for one in self.criteria) else "PASSED"

    @property
    def points(self) -> tuple[int, int]:
        """Criteria met, of those that were shown."""
        shown = [one.ok for one in self.criteria if one.ok is not None]
        return sum(shown), len(shown)

    def lap(self, name: Name) -> float | None:
        """Seconds of one stretch."""
        return next((one.seconds for one in self.laps if one.name == name), None)


def score(plan: Plan, drill: Drill, records: Sequence[Record], state: State | None) -> Scorecard:
    """The scorecard of a drill as it stands now.

    Args:
        plan: the plan it followed.
        drill: its own journal.
        records: of its incident, oldest first; empty when it had none.
        state: their fold.
    """
    began = drill.began
    faults = tuple(_fault(one, drill, state) for one in drill.plants)
    unexplained = () if drill.opened.tabletop else _unexplained(drill, state)
    laps = _laps(plan, records, state)
    ended = state.ended if state is not None else None
    told = [record.payload for record in records if isinstance(record.payload, Told)]
    card = Scorecard(
        drill=drill.id, plan=drill.opened.plan, plan_version=drill.opened.plan_version,
        mode=began.mode if began else "full", sign_off=began.sign_off if began else "people",
        seed=began.seed if began else 0, began_at=drill.opened.opened_at, ended_at=drill.ended_at,
        incident=drill.incident, outcome=drill.outcome, result=ended.verdict if ended else None, faults=faults,
        unexplained=unexplained, laps=laps, lost=ended.rpo if ended else None, lost_allowed=plan.objectives.rpo,
        by_hand=_by_hand(state), messages=sum(isinstance(record.payload, Telling) for record in records),
        unsent=sum(one.result == "failed" for one in told),
        left_behind=drill.ended.left_behind if drill.ended else (), criteria=(), items=(),
    )  # fmt: skip
    card = card.model_copy(update={"criteria": tuple(_criteria(card, drill))})
    return card.model_copy(update={"items": tuple(_items(card, state))})


def _findings(results: Iterable[CheckResult]) -> list[Finding]:
    return [finding for result in results for finding in result.findings]


def _confirmed(state: State | None) -> list[Finding]:
    return _findings(state.confirmed.results) if state is not None and state.confirmed is not None else []


def _fault(plant: Plant, drill: Drill, state: State | None) -> FaultScore:
    planted = plant.planted
    if planted is None:
        why = plant.refused.sentence if plant.refused else "It was not done: the drill broke off."
        return _line(plant, why, "refused", "unknown")
    confirmed = _confirmed(state)
    verified = [f for one in (state.verified if state is not None else ()) for f in _findings(one.results)]
    later = [*verified, *(_findings(drill.after.results) if drill.after else ())]
    mine = [finding for finding in confirmed if any(one.matches(finding) for one in planted.expected)]
    reported = [f for f in confirmed if f.code is Code.OPERATOR_MISTAKE and f.asset == plant.fault.asset]
    seen: Seen = "missed"
    if all(any(one.matches(finding) for finding in confirmed) for one in planted.expected):
        seen = "found"
    elif planted.mistake is not None and reported:
        seen = "reported"
    elif any(one.matches(finding) for finding in later for one in planted.expected):
        seen = "late"
    return _line(plant, planted.sentence, seen, _mended(plant, drill, state, [*mine, *reported]))


def _line(plant: Plant, sentence: str, seen: Seen, mended: Mended) -> FaultScore:
    fault = plant.fault
    return FaultScore(
        kind=fault.kind, asset=fault.asset, host=fault.host, sentence=sentence, seen=seen, mended=mended
    )


def _mended(plant: Plant, drill: Drill, state: State | None, mine: Sequence[Finding]) -> Mended:
    """By the checks after the recovery: whether anything of it is still seen, and whether the proposal had said so."""
    if drill.after is None or plant.planted is None:
        return "unknown"
    still = [
        f for f in _findings(drill.after.results) if any(one.matches(f) for one in plant.planted.expected)
    ]
    if not still:
        return "repaired"
    proposal = state.proposal if state is not None else None
    unmet = {one.finding for one in proposal.unmet} if proposal is not None else set()
    return "declared" if mine and any(finding.id in unmet for finding in mine) else "still there"


def _unexplained(drill: Drill, state: State | None) -> tuple[str, ...]:
    planted = [one.planted for one in drill.plants if one.planted is not None]
    return tuple(f.sentence for f in _confirmed(state) if not any(one.explains(f) for one in planted))


def _laps(plan: Plan, records: Sequence[Record], state: State | None) -> tuple[Lap, ...]:
    """Detection begins when the incident is opened; the gates' deadlines and the RTO are the objectives."""
    opened = records[0].at if records else None
    found = _at(records, lambda p: isinstance(p, Confirmed))
    decided = _at(records, lambda p: _approved(p, Gate.DECIDE))
    repaired = _at(records, lambda p: isinstance(p, StageEnded) and p.stage in REPAIRING and p.ok)
    accepted = _at(records, lambda p: _approved(p, Gate.ACCEPT))
    gates = plan.signoff
    return (
        Lap(name="detect", seconds=_between(opened, found)),
        Lap(name="decide", seconds=_between(found, decided), objective=gates.decide.deadline),
        Lap(name="repair", seconds=_between(decided, repaired)),
        Lap(
            name="accept",
            seconds=_between(repaired, accepted),
            objective=plan.checks.soak + gates.accept.deadline,
        ),
        Lap(
            name="whole",
            seconds=state.ended.rto if state and state.ended else None,
            objective=plan.objectives.rto,
        ),
    )


def _approved(payload: object, gate: Gate) -> bool:
    return isinstance(payload, GateSettled) and payload.gate is gate and payload.decision is Decision.APPROVE


def _at(records: Sequence[Record], wanted: Callable[[object], bool]) -> datetime | None:
    """When it last happened."""
    return next((record.at for record in reversed(records) if wanted(record.payload)), None)


def _between(first: datetime | None, last: datetime | None) -> float | None:
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())


def _by_hand(state: State | None) -> tuple[str, ...]:
    """What people did; a simulated signature is nobody's hand."""
    if state is None:
        return ()
    votes = [
        f"{vote.person} said {vote.decision.value} at {vote.gate.value}."
        for vote in state.votes if vote.proof != "simulated"
    ]  # fmt: skip
    refused = [
        f"An answer of {one.person} at {one.gate.value} did not count: {one.reason}" for one in state.refused
    ]
    next_step = state.ended.next_human_step if state.ended is not None else ""
    return (*votes, *refused, *((f"Left to do: {next_step}",) if next_step else ()))


def _criteria(card: Scorecard, drill: Drill) -> Iterable[Criterion]:
    done = [one for one in card.faults if one.seen != "refused"]
    missed = [one for one in done if one.seen in {"missed", "late"}]
    open_ = [one for one in done if one.mended == "still there"]
    known = [one for one in done if one.mended != "unknown"]
    yield Criterion(
        name="everything planted was noticed", ok=not missed if done and card.incident else None,
        sentence=f"{len(done) - len(missed)} of {len(done)} noticed.",
    )  # fmt: skip
    yield Criterion(
        name="nothing else was called damaged", ok=not card.unexplained if card.incident else None,
        sentence=f"{len(card.unexplained)} findings that nothing planted explains.",
    )  # fmt: skip
    yield Criterion(
        name="everything was repaired, or honestly declared", ok=not open_ if known else None,
        sentence=f"{len(known) - len(open_)} of {len(known)} repaired or declared.",
    )  # fmt: skip
    for lap in card.laps:
        if lap.objective is not None:
            yield _measured(MEASURED[lap.name], lap.seconds, lap.objective)
    yield _measured(MEASURED["lost"], card.lost, card.lost_allowed)
    yield Criterion(
        name="nothing was left behind", ok=not card.left_behind if drill.ended else None,
        sentence=f"{len(card.left_behind)} things of the drill are still there.",
    )  # fmt: skip


def _measured(name: str, seconds: float | None, allowed: float) -> Criterion:
    said = "not measured" if seconds is None else f"{seconds:.0f} s of {allowed:.0f} s"
    kept = None if seconds is None else seconds <= allowed
    return Criterion(name=name, ok=kept, sentence=said, seconds=seconds, allowed=allowed)


def _items(card: Scorecard, state: State | None) -> Iterable[str]:
    """What people look at after the drill (R-DRILL-2, R-REV-2)."""
    for one in card.faults:
        where = f"{one.asset} on {one.host}"
        if one.seen == "refused":
            yield f"{where}: the damage {one.kind} could not be done: {one.sentence}"
        elif one.seen == "missed":
            yield f"{where}: nobody noticed the damage {one.kind}: {one.sentence} Widen its checks."
        elif one.seen == "late":
            yield f"{where}: the damage {one.kind} was noticed only after the repair: {one.sentence}"
        if one.mended == "still there":
            yield f"{where}: the damage {one.kind} was neither repaired nor declared: {one.sentence}"
        elif one.mended == "declared":
            yield f"{where}: the damage {one.kind} cannot be repaired by the plan: {one.sentence}"
    yield from (f"False alarm: {sentence}" for sentence in card.unexplained)
    late = [one for one in card.criteria if one.ok is False and one.allowed is not None]
    yield from (f"{one.name}: no, {one.sentence}" for one in late)
    if card.unsent:
        yield f"{card.unsent} of {card.messages} messages did not arrive: mend their channels."
    yield from (f"Left behind: {one}" for one in card.left_behind)
    failed = state.effects.values() if state is not None else ()
    yield from (f"Action {one.step} failed: {one.sentence}" for one in failed if one.result == "failed")
