"""Our flow runs and their incidents: which live, which are lost or forged, which wait in vain; and what follows.

Prefect's states only point at incidents worth a look: what is done about one is decided by its journal (G1).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

from blocks.home import home, open_store
from blocks.journals.base import JournalStore
from blocks.journals.names import is_id
from flows.gate import NOTHING
from flows.showing import RUN_TAG, incident_tag
from model.canonical import now
from model.steps import Ask, Finished, next_step
from tasks.drill_policy import must_stop
from tasks.drilling import drill_of
from tasks.voting import expired
from tasks.work import open_work

TAG = RUN_TAG
MOST_CRASHES = 5
"""After so many crashed runs of one incident a person must look before it goes on."""

START_GRACE = timedelta(seconds=60)
"""So long a run may be pending or running before its process must be there."""

LOOK_BACK = timedelta(days=7)
"""Runs that ended earlier are not looked at again."""


async def runs_in(client: PrefectClient, *types: StateType, ended: bool = False) -> list[FlowRun]:
    """Our flow runs in these states, newest first.

    Args:
        client: of the server.
        types: the states.
        ended: only those that ended within LOOK_BACK.
    """
    return await client.read_flow_runs(
        flow_run_filter=_filter(types, ended=ended), sort=FlowRunSort.EXPECTED_START_TIME_DESC
    )


def _filter(types: Iterable[StateType], *, ended: bool) -> FlowRunFilter:
    since = datetime.now(UTC) - LOOK_BACK
    return FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
        tags=FlowRunFilterTags(all_=[TAG]),
        end_time=FlowRunFilterEndTime.model_validate({"after_": since}) if ended else None,
    )


async def last_end(client: PrefectClient) -> tuple[UUID, datetime] | None:
    """The run of ours that ended last, and when; None when none did within LOOK_BACK.

    While it is the same, no run crashed, failed or was ended by a person.
    """
    ends = StateType.COMPLETED, StateType.CRASHED, StateType.FAILED, StateType.CANCELLED
    found = await client.read_flow_runs(
        flow_run_filter=_filter(ends, ended=True),
        sort=FlowRunSort.END_TIME_DESC,
        limit=1,
    )
    return next(((run.id, run.end_time) for run in found if run.end_time is not None), None)


def incident_of(store: JournalStore, run: FlowRun) -> str:
    """The incident or publication that a run of ours works on; empty for others, and before it is open."""
    named = next((str(v) for k in ("incident", "publication", "drill") if (v := run.parameters.get(k))), "")
    named = named or (store.get(f"runs/{run.id}") or b"").decode()
    return drill_of(store, named).incident if is_id(named, "drl") else named


async def bury_lost_runs(client: PrefectClient, *, all_of_them: bool) -> int:
    """Mark runs that stand in RUNNING or PENDING without a process as crashed.

    Args:
        client: of the server.
        all_of_them: no worker lives, so none of them is alive; what is left of their processes is ended first (N6).
    """
    lost = await runs_in(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
    if not all_of_them:
        young = datetime.now(UTC) - START_GRACE
        lost = [run for run in lost if run.state and run.state.timestamp < young]
        alive = _living() if lost else {}
        lost = [] if alive is None else [run for run in lost if str(run.id) not in alive]
    for run in lost:
        end_processes([run.id])
        await client.set_flow_run_state(run.id, Crashed(message="It has no process any more."), force=True)
    return len(lost)


async def continue_incidents(client: PrefectClient, deployed: dict[str, UUID], over: set[str]) -> list[str]:
    """Start `recover` (or `publish_plan`) again for what is unfinished: its run crashed, or was completed by hand.

    Nothing is started for an incident with a run that is alive. A run that failed or was cancelled waits for a person.

    Args:
        client: of the server.
        deployed: deployment ids by `flow/deployment`.
        over: incidents that were found finished earlier; added to, so that no journal is read again for nothing.

    Returns:
        The incidents that go on.
    """
    store = open_store()
    alive_types = (StateType.PAUSED, StateType.SCHEDULED, StateType.RUNNING, StateType.PENDING)
    alive = {incident_of(store, run) for run in await runs_in(client, *alive_types)}
    runs: dict[str, list[UUID]] = {}
    for run in await runs_in(client, StateType.CRASHED, StateType.COMPLETED, ended=True):
        runs.setdefault(incident_of(store, run), []).append(run.id)
    going_on = []
    known = {*store.incidents(), *store.publications()}
    for incident in runs.keys() - alive - over - {""} & known:
        work = open_work(incident, store)
        if (
            isinstance(next_step(work.state()), Finished) or work.incident.drill
        ):  # a drill is cleaned up instead
            over.add(incident)
            continue
        publication = work.state().publication is not None
        flow, name = ("publish_plan", "publication") if publication else ("recover", "incident")
        deployment, times = deployed.get(f"{flow}/{work.plan.name}"), len(runs[incident])
        if deployment is None or times > MOST_CRASHES:
            continue
        end_processes(runs[incident])
        await client.create_flow_run_from_deployment(
            deployment,
            parameters={"plan": work.plan.name, name: incident},
            tags=[TAG, incident_tag(incident)],
            idempotency_key=f"{incident}-{times}",
        )
        going_on.append(incident)
    return going_on


async def name_abandoned(client: PrefectClient, over: set[str]) -> list[str]:
    """Say in the journal of an unfinished incident that its run failed or was cancelled and nothing works on it.

    Returns:
        The incidents of which that was not said before.
    """
    store = open_store()
    alive_types = (StateType.PAUSED, StateType.SCHEDULED, StateType.RUNNING, StateType.PENDING)
    alive = {incident_of(store, run) for run in await runs_in(client, *alive_types)}
    found = []
    for run in await runs_in(client, StateType.FAILED, StateType.CANCELLED, ended=True):
        incident = incident_of(store, run)
        if not incident or incident in alive | over or f"abandoned {incident}" in over:
            continue
        work = open_work(incident, store)
        if isinstance(next_step(work.state()), Finished) or work.incident.drill:
            over.add(incident)
            continue
        over.add(f"abandoned {incident}")
        state = str(run.state.name if run.state else "gone").lower()
        work.note_once(
            f"Nothing works on this incident: its run {run.name!r} is {state}. "
            f"`reinstate recover --incident {incident}` goes on."
        )
        found.append(incident)
    return found


async def report_again(client: PrefectClient, deployed: dict[str, UUID], over: set[str]) -> int:
    """Start again what crashed before its incident was open, so that no report is lost (N4).

    Returns:
        How many were started.
    """
    store, started = open_store(), 0
    recovering = {ident for name, ident in deployed.items() if name.startswith("recover/")}
    for run in await runs_in(client, StateType.CRASHED, ended=True):
        times = next((int(tag[6:]) for tag in run.tags if tag.startswith("again:")), 0)
        if run.deployment_id not in recovering or str(run.id) in over or incident_of(store, run):
            continue
        over.add(str(run.id))
        if times >= MOST_CRASHES:
            continue
        end_processes([run.id])
        again = await client.create_flow_run_from_deployment(
            run.deployment_id,
            parameters=run.parameters,
            tags=[*(tag for tag in run.tags if not tag.startswith("again:")), f"again:{times + 1}"],
            idempotency_key=f"again-{run.id}",  # a run that was started again before is found, not made
        )
        started += again.state is not None and again.state.is_scheduled()
    return started


async def wake_settled(client: PrefectClient) -> list[str]:
    """Resume runs whose gate was settled elsewhere (`reinstate approve`, its deadline), or waits for what is over.

    What has expired is over, and a drill that must stop.

    Returns:
        The incidents that go on.
    """
    store = open_store()
    woken = []
    for run in await runs_in(client, StateType.PAUSED):
        incident = incident_of(store, run)
        if not incident:
            continue
        work = open_work(incident, store)
        state = work.state()
        step = next_step(state)
        if not isinstance(step, Ask) or expired(state, step.gate, now()) or must_stop(work):
            await client.resume_flow_run(run.id, run_input=NOTHING)
            woken.append(incident)
    return woken


def end_processes(runs: Iterable[UUID]) -> None:
    """End what is left of these runs' processes at once: two processes must not work on one incident (N6)."""
    alive = _living() or {}
    for run in runs:
        for pid in alive.get(str(run), ()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _living() -> dict[str, list[int]] | None:
    """Flow run id → the pids of its processes, of this installation; None where the system cannot tell."""
    if not Path("/proc/self/environ").is_file():
        return None
    ours = f"REINSTATE_HOME={home()}".encode()
    found: dict[str, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "environ").read_bytes().split(b"\0")
            names = [w for w in words if w.startswith(b"PREFECT__FLOW_RUN_ID=")]
            if ours in words and names:
                found.setdefault(names[0].partition(b"=")[2].decode(), []).append(int(folder.name))
    return found
