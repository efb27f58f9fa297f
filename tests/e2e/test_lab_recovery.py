"""The acceptance test: a real host damaged in five ways at once is brought back through a real Prefect server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType

from blocks.home import open_store
from deployments.server.remote import answer, start_run, wait_for_gate
from deployments.server.settings import client_settings
from deployments.server.up import Up
from model.incident import Source
from model.outcome import Gate, RunVerdict
from tasks.work import Work, load_plan, open_work
from tests.lab.servers import NGINX_CONF, ShopState
from tests.support import tamper
from tests.support.labworld import LabWorld, Watch, break_it, form_answer
from tests.support.witness import Seen, bad_pages, dpkg_complains, look, trace

pytestmark = [pytest.mark.lab, pytest.mark.slow]

T = TypeVar("T")
PATIENCE = 300.0


@contextmanager
def running(world: LabWorld) -> Iterator[Up]:
    """`reinstate up` for the world's plan, in the home of this test."""
    said: list[str] = []
    installation = Up([load_plan(str(world.plan_file))], None, said.append)
    try:
        installation.start()
        yield installation
    finally:
        installation.stop(drain=0)


def wait_for(look_for: Callable[[], T | None], what: str) -> T:
    """The first thing found."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look_for():
            return found
        time.sleep(0.3)
    raise AssertionError(f"no {what} within {PATIENCE:g} s")


def read_run(up: Up, run: UUID) -> FlowRun:
    """A flow run as the server has it."""

    async def read() -> FlowRun:
        async with get_client() as client:
            return await client.read_flow_run(run)

    with client_settings(up.where):
        return asyncio.run(read())


def completed(up: Up, run: UUID) -> FlowRun | None:
    """The run once it has ended; it must not have failed."""
    found = read_run(up, run)
    assert found.state is not None
    assert found.state_type not in {StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}, (
        found.state.message
    )
    return found if found.state_type is StateType.COMPLETED else None


def run_back_up(up: Up) -> None:
    """Back up by the deployment, as its schedule would."""

    async def create() -> UUID:
        async with get_client() as client:
            run = await client.create_flow_run_from_deployment(up.deployed["back_up/lab-shop"])
            return run.id

    with client_settings(up.where):
        run = asyncio.run(create())
    wait_for(lambda: completed(up, run), "finished backup")


def sign(up: Up, world: LabWorld, work: Work, gate: Gate, person: str) -> None:
    """Answer the form of a gate as soon as its run waits."""
    wait_for(lambda: gate in work.state().gates and wait_for_gate(up.where, work), f"form of {gate}")
    assert answer(up.where, work, form_answer(world, work, gate, person, "approve"))


def content(seen: dict[str, Seen]) -> dict[str, object]:
    """What is there, without times and without what apt and dpkg write about themselves."""
    books = ("/var/cache/apt/", "/var/lib/dpkg/")
    return {path: one.facts for path, one in seen.items() if not path.startswith(books)}


def test_a_host_damaged_in_five_ways_is_recovered_through_prefect(
    lab_world: LabWorld, shop_state: ShopState, home: Path, tmp_path: Path
) -> None:
    """Must show 3: packages, configuration, data files and database back; a witness of its own agrees."""
    watch, host, shop = Watch.start(), lab_world.host, lab_world.shop
    with running(lab_world) as up:
        watch.lap("reinstate up")
        run_back_up(up)
        watch.lap("back up")
        healthy = look(host)
        damaged = break_it(host)
        assert 0 == shop.fetch()[0]
        watch.lap("damage (and the witness's look before it)")
        run, _ = start_run(
            up.where, "lab-shop", summary="The shop is down.", reported_by="monitor", source=Source.WEBHOOK
        )
        incident = wait_for(lambda: open_store().get(f"runs/{run}"), "incident").decode()
        work = open_work(incident)
        sign(up, lab_world, work, Gate.DECIDE, "lena")
        watch.lap("report, confirm, decide, first form")
        sign(up, lab_world, work, Gate.ACCEPT, "ines")
        watch.lap("preserve, repair, restore, verify, accept, second form")
        wait_for(lambda: completed(up, run), "end of the recovery")
        watch.lap("close, review")
    watch.lap("stop")
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED == state.ended.verdict, state.ended.sentence
    assert {"lena", "ines"} == {vote.person for vote in state.votes}
    assert shop_state == shop.state()
    assert content(healthy) == content(look(host))
    assert [NGINX_CONF] == dpkg_complains(host)
    # The damaged database is kept aside; nothing else in the cluster has a bad page.
    kept = {Path(one.path).name for one in damaged if "/postgresql/" in one.path}
    assert kept == {Path(path).name for path in bad_pages(host)}
    assert shop_state == shop.state()
    assert proposed(work) <= set(state.effects)
    assert all(incident in name for name in trace(host))
    assert [] == tamper.unnoticed(home, incident, tmp_path / "altered")
    watch.lap("witness")
    print(watch.show("\nRecovery of a real host through Prefect"))


def proposed(work: Work) -> set[str]:
    """Ids of the actions that were signed."""
    proposal = work.state().proposal
    assert proposal is not None
    assert () == proposal.unmet
    return {action.id for action in proposal.actions}
