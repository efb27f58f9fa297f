"""How the steps of an asset's repair are run: critical or not, how often tried, in which incidents (R-RESP-5)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import stage
from model.errors import Transient
from model.finding import Verdict
from model.journal import Noted
from model.outcome import Gate, RunVerdict, Stage
from model.planfile import read_plan
from tasks import act
from tasks.work import Work, open_work
from tests.support.locally import begin
from tests.support.site import Site, server, site

__all__ = ["server", "site"]


@pytest.fixture
def stuck(site: Site) -> Iterator[Path]:
    """A second file set that is damaged, and whose damaged file nobody can replace."""
    if os.geteuid():
        pytest.skip("needs root, to make a file immutable")
    extra = site.world.folder / "extra"
    extra.mkdir()
    for name in ("first.txt", "second.txt"):
        (extra / name).write_text("all is well\n")
    asset = {"kind": "files", "host": "web", "path": str(extra), "backup": "disk"}
    site.write(assets={"extra": asset})
    site.world.back_up()
    site.damage()
    (extra / "first.txt").write_text("damaged\n")
    (extra / "second.txt").write_text("damaged\n")
    said = subprocess.run(["chattr", "+i", extra / "second.txt"], check=False, timeout=10)
    if said.returncode:
        pytest.skip("needs a file system with immutable files")
    yield extra
    subprocess.run(["chattr", "-i", extra / "second.txt"], check=True, timeout=10)


def step(site: Site, asset: str, **rule: object) -> None:
    """Say how the steps of an asset are run."""
    assets = site.changes.get("assets", {})
    site.write(assets=assets | {asset: assets.get(asset, {}) | {"step": rule}})


def recovered(site: Site) -> Work:
    """A whole recovery, everything approved."""
    work = open_work(begin(site.plan))
    for gate in (Gate.DECIDE, Gate.ACCEPT):
        if work.state().ended is None:
            site.sign(work.incident.id, "lena", gate=gate)
            begin(site.plan, work.incident.id)
    return work


@pytest.mark.lab
def test_step_of_a_critical_asset_that_fails_leads_back(site: Site, stuck: Path) -> None:
    ended = recovered(site).state().ended
    assert ended is not None
    assert RunVerdict.ROLLED_BACK is ended.verdict
    assert "damaged\n" == (site.world.files / "a.txt").read_text(), "everything is as before"
    assert "damaged\n" == (stuck / "first.txt").read_text()


@pytest.mark.lab
def test_step_of_an_optional_asset_that_fails_is_undone_and_the_recovery_goes_on(
    site: Site, stuck: Path
) -> None:
    """Its own damage is as before, the rest is repaired; the acceptance and the end say what was left."""
    step(site, "extra", critical=False)
    work = open_work(begin(site.plan))
    site.sign(work.incident.id, "lena", gate=Gate.DECIDE)
    begin(site.plan, work.incident.id)
    state = work.state()
    assert "all is well\n" == (site.world.files / "a.txt").read_text()
    assert "damaged\n" == (stuck / "first.txt").read_text()
    assert "Optional and not repaired: extra." in state.ended_stages[Stage.RESTORE].sentence
    shown = {result.asset: result.verdict for result in state.verified[-2].results}
    assert {"files": Verdict.PASSED, "extra": Verdict.FAILED} == {n: shown[n] for n in ("files", "extra")}
    site.sign(work.incident.id, "lena", gate=Gate.ACCEPT)
    begin(site.plan, work.incident.id)
    ended = work.state().ended
    assert ended is not None
    assert RunVerdict.RECOVERED is ended.verdict
    assert "Optional and not repaired: extra." in ended.sentence
    assert "Repair extra" in ended.next_human_step
    (failed,) = {step for step, effect in work.state().effects.items() if effect.result == "failed"}
    assert 1 == work.state().effects[failed].attempt, "it is not tried again when the stage goes on"


def test_asset_of_drills_only_is_left_alone_in_a_real_incident(site: Site) -> None:
    step(site, "files", runs_in="drill")
    site.world.back_up()
    site.damage()
    work = recovered(site)
    state = work.state()
    assert state.proposal is not None
    assert () == state.proposal.actions
    (unmet,) = state.proposal.unmet
    assert "in drill incidents only" in unmet.remedy
    assert "damaged\n" == (site.world.files / "a.txt").read_text()


def test_step_is_tried_again_as_often_as_the_plan_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def lost(*_: object, **__: object) -> str:
        tried.append(1)
        raise Transient("the connection was lost.", "web")

    step(site, "files", retries=2)
    site.world.back_up()
    site.damage()
    work = open_work(begin(site.plan))
    site.sign(work.incident.id, "lena")
    monkeypatch.setattr(act, "act", lost)
    monkeypatch.setattr(stage, "wait_exponential", lambda *_, **__: lambda _: 0.0)
    with pytest.raises(Transient):
        begin(site.plan, work.incident.id)
    assert 3 == len(tried)
    assert any(isinstance(r.payload, Noted) for r in work.store.read(work.incident.id))


def test_critical_asset_may_not_depend_on_one_that_is_not(site: Site) -> None:
    folder = str(site.world.folder / "extra")
    extra = {"kind": "files", "host": "web", "path": folder, "backup": "disk", "step": {"critical": False}}
    site.write(assets={"extra": extra, "files": {"depends_on": ["extra"]}})
    with pytest.raises(Exception, match=r"'files' is critical and 'extra', which it depends on, is not"):
        read_plan(site.world.plan_file.read_text(), "plan.yaml")
