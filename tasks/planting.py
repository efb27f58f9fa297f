"""Damage of a drill: chosen, done on staging, taken back; each intent is in the drill's journal before its effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from model.drill_journal import Drill, Plant
from model.drill_records import FaultPlanted, FaultPlanting, FaultRefused, FaultUndone
from model.errors import PreconditionFailed, Refused, Unsupported
from model.fault_kinds import FaultKind
from model.faults import Fault, choose
from tasks import faults
from tasks.drilling import drill_of
from tasks.one_act import one_act
from tasks.work import Work, open_work


@one_act(name="choose faults", task_run_name="choose what {drill} damages")
def choose_faults(drill: str) -> list[Fault]:
    """What is damaged, by the drill's seed; the same again and again.

    Raises:
        PreconditionFailed: nothing of the plan can be damaged in such a way.
    """
    work = open_work(drill)
    began = drill_of(work.store, drill).began
    assert began is not None  # noqa: S101 - it is the second record of every drill
    kinds = [FaultKind(kind) for kind in began.kinds]
    return list(choose(work.plan, list(began.hosts), kinds, began.seed, began.count))


@one_act(name="plant", task_run_name="do damage {number}")
def plant(drill: str, number: int, fault: Fault) -> bool:
    """Do one damage on a staging host whose identity and marker are proven; its intent is durable before.

    Returns:
        Whether it was done; what cannot be done is written down and passed over.
    """
    work = open_work(drill)
    mine = _plant_of(drill_of(work.store, drill), number)
    if mine is not None and (mine.planted is not None or mine.refused is not None):
        return mine.planted is not None
    with staging_connection(work, fault.host) as connection:
        if mine is None:
            work.record(
                FaultPlanting(number=number, fault=fault, sentence=f"Damage {number} is about to be done.")
            )
        try:
            planted = faults.inject(connection, work.plan, fault, secrets=work.file.secrets)
        except (PreconditionFailed, Unsupported) as error:
            work.record(FaultRefused(number=number, sentence=str(error)))
            return False
    work.record(FaultPlanted(number=number, planted=planted, sentence=planted.sentence))
    return True


def _plant_of(known: Drill, number: int) -> Plant | None:
    return next((one for one in known.plants if one.number == number), None)


@contextmanager
def staging_connection(work: Work, host: str) -> Iterator[Connection]:
    """A connection to a staging host that says itself that it is staging (G12).

    Raises:
        Refused: another machine, or no marker. Transient: it cannot be reached.
    """
    with work.file.connect(host) as connection:
        if prove(connection).role != "staging":
            raise Refused("the host itself does not say that it is staging.", host, "see its role file")
        yield connection


@one_act(name="clean up", task_run_name="take back what {drill} planted on staging")
def clean_up(drill: str) -> list[str]:
    """Take back everything that was planted, and prove that nothing of it is left.

    Returns:
        What is still there; empty: proven absent.

    Raises:
        Transient: a staging host cannot be reached.
    """
    work = open_work(drill)
    left: list[str] = []
    for mine in reversed(drill_of(work.store, drill).plants):
        if mine.refused is not None:
            continue
        done = mine.undone
        if done is None or done.left_behind:
            done = _undo(work, mine)
            work.record(done)
        left += done.left_behind
    return left


def _undo(work: Work, mine: Plant) -> FaultUndone:
    with staging_connection(work, mine.fault.host) as connection:
        there = [one for one in faults.planted_on(connection) if one.fault == mine.fault]
        planted = mine.planted or next(iter(there), None)
        if planted is None:  # killed before anything was touched
            return FaultUndone(number=mine.number, sentence=f"Damage {mine.number} was never done.")
        faults.undo(connection, work.plan, planted, secrets=work.file.secrets)
        left = tuple(faults.left_behind(connection, work.plan, planted))
    word = "is left behind" if left else "is gone without a trace"
    return FaultUndone(number=mine.number, sentence=f"Damage {mine.number} {word}.", left_behind=left)
