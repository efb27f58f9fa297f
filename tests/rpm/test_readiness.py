"""Whether every installed RPM package can be had in its version, before one is damaged (R-PREV-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.home import open_store
from model.readiness import Lack, Qualification, Readiness
from tasks.readiness import assess
from tasks.work import load_plan
from tests.lab.fixtures import MakeLabHost
from tests.support.locally import back_up_locally
from tests.support.rpmworld import RpmWorld, make_rpm_world

pytestmark = pytest.mark.lab


def packages(world: RpmWorld) -> Readiness:
    row = assess(load_plan(str(world.plan_file)), open_store()).row("packages")
    assert row is not None
    return row


@pytest.mark.parametrize("mirror", [False, True], ids=["from the store", "from the host's repository"])
def test_package_that_is_in_no_source_any_more_blocks(
    make_rpm_host: MakeLabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: bool
) -> None:
    """The store's file is gone; then the host's own repository serves, where it has one."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    world = make_rpm_world(make_rpm_host(), tmp_path / "world", mirror=mirror)
    back_up_locally(world)
    well = packages(world)
    assert Qualification.QUALIFIED is well.state, [gap.sentence for gap in well.gaps]
    assert "packages" in well.checked
    files = sorted((tmp_path / "world/pool").glob("*.rpm"))
    kept = files[0].with_suffix(".kept")
    files[0].rename(kept)
    seen = packages(world)
    assert ([] if mirror else [Lack.PACKAGE_GONE]) == [gap.lack for gap in seen.gaps]
    kept.rename(files[0])
    assert Qualification.QUALIFIED is packages(world).state
