"""What holds for the incident of a drill: who may sign by policy, and why it must stop."""

from __future__ import annotations

from blocks.journals.base import JournalStore
from model.canonical import now
from model.drill_journal import Drill, fold_drill
from model.drill_records import Outcome
from model.errors import Refused
from model.incident import Kind
from model.journal import GateSettled, StageEnded, StageStarted
from model.outcome import Gate, Stage
from model.steps import AFTER, Ask, Run, next_step
from tasks.open_incidents import states_of
from tasks.work import Work

_STOPPED: tuple[Outcome, ...] = ("pre-empted", "expired", "reaped", "failed")
_STOPS = "The drill stops. "
_STAGE = {Gate.DECIDE: Stage.DECIDE, Gate.ACCEPT: Stage.ACCEPT}


def require_simulated(work: Work) -> str:
    """The drill whose policy simulates sign-offs.

    Raises:
        Refused: this incident is no part of such a drill: real people sign it.
    """
    incident = work.incident
    if incident.kind is Kind.DRILL and incident.drill:
        began = fold_drill(work.store.read(incident.drill)).began
        if began is not None and began.sign_off == "simulated":
            return incident.drill
    raise Refused("a simulated sign-off counts in a drill that allows it only.", remedy="real people sign")


def why_stop(store: JournalStore, drill: Drill) -> tuple[Outcome, str] | None:
    """Why a drill must not go on: a real incident of its plan is open, or its lease is over; None when it may."""
    for ident, state in states_of(store):
        incident = state.require_incident()
        real = incident.kind is Kind.REAL and incident.plan == drill.opened.plan
        if real and state.ended is None:
            return "pre-empted", f"Incident {ident} is open, and it is real: people are needed there."
    if drill.began is not None and drill.began.expires_at <= now():
        return (
            "expired",
            f"The lease of the staging hosts ended at {drill.began.expires_at:%Y-%m-%d %H:%M} UTC.",
        )
    return None


def waits(work: Work) -> bool:
    """Whether an incident waits for people, or for its run to go on now that they signed: no process is missing."""
    if isinstance(next_step(work.state()), Ask):
        return True
    for record in reversed(work.store.read(work.incident.id)):
        if isinstance(record.payload, StageStarted | StageEnded):
            return False
        if isinstance(record.payload, GateSettled):
            return True
    return False


def must_stop(work: Work) -> tuple[Outcome, str] | None:
    """Why the drill of an incident must not go on; None when it may, or the incident is of no drill."""
    if not work.incident.drill:
        return None
    return why_stop(work.store, fold_drill(work.store.read(work.incident.drill)))


def why_stopped(work: Work) -> tuple[Outcome, str] | None:
    """Why the incident of a drill was let fail; None when it came to an end of its own."""
    for ended in work.state().ended_stages.values():
        for outcome in _STOPPED:
            if not ended.ok and ended.code == outcome.upper():
                return outcome, ended.sentence.removeprefix(_STOPS)
    return None


def stop_if_due(work: Work) -> str:
    """End the stage that is due, when its drill must stop: the incident then goes back and closes by itself.

    Returns:
        Why, in one sentence; empty when the incident is of no drill, goes on, or is on its way back already.
    """
    why = must_stop(work)
    if why is None or not stop(work, *why):
        return ""
    return why[1]


def stop(work: Work, outcome: Outcome, sentence: str) -> bool:
    """Let the stage that is due fail, so that a drill's incident goes back and closes; False when it does already."""
    step = next_step(work.state())
    match step:
        case Run(stage=stage) if stage not in AFTER:
            due = stage
        case Ask(gate=gate):
            due = _STAGE[gate]
        case _:
            return False
    work.record(StageEnded(stage=due, ok=False, sentence=f"{_STOPS}{sentence}", code=outcome.upper()))
    return True
