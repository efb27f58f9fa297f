"""`drill`: real damage on staging, the recovery of a real incident, then everything as it was (R-DRILL).

A loop over the drill's own journal, as `recover` is one over the incident's: started again for a drill, it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from random import SystemRandom
from typing import cast

from prefect import flow
from prefect.deployments import arun_deployment

from blocks.home import open_store
from blocks.journals.base import JournalStore
from flows.gate import WaitingForSignOff
from flows.recover import recover
from flows.scheduled import skipped
from flows.showing import RUN_TAG
from flows.stage import in_prefect, once_for_this_run, opened_by_this_run, run, say
from model.canonical import now
from model.drill import DrillRule, Mode, SignedBy
from model.drill_journal import Drill
from model.drill_records import Outcome
from model.errors import BadInput, ReinstateError, Transient
from model.faults import Fault
from model.steps import Finished, next_step
from tasks import drilling, planting
from tasks.drill_policy import stop, waits, why_stop, why_stopped
from tasks.drilling import drill_of, in_hand
from tasks.scorecard import score_drill
from tasks.work import load_plan, open_work

MOMENTS = 100
"""Drawn at most until one is in no blackout window."""


class DrillStops(ReinstateError):
    """A drill that must not go on: it is cleaned up and ends."""

    code = "DRILL_STOPS"

    def __init__(self, outcome: Outcome, what: str) -> None:
        """Say how it ends, and why."""
        super().__init__(what, "", "see the drill's records")
        self.args = (outcome, what)
        self.outcome: Outcome = outcome


@flow(name="drill", flow_run_name="drill {plan}{drill}", persist_result=True, result_serializer="json")
async def drill(
    plan: str = "",
    drill: str = "",
    seed: int | None = None,
    faults: list[str] | None = None,
    mode: Mode | None = None,
    sign_off: SignedBy | None = None,
    scheduled: bool = False,
) -> str:
    """Exercise a whole recovery against staging (R-DRILL-1); production is never touched (R-DRILL-3).

    Args:
        plan: name of a registered plan, or the path of a plan file; needed for a new drill.
        drill: id of a drill to go on with; empty begins one.
        seed: chooses the damage; the same seed chooses the same. Empty: by chance.
        faults: kinds of damage to choose from; empty: the plan's.
        mode: full or tabletop; empty: the plan's.
        sign_off: people or simulated; empty: the plan's.
        scheduled: nobody asked for it now: it begins at random within the plan's window.

    Returns:
        How it ended, in one sentence.

    Raises:
        NotStaging: a fact does not say staging; nothing was touched.
        WaitingForSignOff: outside Prefect, while people must sign; calling again with the drill's id goes on.
        ReinstateError: the drill did not come to its end; staging was cleaned up all the same.
    """
    if not (plan.strip() or drill):
        raise BadInput("a new drill needs its plan.", "drill", "give `plan`, or name the drill to go on with")
    if scheduled and not await opened_by_this_run():
        rule, name = await asyncio.to_thread(_rule_of, plan)
        if end := skipped(rule, name):
            return cast("str", end)  # Prefect takes a state for the result
        if later := await _at_random(plan, rule, name):
            return later

    async def opening() -> str:
        await reap(say)
        return await run(drilling.open_drill, plan, seed, faults or [], mode, sign_off)

    ident = drill or await once_for_this_run(opening)
    say(f"Drill {ident}.")
    with in_hand(ident):
        return await _through(ident)


def _rule_of(plan: str) -> tuple[DrillRule, str]:
    found = load_plan(plan).plan
    return found.drill, found.name


async def _at_random(plan: str, rule: DrillRule, name: str) -> str:
    """Put the start off to a moment within the window that nobody knows; empty when there is no window."""
    if not rule.window or not in_prefect():
        return ""
    begin, chance = now(), SystemRandom()
    moments = (begin + timedelta(seconds=chance.uniform(0, rule.window)) for _ in range(MOMENTS))
    moment = next((one for one in moments if rule.held(one) is None), begin)
    await arun_deployment(
        f"drill/{name}", parameters={"plan": plan, "scheduled": False}, timeout=0, as_subflow=False, tags=[RUN_TAG],
        scheduled_time=moment,
    )  # fmt: skip
    return "It begins at some moment of the window."


async def _through(ident: str) -> str:
    """From where the journal is to its end; whatever happens, nothing is left on staging."""
    store = await asyncio.to_thread(open_store)
    known = drill_of(store, ident)
    if known.ended is not None:
        return known.ended.sentence
    try:
        if known.opened.tabletop:
            return await _finish(store, ident, "done", await _play(store, ident))
        await _prove(ident)
        sentence = await _exercise(store, ident)
    except DrillStops as stopped:
        await _finish(store, ident, stopped.outcome, stopped.what)
        raise
    except (Transient, WaitingForSignOff):  # the drill goes on from there
        raise
    except ReinstateError as error:
        if drill_of(store, ident).ended is None:
            await _finish(store, ident, "failed", str(error))
        raise
    return await _finish(store, ident, "done", sentence)


async def _prove(ident: str) -> None:
    try:
        say(await run(drilling.prove_and_hold, ident))
    except Transient:
        raise
    except ReinstateError as error:
        await run(drilling.end_drill, ident, "refused", str(error), [])
        raise


async def _exercise(store: JournalStore, ident: str) -> str:
    """Hypothesis, damage, recovery, hypothesis again."""
    if not drill_of(store, ident).incident:
        _go_on(store, ident)
        if not await run(drilling.look_at_staging, ident, "before"):
            raise DrillStops("unhealthy", _seen(drill_of(store, ident)))
        for sentence in await run(drilling.record_staging, ident):
            say(sentence)
        planted = 0
        chosen: list[Fault] = await run(planting.choose_faults, ident)
        for number, fault in enumerate(chosen, 1):
            _go_on(store, ident)
            planted += await run(planting.plant, ident, number, fault)
        if not planted:
            raise DrillStops("unhealthy", "Nothing could be damaged.")
        _go_on(store, ident)
    incident = await run(drilling.report_drill, ident)
    verdict = await _recover(store, ident, incident)
    await run(drilling.look_at_staging, ident, "after")
    return f"{verdict} {_seen(drill_of(store, ident))}"


async def _play(store: JournalStore, ident: str) -> str:
    """The scenario, told as a report and played through by those who answer and sign."""
    _go_on(store, ident)
    incident: str = await run(drilling.report_drill, ident)
    return await _recover(store, ident, incident)


async def _recover(store: JournalStore, ident: str, incident: str) -> str:
    """The same recovery as for a real incident, to its end.

    Raises:
        DrillStops: the drill must not go on; the incident was led back and closed.
    """
    verdict = await recover.fn(incident=incident)
    if why := why_stopped(open_work(incident, store)):
        raise DrillStops(*why)
    _go_on(store, ident)
    return verdict


def _go_on(store: JournalStore, ident: str) -> None:
    """Nothing new is begun while a real incident is open, or when the lease is over.

    Raises:
        DrillStops: then.
    """
    if why := why_stop(store, drill_of(store, ident)):
        raise DrillStops(*why)


def _seen(known: Drill) -> str:
    seen = known.after or known.before
    return seen.sentence if seen is not None else ""


async def _finish(store: JournalStore, ident: str, outcome: Outcome, sentence: str) -> str:
    """End the incident if it still is open, take back what was planted, give the hosts back, write down the end.

    Raises:
        Transient: a staging host cannot be reached; calling again goes on.
        ReinstateError: something was left behind.
    """
    incident = drill_of(store, ident).incident
    if incident and not isinstance(next_step(open_work(incident, store).state()), Finished):
        stop(open_work(incident, store), outcome, sentence)
        say(await recover.fn(incident=incident))
    left: list[str] = await run(planting.clean_up, ident)
    said: str = await run(drilling.end_drill, ident, outcome, sentence, left)
    say(said)
    say(await run(score_drill, ident))
    if left:
        raise ReinstateError(
            f"the drill left something on staging: {' '.join(left)}", ident, "remove it by hand, on that host"
        )
    return said


async def reap(say_so: Callable[[str], None]) -> list[str]:
    """Clean up every drill whose process is gone or whose lease is over; one that waits for people is left alone.

    Args:
        say_so: told what was done, and what went wrong.

    Returns:
        The drills that were ended.
    """
    store, ended = open_store(), []
    for ident in store.drills():
        try:
            known = drill_of(store, ident)
            if known.ended is not None:
                continue
            with ExitStack() as mine:
                try:
                    mine.enter_context(in_hand(ident))
                except Transient:  # its process lives
                    continue
                due = why_stop(store, known)
                if due is None and known.incident and waits(open_work(known.incident, store)):
                    continue
                outcome, why = due or ("reaped", "The process of the drill is gone.")
                say_so(f"{ident}: {await _finish(store, ident, outcome, why)}")
                ended.append(ident)
        except ReinstateError as error:  # one drill's trouble holds up no other
            say_so(f"{ident} could not be cleaned up: {error}")
    return ended
