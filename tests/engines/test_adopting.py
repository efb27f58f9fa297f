"""Snapshots that the users' own cron made, with the real tools: taken over, and files restored from them (R-RESP-6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from checks.files import collect_tree
from model.errors import Refused
from model.manifest import FileType
from tasks.adopting import adopt
from tests.engines.conftest import MakeWorld
from tests.engines.worlds import PASSWORD, EngineWorld
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab

WORDS: dict[str, Callable[[EngineWorld], list[str]]] = {
    "restic": lambda w: [
        "env", f"RESTIC_PASSWORD={PASSWORD}", "restic", "--repo", w.repository, "backup", str(Path(w.root).parent),
        "--exclude", w.repository,
    ],
    "borg": lambda w: ["env", f"BORG_PASSPHRASE={PASSWORD}", "borg", "create", f"{w.repository}::cron", w.root],
    "tree": lambda w: ["rsync", "-a", f"{w.root}/", f"{w.repository}/daily.0/"],
}  # fmt: skip


@pytest.mark.parametrize("kind", WORDS)
def test_snapshot_of_the_users_own_becomes_a_point_that_restores(session_make: MakeWorld, kind: str) -> None:
    """The tool's own command made it; every file of it is hashed once, and damaged ones come back from it."""
    world = session_make(kind)
    world.fill(wild=False)
    before = {e.path: e for e in collect_tree(world.connection, world.root, world.asset.exclude)}
    world.host.must(WORDS[kind](world))
    state, left = world.state(), world.staged()
    (world.live / "large").write_bytes(b"lost")
    (world.live / "tool").unlink()
    point, said = adopt(world.connection, "site", world.asset, "web", world.store, "", (), quiet)
    assert ("records no host" in said) == (kind == "tree")
    manifest = world.manifest(point)
    assert manifest.adopted
    held = {e.path: e for e in manifest.entries}
    kept = {path for path, e in before.items() if e.type is not FileType.OTHER}
    assert kept == set(held)
    wrong = [
        path for path in kept
        if (held[path].sha256, held[path].mode, held[path].uid, held[path].link)
        != (before[path].sha256, before[path].mode, before[path].uid, before[path].link)
    ]  # fmt: skip
    assert [] == wrong
    assert left == world.staged()
    world.restore(world.action(point, "large", "tool"))
    assert state == world.state()
    with (
        pytest.raises(Refused, match=r"holds|nothing in|could not|no file") if kind == "tree" else _nothing()
    ):
        other = world.asset.model_copy(update={"path": "/etc"})
        adopt(world.connection, "site", other, "web", world.store, manifest.snapshot, (), quiet)


def _nothing() -> pytest.RaisesExc:
    from model.errors import ReinstateError

    return pytest.raises(ReinstateError, match=r"holds|could not|no file")


def test_snapshot_of_another_host_is_refused_before_it_is_read(session_make: MakeWorld) -> None:
    world = session_make("restic")
    world.fill(wild=False)
    world.host.must([*WORDS["restic"](world), "--host", "elsewhere"])
    with pytest.raises(Refused, match="is of host elsewhere"):
        adopt(world.connection, "site", world.asset, "web", world.store, "", (), quiet)
    assert [] == world.store.points("site")
    assert [] == world.staged()
