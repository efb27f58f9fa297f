"""Whole recoveries of an RPM host, signed at both gates: from the kept copy of its database, and rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.outcome import RunVerdict
from model.proposal import RebuildRpmDatabase, RestartService
from model.signoff import Decision
from tests.corpus.faults import _garble
from tests.lab.fixtures import MakeLabHost
from tests.support.labworld import World
from tests.support.locally import back_up_locally, recover_locally
from tests.support.rpmworld import make_rpm_world
from tests.support.witness import look

pytestmark = pytest.mark.lab

DATABASE = "/var/lib/rpm/rpmdb.sqlite"
TREES = ("/etc", "/usr/libexec", "/usr/share/tallyd", "/usr/lib64", "/usr/lib/systemd/system")


@pytest.fixture
def world(make_rpm_host: MakeLabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A healthy host without any source of packages, backed up."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    made = make_rpm_world(make_rpm_host(), tmp_path / "world", {"assets": {"packages": {"store": None}}})
    back_up_locally(made)
    return made


@pytest.mark.timeout(300)
def test_database_comes_back_from_the_kept_copy_where_there_are_no_packages(world: World) -> None:
    """Everything rpm knew is gone, no .rpm is to be had: the copy of the last backup, proven, in one exchange."""
    host = world.host
    before = host.must(["rpm", "-qa", "--last"])
    host.inside(DATABASE).write_bytes(b"")
    work = recover_locally(world)
    state = work.state()
    assert state.proposal is not None
    (action,) = state.proposal.actions[:1]
    assert isinstance(action, RebuildRpmDatabase)
    assert action.point is not None
    assert isinstance(state.proposal.actions[-1], RestartService)
    assert ["What rpm recorded"] == [loss.sentence[:17] for loss in state.proposal.losses]
    assert state.ended is not None
    assert RunVerdict.RECOVERED is state.ended.verdict, state.ended.sentence
    assert before == host.must(["rpm", "-qa", "--last"])
    assert "" == host.must(["rpm", "--verify", "--all"])
    evidence = work.folder("evidence/rpm-host")
    assert any(b"rpmdb.sqlite" in path.read_bytes() for path in evidence.rglob("*rpm*") if path.is_file())


@pytest.mark.timeout(300)
def test_denied_recovery_of_packages_is_rolled_back_bit_for_bit(
    make_rpm_host: MakeLabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N1: the damaged program, the missing library and rpm's own records are as they were before."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    world = make_rpm_world(make_rpm_host(), tmp_path / "world")
    back_up_locally(world)
    host = world.host
    _garble(host.inside("/usr/libexec/tallyd"), ())
    host.inside("/usr/lib64/libtally.so.1.4.2").unlink()
    before = look(host, TREES)
    records = host.must(["rpm", "-qa", "--last"])
    state = recover_locally(world, Decision.DENY).state()
    assert state.ended is not None
    assert RunVerdict.ROLLED_BACK is state.ended.verdict, state.ended.sentence
    assert before == look(host, TREES)
    assert records == host.must(["rpm", "-qa", "--last"])
