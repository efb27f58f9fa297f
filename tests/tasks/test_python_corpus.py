"""The corpus of damaged Python environments, on this machine: found by code, cured, bit for bit as before."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from checks import pip_environment
from checks.supplies import gather
from checks.wheel_shelf import references
from model.assets import PipAsset
from model.finding import CheckResult, Verdict
from model.ladder import propose
from model.plan import Plan
from model.proposal import Proposal, RebuildInterpreter, ReinstallDistribution, SetAside, SetMetadata
from tasks import rebuild_interpreter, reinstall_distribution, set_aside, set_metadata
from tests.corpus.cases import Case, load
from tests.corpus.faults import inflict
from tests.lab.host import LabHost
from tests.support.labworld import merged
from tests.support.packages import shelf
from tests.support.pythonworld import ASSET, STORE, environment_here, plan_changes, site_of
from tests.tasks.localhost import JobHost, fingerprint, quiet

CASES = load("python")
VENV = re.compile(r"/opt/[a-z]+/venv")
SITE = re.compile(r"lib/python3\.11/")


class Here:
    """The environment on this machine, seen through a connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = environment_here(folder)
        self.host = JobHost(folder / "state")
        self.plan = _plan(self.venv)
        asset = self.plan.assets[ASSET]
        assert isinstance(asset, PipAsset)
        self.asset = asset
        self.store = {STORE: shelf(folder / STORE, STORE)}
        self.runs = 0

    def examine(self) -> CheckResult:
        data = pip_environment.collect(self.host, self.asset)
        wheels, remarks = references(self.store[STORE], data.distributions)
        return pip_environment.judge(ASSET, self.asset, data, wheels=wheels, remarks=remarks)

    def propose(self, result: CheckResult) -> Proposal:
        supplies = gather(self.plan, {"web-1": self.host}, result.findings, {}, self.store)
        return propose(
            self.plan, "inc-20250601-120000-00aa", "0" * 64, {"web-1": "0" * 32}, result.findings, supplies, {},
            datetime.now(UTC), timedelta(hours=1),
        )  # fmt: skip

    def execute(self, proposal: Proposal) -> list[str]:
        said = []
        for action in proposal.actions:
            self.runs += 1
            given: dict[str, Any] = {"job_prefix": f"inc-{self.runs}-1", "token": 2, "progress": quiet}
            match action:
                case ReinstallDistribution():
                    done = reinstall_distribution.perform(self.host, self.asset, action, self.store, **given)
                case RebuildInterpreter():
                    done = rebuild_interpreter.perform(self.host, self.asset, action, **given)
                case SetAside():
                    done = set_aside.perform(self.host, self.asset, action, **given)
                case SetMetadata():
                    done = set_metadata.perform(self.host, self.asset, action, **given)
                case _:
                    raise AssertionError(action)
            said.append(done.sentence)
        return said


def _plan(venv: Path) -> Plan:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZ"
    plan: dict[str, Any] = {
        "reinstate": 1, "name": "p", "version": "1", "service": {"name": "App", "owner": "a"},
        "people": {"a": {"name": "A"}}, "roles": {"leading_group": ["a"], "working_group": ["a"]},
        "objectives": {"rto": 1, "rpo": 1},
        "hosts": {"web-1": {"address": "192.0.2.1", "key": "env:K", "host_key": key, "machine_id": "0" * 32}},
    }  # fmt: skip
    return Plan.model_validate(merged(plan, plan_changes("web-1", {ASSET: str(venv)})))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    return Here(tmp_path_factory.mktemp("python"))


class _Root:
    """A folder of this machine as the root of a host, for the corpus' operations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inside(self, path: str, *, follow: bool = True) -> Path:
        return self.folder / path.lstrip("/")


def there(here: Here, case: Case) -> Case:
    """A case with the one environment of this machine for the host's."""
    version = f"lib/{site_of(here.venv).parent.name}/"
    return Case.model_validate_json(SITE.sub(version, VENV.sub("/opt/app/venv", case.model_dump_json())))


def _content(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything but times and byte code."""
    return {
        path: (mode, uid, gid, size, content)
        for path, (mode, uid, gid, _, size, content, *_) in fingerprint(root).items()
        if "__pycache__" not in path
    }


def test_healthy_environment_has_no_finding(here: Here) -> None:
    """Issue 3, bar 2: installed without pip, and byte code in it."""
    result = here.examine()
    assert () == result.findings
    assert Verdict.PASSED is result.verdict
    assert result.examined > 20


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_damage_is_found_by_its_code_and_cured_bit_for_bit(here: Here, case: Case) -> None:
    """R-RESP-2, R-RESP-5."""
    if case.kind == "owner" and os.geteuid() != 0:
        pytest.skip("needs root to give files away")
    config = (here.venv / "pyvenv.cfg").read_text()
    before = _content(here.venv)
    case = there(here, case)
    inflict(cast(LabHost, _Root(here.folder)), case)
    result = here.examine()
    assert case.expect is not None
    found = {(f.code, f.subject.removeprefix(str(here.folder))) for f in result.findings}
    assert (case.expect.code, case.expect.subject) in found
    assert {subject for _, subject in found} <= {case.expect.subject, *case.also}
    proposal = here.propose(result)
    assert () == proposal.unmet
    assert case.cure in [action.kind for action in proposal.actions]
    said = here.execute(proposal)
    assert () == here.examine().findings, said
    after = _content(here.venv)
    if case.place == "pyvenv.cfg":  # its order, and who made it how, are lost with it
        before, after = ({k: v for k, v in seen.items() if "pyvenv.cfg" not in k} for seen in (before, after))
        (here.venv / "pyvenv.cfg").write_text(config)
    assert before == after
