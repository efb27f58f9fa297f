"""`scan` as plain calls: rotation, history, one incident for new damage, hosts that cannot be reached (R-PREV-2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.home import open_store
from flows.scan import scan
from model.errors import ReinstateError
from model.finding import Verdict
from model.incident import Source
from model.journal import fold
from model.steps import next_step
from tasks.scanning import history_of, history_rows, updates_rows
from tasks.work import open_work
from tests.support.locally import begin
from tests.support.sshservers import asyncssh_server
from tests.support.wrongworld import SmallWorld, make_small_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallWorld]:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    with asyncssh_server(tmp_path / "server") as server:
        (tmp_path / "world").mkdir()
        made = make_small_world(server, tmp_path / "world")
        made.back_up()
        made.write_plan({"scan": {"schedule": "30 3 * * *", "open_incident": "serious"}})
        yield made


def look(world: SmallWorld) -> str:
    return asyncio.run(scan.fn(str(world.plan_file)))


def test_new_damage_opens_one_incident_until_it_is_over_and_comes_back(world: SmallWorld) -> None:
    """A healthy scan opens none, two scans of one damage open one; the report is of the schedule, by no person."""
    store = open_store()
    assert "0 findings" in look(world)
    assert [] == store.incidents()
    (world.files / "a.txt").write_text("all is lost\n")
    said = look(world)
    (incident,) = store.incidents()
    assert incident in said
    opened = fold(store.read(incident)).require_incident()
    assert (Source.SCHEDULE, "scan") == (opened.source, opened.reported_by)
    assert "FILE_CONTENT_DIFFERS" in opened.summary
    look(world)
    assert [incident] == store.incidents()
    begin(str(world.plan_file), incident)  # people look at it now; the scan goes on without a second report
    assert "sign" in next_step(open_work(incident).state()).reason or open_work(incident).state().proposal
    assert "0 of them new" in look(world)
    (world.files / "below/b.bin").unlink()
    assert "1 of them new" in look(world)
    assert 2 == len(store.incidents())


def test_history_says_when_each_asset_was_last_whole(world: SmallWorld) -> None:
    world.write_plan({"scan": {"updates": False}})
    look(world)
    (world.files / "a.txt").unlink()
    look(world)
    history = history_of(open_store(), "small")
    asset = history.assets["files"]
    assert (Verdict.FAILED, 1) == (asset.verdict, asset.findings)
    assert asset.last_clean is not None
    assert asset.last_clean < asset.last_scanned
    assert [0, 1] == [run.findings for run in history.runs]
    assert [] == open_store().incidents(), "the plan does not say that a scan may open one"
    (row,) = history_rows(history)
    assert "UTC" in row["last whole"]


def test_host_that_cannot_be_reached_fails_the_scan_loudly_and_others_are_looked_at(
    world: SmallWorld,
) -> None:
    """G8, G11: not looked at is neither clean nor damaged, and no incident."""
    plan = json.loads(world.plan_file.read_text())
    gone = dict(plan["hosts"]["web"]) | {"port": 1}
    files = dict(plan["assets"]["files"])
    world.write_plan(
        {
            "hosts": {"away": gone},
            "assets": {"lost": files | {"host": "away"}},
            "scan": {"open_incident": "any"},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
        with pytest.raises(ReinstateError, match="Not looked at"):
            look(world)
    history = history_of(open_store(), "small")
    assert {"files": Verdict.PASSED, "lost": Verdict.ERROR} == {
        n: a.verdict for n, a in history.assets.items()
    }
    assert {"web", "away"} == set(history.hosts)
    assert [] == open_store().incidents()


def test_rotation_looks_at_one_host_and_then_at_the_other(world: SmallWorld) -> None:
    plan = json.loads(world.plan_file.read_text())
    files = dict(plan["assets"]["files"])
    world.write_plan(
        {
            "hosts": {"second": plan["hosts"]["web"]},
            "assets": {"more": files | {"host": "second"}},
            "scan": {"rotate": 1},
        }
    )
    time.sleep(1.1)  # a recovery point is named by its second
    world.back_up()
    assert "1 host scanned" in look(world)
    assert "1 host scanned" in look(world)
    assert [("web",), ("second",)] == [run.hosts for run in history_of(open_store(), "small").runs]


def test_table_of_updates_says_what_is_not_known() -> None:
    from model.updates import Update, UpdatesReport

    report = UpdatesReport(
        host="web", asset="os", looked=True, sentence="2 pending.", notes=("some",),
        updates=(Update(package="b", installed="1", candidate="2"), Update(package="c", installed="1", security=True)),
    )  # fmt: skip
    rows = updates_rows([report])
    assert ["c", "b", ""] == [row["package"] for row in rows]
    assert "not known" == rows[0]["vulnerabilities"]
    assert "some" in rows[2]["from"]
