"""Who must be told what now: pure functions over journal, plan and clock (R-RESP-8).

For one message, one channel and one recipient there is at most one `Telling` in a journal. While it has no `Told`, the
message may have been sent: it goes on over the next channel, and never again over this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model.communication import Audience, Communication, Reachable, Route
from model.journal import (
    Confirmed,
    Ended,
    GateOpened,
    GateReminded,
    GateSettled,
    Opened,
    Record,
    StageEnded,
    StageStarted,
)
from model.messages import MessageHeld, MessageReleased, Moment, Telling, Told
from model.outcome import Gate, Stage
from model.severity import Severity
from model.signoff import Decision

LATE_SHARE, LATE_SECONDS = 0.1, 60.0
"""A progress message is late after this share of `every`, but no sooner than so many seconds."""

OVERDUE = "OVERDUE"
"""How the note on a late message begins."""

CERTAIN = frozenset({"delivered"})


@dataclass(frozen=True)
class Occasion:
    """Something happened that people are told.

    Attributes:
        key: the moment, with a number from its second time on.
        seq: number of the record that says so; 0 for progress, which only the clock says.
        gate: the gate it concerns, where people are asked, reminded or told that nobody signs.
    """

    moment: Moment
    key: str
    at: datetime
    gate: Gate | None = None
    seq: int = 0


@dataclass(frozen=True)
class Message:
    """What one audience is told on one occasion."""

    audience: str
    occasion: Occasion

    @property
    def name(self) -> str:
        """Its name in the journal."""
        return f"{self.occasion.key}/{self.audience}"


@dataclass(frozen=True)
class Send:
    """One message over one channel to one recipient."""

    message: Message
    route: Route


@dataclass(frozen=True)
class Late:
    """A progress message that was due and not sent."""

    audience: str
    due: datetime


def occasions(records: Sequence[Record]) -> tuple[Occasion, ...]:
    """What happened so far, oldest first; progress is no occasion, see `progress_due`."""
    found: list[Occasion] = []
    counts: dict[Moment, int] = {}
    happened = [*((moment, record, None) for moment, record in _moments(records)), *_asking(records)]
    for moment, record, gate in sorted(happened, key=lambda one: one[1].seq):
        counts[moment] = number = counts.get(moment, 0) + 1
        found.append(
            Occasion(moment, moment if number == 1 else f"{moment}-{number}", record.at, gate, record.seq)
        )
    return tuple(found)


def _moments(
    records: Sequence[Record],
) -> Iterator[tuple[Moment, Record]]:
    severity: Severity | None = None
    found, told, going_back, decided = False, False, False, ""
    for record in records:
        match record.payload:
            case Opened():
                yield Moment.OPENED, record
            case Confirmed(severity=graded) if graded is not None:
                if told and graded != severity:
                    yield Moment.IMPACT_CHANGED, record
                severity, found = graded, True
            case StageEnded(stage=Stage.CONFIRM, ok=True) if found and not told:
                told = True
                yield Moment.CONFIRMED, record
            case GateSettled(gate=Gate.DECIDE, digest=digest, decision=decision):
                if decision is not Decision.ASK and digest != decided:
                    decided = digest
                    yield Moment.DECIDED, record
            case StageStarted(stage=Stage.ROLL_BACK) if not going_back:
                going_back = True
                yield Moment.IMPACT_CHANGED, record
            case GateSettled(gate=Gate.ACCEPT, decision=Decision.APPROVE):
                yield Moment.RECOVERED, record
            case Ended():
                yield Moment.ENDED, record


def _asking(records: Sequence[Record]) -> Iterator[tuple[Moment, Record, Gate | None]]:
    """People are asked at a gate, once for each digest, reminded, and told that nobody signs; or asked for a text."""
    asked: set[tuple[Gate, str]] = set()
    for record in records:
        match record.payload:
            case GateOpened(gate=gate, digest=digest) if (gate, digest) not in asked:
                asked.add((gate, digest))
                yield Moment.ASKED, record, gate
            case MessageHeld():
                yield Moment.HELD, record, None
            case GateReminded(gate=gate, what=what):
                yield Moment.REMINDED if what == "reminder" else Moment.ESCALATED, record, gate


def tellings(records: Sequence[Record]) -> dict[tuple[str, str, str], str]:
    """(message, channel, recipient) → what became of it; empty while that is not known."""
    found: dict[tuple[str, str, str], str] = {}
    for record in records:
        match record.payload:
            case Telling(message=message, channel=channel, to=to):
                found.setdefault((message, channel, to), "")
            case Told(message=message, channel=channel, to=to, result=result):
                found[message, channel, to] = result
    return found


def interrupted(records: Sequence[Record]) -> list[Telling]:
    """Messages of which nobody knows what became of them; for whoever knows that no other process sends."""
    known = tellings(records)
    return [
        p for r in records if isinstance(p := r.payload, Telling) and not known[p.message, p.channel, p.to]
    ]


def progress_due(records: Sequence[Record], name: str, audience: Audience) -> datetime | None:
    """When this audience is due its next message of progress; None: never, or the incident has ended."""
    if Moment.PROGRESS not in audience.moments or not records:
        return None
    if any(isinstance(record.payload, Ended) for record in records):
        return None
    last = max(
        (r.at for r in records if isinstance(r.payload, Telling) and r.payload.audience == name),
        default=records[0].at,
    )
    return last + timedelta(seconds=audience.every)


def late(records: Sequence[Record], plan: Communication, at: datetime) -> tuple[Late, ...]:
    """Progress messages that are overdue: an alarm for people."""
    found = []
    for name, audience in plan.audiences.items():
        due = progress_due(records, name, audience)
        if due is not None and at > due + timedelta(seconds=max(LATE_SECONDS, audience.every * LATE_SHARE)):
            found.append(Late(name, due))
    return tuple(found)


def messages(records: Sequence[Record], plan: Communication, at: datetime) -> list[Message]:
    """Every message that is due or was begun, oldest occasion first; of progress only the newest."""
    happened = occasions(records)
    found = []
    for name, audience in plan.audiences.items():
        found += [
            Message(name, one) for one in happened
            if one.moment in audience.moments and (audience.gate is None or one.gate in {None, audience.gate})
        ]  # fmt: skip
        begun = [
            (record.at, record.payload.message.partition("/")[0]) for record in records
            if isinstance(record.payload, Telling) and record.payload.audience == name
            and record.payload.moment is Moment.PROGRESS
        ]  # fmt: skip
        due = progress_due(records, name, audience)
        if due is not None and at >= due:
            number = len({key for _, key in begun}) + 1
            found.append(Message(name, Occasion(Moment.PROGRESS, f"progress-{number}", due)))
        elif begun and due is not None:
            found.append(Message(name, Occasion(Moment.PROGRESS, begun[-1][1], begun[-1][0])))
    return sorted(found, key=lambda message: message.occasion.at)


def releases(records: Sequence[Record]) -> dict[str, MessageReleased]:
    """Message → what was decided on its text."""
    return {p.message: p for r in records if isinstance(p := r.payload, MessageReleased)}


def _approved(decided: Mapping[str, MessageReleased], message: Message) -> bool:
    one = decided.get(message.name)
    return one is not None and one.decision == "approve"


def held(records: Sequence[Record], plan: Communication, at: datetime) -> list[Message]:
    """Messages whose text nobody has decided on yet, oldest occasion first."""
    decided = releases(records)
    return [
        one for one in messages(records, plan, at)
        if plan.audiences[one.audience].approve and one.name not in decided
    ]  # fmt: skip


def newly_held(records: Sequence[Record], plan: Communication, at: datetime) -> list[Message]:
    """Those of them that the journal does not say so of yet."""
    known = {p.message for r in records if isinstance(p := r.payload, MessageHeld)}
    return [one for one in held(records, plan, at) if one.name not in known]


def sends(
    records: Sequence[Record], plan: Communication, people: Mapping[str, Reachable], at: datetime
) -> list[Send]:
    """What must be sent now: for each recipient who was not reached, the first channel that was not tried.

    Args:
        records: the incident's, oldest first.
        plan: the plan's part on information.
        people: of the plan.
        at: the present moment.
    """
    known, decided = tellings(records), releases(records)
    found: dict[tuple[str, Route], Send] = {}
    for message in messages(records, plan, at):
        if plan.audiences[message.audience].approve and not _approved(decided, message):
            continue
        for member in plan.audiences[message.audience].members:
            routes = plan.routes(member, people)
            results = [known.get((message.name, route.channel, route.to)) for route in routes]
            if any(result in CERTAIN for result in results):
                continue
            untried = next((r for r, result in zip(routes, results, strict=True) if result is None), None)
            if untried is not None:
                found.setdefault((message.name, untried), Send(message, untried))
    return list(found.values())


def unreached(
    records: Sequence[Record], plan: Communication, people: Mapping[str, Reachable]
) -> list[tuple[str, str]]:
    """(message, member) of messages that were begun and surely or maybe reached nobody over any channel."""
    known = tellings(records)
    found = []
    for name in dict.fromkeys(message for message, _, _ in known):
        audience = plan.audiences.get(name.partition("/")[2])
        for member in audience.members if audience else ():
            results = [known.get((name, route.channel, route.to)) for route in plan.routes(member, people)]
            if not any(result in CERTAIN for result in results):
                found.append((name, member))
    return found
