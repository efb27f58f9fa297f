"""Faults of RPM packages on a real host: seen by the plan's checks as announced, and undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.home import open_store
from model.fault_kinds import FaultKind
from model.faults import choose
from model.finding import Finding
from tasks.faults import inject, left_behind, undo
from tasks.progress import Progress
from tasks.steps import look
from tasks.work import PlanFile, load_plan
from tests.lab.host import LabHost
from tests.support import witness
from tests.support.locally import back_up_locally
from tests.support.rpmworld import HOST, make_rpm_world

pytestmark = pytest.mark.lab

TREES = ("/etc", "/usr", "/srv")


def found(file: PlanFile) -> list[Finding]:
    """Everything the plan's checks find."""
    results = look(file, open_store(), None, Progress("look", "look"))
    return [finding for result in results for finding in result.findings]


def test_files_and_libraries_of_rpm_packages_are_seen_as_announced_and_undone(
    make_rpm_host: Callable[[], LabHost], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    world = make_rpm_world(make_rpm_host(), tmp_path / "world", {"hosts": {HOST: {"role": "staging"}}})
    state = world.host.inside("/var/lib") / "reinstate"
    state.mkdir(mode=0o700, exist_ok=True)
    (state / "role").write_text("staging\n")
    back_up_locally(world)
    file = load_plan(str(world.plan_file))
    assert [] == [finding.sentence for finding in found(file)]
    done: list[FaultKind] = []
    for seed, kind in enumerate((FaultKind.PACKAGE_FILE, FaultKind.LIBRARY_BIT)):
        (fault,) = choose(file.plan, [HOST], [kind], seed, 1)
        before = witness.look(world.host, TREES)
        with file.connect(HOST) as connection:
            planted = inject(connection, file.plan, fault)
            (path,) = planted.subjects
            changed = [
                line.partition(": ")[0] for line in witness.changes(before, witness.look(world.host, TREES))
            ]
            assert [path] == [one for one in changed if one != path.rpartition("/")[0]]
            seen = found(file)
            assert [] == [
                one for one in planted.expected if not any(one.matches(finding) for finding in seen)
            ]
            assert [] == [finding.sentence for finding in seen if not planted.explains(finding)]
            undo(connection, file.plan, planted)
            assert () == left_behind(connection, file.plan, planted)
        assert [] == witness.changes(before, witness.look(world.host, TREES))
        done.append(kind)
    assert [FaultKind.PACKAGE_FILE, FaultKind.LIBRARY_BIT] == done
