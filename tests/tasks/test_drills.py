"""A drill does real damage to staging, recovers as from a real incident, and leaves nothing behind (R-DRILL-1…3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.drill import drill
from model.finding import Verdict
from model.incident import Kind
from tasks.work import open_work
from tests.support.drillworld import DrillSite, staging_server
from tests.support.sshservers import Server, asyncssh_server


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with asyncssh_server(tmp_path / "production") as production, staging_server(tmp_path / "staging") as staging:
        yield production, staging


@pytest.fixture
def site(servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DrillSite:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    site = DrillSite(*servers, tmp_path / "world")
    site.world.back_up()
    return site


def begin(site: DrillSite, **given: object) -> str:
    return asyncio.run(drill.fn(plan=site.plan, **given))  # type: ignore[arg-type]  # any parameter of the flow


@pytest.mark.parametrize("kind", ["deleted-directory", "overwritten-documents", "permissions"])
def test_drill_plants_recovers_and_leaves_nothing(site: DrillSite, kind: str) -> None:
    """R-DRILL-1: detected by the ordinary checks, restored from production's recovery point, nothing left behind."""
    before = site.content()
    said = begin(site, seed=7, faults=[kind])
    assert said.startswith("RECOVERED: ")
    (done,) = site.drills()
    assert done.ended is not None
    assert ("done", ()) == (done.ended.outcome, done.ended.left_behind)
    assert done.before is not None and done.before.ok
    assert done.after is not None and done.after.ok
    (plant,) = done.plants
    assert plant.planted is not None and plant.undone is not None
    assert kind == plant.fault.kind
    assert before == site.content()
    assert {} == done.tokens
    assert not (site.staging.folder / "state/drill").exists() or not list(
        (site.staging.folder / "state/drill").iterdir()
    )
    state = open_work(done.incident).state()
    assert state.confirmed is not None
    found = [finding for result in state.confirmed.results for finding in result.findings]
    assert found
    assert all(plant.planted.explains(finding) for finding in found)
    assert Kind.DRILL is state.require_incident().kind
    assert {"simulated"} == {vote.proof for vote in state.votes}
    assert all(r.verdict is Verdict.PASSED for r in done.after.results)
