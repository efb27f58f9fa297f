"""Whole recoveries from backups that tools keep: report, proposal, sign-off, restore, checks, and the way back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.outcome import RunVerdict
from model.proposal import RestoreFiles
from model.signoff import Decision
from tests.engines.worlds import PASSWORD, make_repository
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.support.labworld import World, plan_head, write_people, write_secret
from tests.support.locally import back_up_locally, recover_locally
from tests.support.s3server import ACCESS_KEY, SECRET_KEY
from tests.tasks.localhost import fingerprint

pytestmark = [pytest.mark.lab, pytest.mark.slow]

KINDS = ("restic", "borg", "tree", "s3-tree")


@dataclass(frozen=True)
class ToolWorld(World):
    """A host with one file set per tool.

    Attributes:
        there: the host.
        endpoint: the S3 server.
    """

    there: LabHost
    endpoint: str

    @property
    def host(self) -> LabHost:
        """The host, damaged and watched from outside."""
        return self.there

    def prepare(self) -> None:
        """File sets, repositories, secrets and the plan."""
        write_people(self)
        for name, value in (("repository", PASSWORD), ("s3-access", ACCESS_KEY), ("s3-secret", SECRET_KEY)):
            write_secret(self.folder, name, value)
        for kind in KINDS:
            root = self.host.inside(f"/srv/files-{kind}")
            (root / "sub").mkdir(parents=True)
            for name in ("one", "sub/two", "sub/*"):
                (root / name).write_bytes(os.urandom(50_000))
            make_repository(kind, self.host, f"/srv/kept-{kind}")
        self.host.inside("/srv/kept-tree").mkdir()
        password = "file:secrets/repository"
        keys = {"access_key": "file:secrets/s3-access", "secret_key": "file:secrets/s3-secret"}
        plan = plan_head(self, "tools", "data") | {
            "backups": {
                "restic": {"kind": "restic", "repository": "/srv/kept-restic", "password": password},
                "borg": {"kind": "borg", "repository": "/srv/kept-borg", "passphrase": password, "manifests": "plain"},
                "tree": {"kind": "tree", "path": "/srv/kept-tree"},
                "s3-tree": {"kind": "s3-tree", "bucket": "whole", "endpoint": self.endpoint, **keys},
                "plain": {"kind": "directory", "path": "manifests"},
            },
            "assets": {
                kind: {"kind": "files", "host": "data", "path": f"/srv/files-{kind}", "backup": kind} for kind in KINDS
            },
            "checks": {"soak": 0.1, "interval": 0.1},
        }  # fmt: skip
        self.plan_file.write_text(json.dumps(plan, indent=1))

    def state(self) -> dict[str, dict[str, tuple[object, ...]]]:
        """Every file set, bit for bit."""
        return {kind: fingerprint(self.host.inside(f"/srv/files-{kind}")) for kind in KINDS}

    def damage(self) -> None:
        """One file overwritten and one deleted in each set."""
        for kind in KINDS:
            root = self.host.inside(f"/srv/files-{kind}")
            (root / "one").write_bytes(b"damaged")
            (root / "sub" / "*").unlink()


@pytest.fixture
def tools(
    make_data_host: MakeLabHost, engine_s3: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ToolWorld:
    """The world, backed up; on a host of its own, whose fence rises with each recovery."""
    from blocks.backups.s3client import open_client

    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "plan").mkdir()
    world = ToolWorld(tmp_path / "plan", make_data_host("tools"), engine_s3())
    client = open_client(world.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
    client.create_bucket(Bucket="whole")
    client.put_bucket_versioning(Bucket="whole", VersioningConfiguration={"Status": "Enabled"})
    world.prepare()
    back_up_locally(world)
    return world


def test_files_come_back_from_every_tool_and_go_back_when_nobody_accepts(tools: ToolWorld) -> None:
    """R-RESP-6, R-RESP-7, N1: rolled back bit for bit when denied; restored when accepted."""
    whole = tools.state()
    tools.damage()
    damaged = tools.state()
    work = recover_locally(tools, accept=Decision.DENY)
    state = work.state()
    assert state.proposal is not None
    restored = [action for action in state.proposal.actions if isinstance(action, RestoreFiles)]
    assert set(KINDS) == {action.point.source for action in restored}
    assert state.ended is not None
    assert RunVerdict.ROLLED_BACK == state.ended.verdict, state.ended.sentence
    assert without_folder_times(damaged) == without_folder_times(tools.state())

    work = recover_locally(tools)
    ended = work.state().ended
    assert ended is not None
    assert RunVerdict.RECOVERED == ended.verdict, ended.sentence
    assert without_folder_times(whole) == without_folder_times(tools.state())


def without_folder_times(
    state: dict[str, dict[str, tuple[object, ...]]],
) -> dict[str, dict[str, tuple[object, ...]]]:
    """Times of folders change by use."""
    return {
        kind: {path: facts if facts[5] else (*facts[:3], *facts[4:]) for path, facts in one.items()}
        for kind, one in state.items()
    }
