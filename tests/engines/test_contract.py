"""What every store of file sets promises: a real host, the real tools, a real S3 server (R-RESP-6, R-PREV-1)."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.backups.engine import EngineStore
from blocks.hosts.base import Connection
from model.canonical import now
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError, Transient
from model.manifest import FileType, RecoveryPoint
from model.proposal import Proposal, RestoreFiles
from tasks.backup_files import point_id
from tasks.prove_supplies import prove_supplies
from tasks.staging import staging
from tests.engines.conftest import MakeWorld
from tests.engines.worlds import ENGINES, STORES, WILD_NAMES, EngineWorld, make_repository
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab

every_store = pytest.mark.parametrize("kind", STORES)
every_engine = pytest.mark.parametrize("kind", ENGINES)


@pytest.fixture(scope="module")
def made() -> dict[str, EngineWorld]:
    """One world of each kind, filled and backed up when it is first asked for; its tests leave it as it was."""
    return {}


@pytest.fixture
def world(kind: str, made: dict[str, EngineWorld], session_make: MakeWorld) -> EngineWorld:
    """The world of a kind."""
    if kind not in made:
        one = session_make(kind)
        one.fill()
        one.back_up()
        made[kind] = one
    return made[kind]


@contextlib.contextmanager
def spoilt(world: EngineWorld, error: type[ReinstateError], match: str) -> Iterator[RestoreFiles]:
    """A damaged file whose restore from the first point has to be refused, with nothing live touched."""
    action = world.action(world.points[0], "large")
    large, store = world.live / "large", world.store
    times, data = large.stat(), large.read_bytes()
    try:
        large.write_bytes(b"damaged")
        before = world.state()
        yield action
        with pytest.raises(error, match=match) as caught:
            world.restore(action)
        assert type(caught.value) is error, caught.value
        assert "canary" not in str(caught.value)
        assert before == world.state()
    finally:
        large.write_bytes(data)
        os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns))
        world.store = store


@contextlib.contextmanager
def set_aside(world: EngineWorld) -> Iterator[Path]:
    """The repository's folder, to do with as one likes; it is as before afterwards."""
    here = world.host.inside(world.repository)
    kept = here.with_name(f"{here.name}.kept")
    shutil.copytree(here, kept, symlinks=True)
    try:
        yield here
    finally:
        shutil.rmtree(here, ignore_errors=True)
        kept.rename(here)


@every_store
def test_tree_comes_back_whole_and_only_the_damaged_part_moves(world: EngineWorld, kind: str) -> None:
    """R-RESP-6: odd names and all, whatever keeps the bytes."""
    before, point = world.state(), world.points[0]
    manifest = world.manifest(point)
    paths = {entry.path for entry in manifest.entries}
    assert {".", "deep/-rf", "link", "empty"} < paths
    assert not {"cache", "cache/x", "deep/y.tmp", "pipe"} & paths
    assert point in world.store.points("site")

    # A selection: exactly those bytes.
    damaged = ("deep/st*r", "deep/br[a]c", "deep/-rf", "deep/q?")
    for name in damaged[:3]:
        (world.live / name).write_bytes(b"damaged")
    (world.live / "deep" / "q?").unlink()
    action = world.action(point, *damaged)
    performed = world.restore(action)
    assert before == world.state()
    assert performed.bytes == sum(
        e.size for e in action.files if e.path in damaged and e.type is FileType.FILE
    )

    # Everything.
    for path in world.live.iterdir():
        if path.name not in {"cache", "pipe"}:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    world.restore(world.action(point))
    assert before == world.state()
    assert [] == world.staged()
    assert kind == world.kind


@every_engine
def test_fetch_brings_a_selection_under_our_names(world: EngineWorld, kind: str) -> None:
    """A fetch writes nothing but the names it was given."""
    assert kind == world.engine.kind
    manifest = world.manifest(world.points[0])
    wanted = {entry.path: entry for entry in manifest.entries if entry.type is FileType.FILE}
    files = {"0000001": wanted["deep/#hash"], "0000002": wanted["large"], "0000003": wanted["empty"]}
    with staging(world.connection, "inc-fetch", 1) as place:
        moved = world.engine.fetch(world.connection, manifest, files, place.path, quiet)
        folder = world.host.inside(place.path)
        assert set(files) == {path.name for path in folder.iterdir()}
        for name, entry in files.items():
            assert (world.live / entry.path).read_bytes() == (folder / name).read_bytes()
    assert moved == sum(entry.size for entry in files.values())


@every_engine
def test_supplies_are_proven_on_the_host_before_anything_changes(world: EngineWorld, kind: str) -> None:
    """G4: every wanted byte is fetched into our staging and hashed, and nothing is left there."""
    assert kind == world.engine.kind
    action = world.action(world.points[0], "large", "deep/er", "empty")
    before, stores = world.state(), {"kept": world.store}

    @contextlib.contextmanager
    def connect(name: str) -> Iterator[Connection]:
        assert name == "web"
        yield world.connection

    proposal = proposal_of(action)
    assert (4, world.live.joinpath("large").stat().st_size) == prove_supplies(
        proposal, stores, {}, quiet, connect
    )
    forged = tuple(
        entry.model_copy(update={"sha256": "0" * 64}) if entry.path == "large" else entry
        for entry in world.manifest(world.points[0]).entries
    )
    manifest = world.manifest(world.points[0]).model_copy(update={"entries": forged})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.store, "manifest", lambda _point: manifest)
        with pytest.raises(Damaged, match=r"kept:.*large"):
            prove_supplies(proposal, stores, {}, quiet, connect)
    assert before == world.state()
    assert [] == world.staged()


def proposal_of(action: RestoreFiles) -> Proposal:
    """A proposal of nothing else."""
    return Proposal(
        incident="i", plan_digest="0" * 64, hosts={}, actions=(action,), created_at=now(),
        expires_at=now() + timedelta(hours=1),
    )  # fmt: skip


@every_store
def test_backup_of_another_host_is_refused(
    world: EngineWorld, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G7: it needs its own sign-off."""
    assert kind == world.kind
    other = world.connection.host.model_copy(update={"machine_id": "f" * 32})
    with spoilt(world, Refused, "taken from machine"):
        monkeypatch.setattr(world.connection, "host", other)


@pytest.mark.parametrize(
    ("kind", "tool", "said"),
    [
        ("restic", "restic", "restic 0.9.6 compiled with go1.13"),
        ("borg", "borg", "borg 1.0.8"),
        ("tree", "rsync", "rsync  version 3.0.9  protocol version 30"),
    ],
)
def test_client_below_the_floor_is_refused_with_the_reason(world: EngineWorld, tool: str, said: str) -> None:
    """A client with known faults is refused by name, with the version that is safe."""
    wrapper = world.host.inside(f"/usr/local/bin/{tool}")
    wrapper.write_text(f"#!/bin/sh\necho '{said}'\n")
    wrapper.chmod(0o755)
    try:
        with pytest.raises(Refused, match=rf"{tool} [0-9.]+ is not used: .* install {tool} [0-9.]+ or newer"):
            world.back_up()
    finally:
        wrapper.unlink()


@every_engine
def test_snapshot_that_vanished_is_damaged_by_name(world: EngineWorld, kind: str) -> None:
    """A repository check is clean though the snapshot is gone; a restore is not."""
    snapshot = world.manifest(world.points[0]).snapshot
    with contextlib.ExitStack() as stack:
        if kind == "s3-tree":
            tree = world.engine._tree  # type: ignore[attr-defined] # the bucket behind the engine's back
            where = {"Bucket": tree.bucket, "Key": tree.index_key(snapshot)}
            index = tree.client.get_object(**where)["Body"].read()
            stack.callback(lambda: tree.client.put_object(**where, Body=index))
            tree.client.delete_object(**where)
        else:
            folder = stack.enter_context(set_aside(world))
            password = world.secrets.password
            if kind == "restic":
                forget = ["restic", "--repo", world.repository, "forget", "--prune", snapshot]
                world.host.must(["env", f"RESTIC_PASSWORD={password}", *forget])
            elif kind == "borg":
                script = 'for name in $(borg list --short "$1"); do borg delete "$1::$name"; done'
                world.host.must(
                    ["env", f"BORG_PASSPHRASE={password}", "sh", "-c", script, "x", world.repository]
                )
            else:
                shutil.rmtree(folder / snapshot)
        with spoilt(world, Damaged, "is gone from the"):
            pass
        with pytest.raises(Damaged):
            world.engine.verify(world.connection, world.manifest(world.points[0]), quiet)


@every_engine
def test_repository_made_again_is_noticed(world: EngineWorld, kind: str) -> None:
    """A repository has an identity; another in its place is said to be another."""
    was = world.engine.repository(world.connection)
    if kind == "s3-tree":
        world.engine._tree.client.create_bucket(Bucket="other")  # type: ignore[attr-defined] # as an operator would
        changes = {"bucket": "other"}
    else:
        changes = {"path" if kind == "tree" else "repository": f"{world.repository}-again"}
        if kind == "tree":
            world.host.inside(changes["path"]).mkdir()
        make_repository(kind, world.host, f"{world.repository}-again")
    store = world.reopened(**changes)
    assert isinstance(store, EngineStore)
    assert was != store.engine.repository(world.connection)
    with spoilt(world, Damaged, "another .* replaced or made again"):
        world.store = store


@pytest.mark.parametrize("kind", ["restic", "borg", "s3-tree"])
def test_wrong_password_is_said(world: EngineWorld, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No retry helps; the message names the secret and never shows it."""
    with spoilt(world, PreconditionFailed, r"password|passphrase|keys"):
        if kind == "s3-tree":
            world.store = world.reopened(secret_key="env:WRONG")
        monkeypatch.setattr(world.secrets, "password", "another-canary")


@pytest.mark.parametrize(
    ("kind", "changes", "error"),
    [
        ("restic", {"repository": "rest:http://127.0.0.1:1/x"}, Transient),
        ("restic", {"repository": "/srv/nowhere"}, PreconditionFailed),
        ("borg", {"repository": "ssh://nobody@127.0.0.1:1/srv/x"}, Transient),
        ("borg", {"repository": "/srv/nowhere"}, PreconditionFailed),
        ("tree", {"path": "/srv/nowhere"}, PreconditionFailed),
        ("s3-tree", {"endpoint": "http://127.0.0.1:1"}, Transient),
    ],
)
def test_repository_out_of_reach_is_tried_again_and_one_that_is_not_there_is_not(
    world: EngineWorld, changes: dict[str, str], error: type[ReinstateError]
) -> None:
    """The network may come back; a wrong path or a share that is not mounted needs a person."""
    with spoilt(world, error, "reached|did not answer|there is no"):
        world.store = world.reopened(**changes)


@pytest.mark.parametrize("kind", ["restic", "borg"])
def test_locked_repository_stops_a_backup_and_not_a_recovery(world: EngineWorld, kind: str) -> None:
    """A stale lock must not stand between people and their data."""
    before = world.state()
    with set_aside(world) as folder:
        if kind == "borg":
            (folder / "lock.exclusive").mkdir()
            (folder / "lock.exclusive" / "other@0.1-0").touch()
        else:
            world.host.must(
                ["env", f"RESTIC_PASSWORD={world.secrets.password}", "sh", "-c",
                 'restic --repo "$1" check --read-data >/dev/null 2>&1 & '
                 'until [ "$(ls "$1/locks")" ]; do :; done; kill -9 "$!"', "sh", world.repository]
            )  # fmt: skip
        with pytest.raises(PreconditionFailed, match=r"locked.*(unlock|break-lock)"):
            world.back_up()
        (world.live / "large").write_bytes(b"damaged")
        world.restore(world.action(world.points[0], "large"))
        assert before == world.state()


@pytest.mark.parametrize("kind", ["s3-tree"])
@pytest.mark.parametrize("name", WILD_NAMES)
def test_name_that_no_object_can_have_is_refused_by_name(world: EngineWorld, name: bytes) -> None:
    """S3 keys are UTF-8 without control characters: said before anything is stored."""
    odd = world.live / os.fsdecode(name)
    odd.write_bytes(b"x")
    try:
        with pytest.raises(PreconditionFailed, match="no name for an object"):
            world.back_up()
    finally:
        odd.unlink()


@every_engine
def test_secrets_are_in_no_argument_on_the_host(world: EngineWorld, kind: str) -> None:
    """G9: `ps` shows nothing."""
    tool = {"restic": "restic", "borg": "borg", "tree": "rsync", "s3-tree": "curl"}[kind]
    wrapper, log = world.host.inside(f"/usr/local/bin/{tool}"), world.host.inside("/var/tmp/seen")
    log.write_bytes(b"")
    log.chmod(0o666)
    wrapper.write_text(
        f'#!/bin/sh\ncat /proc/[0-9]*/cmdline >>/var/tmp/seen 2>/dev/null\nexec /usr/bin/{tool} "$@"\n'
    )
    wrapper.chmod(0o755)
    try:
        before = world.state()
        world.engine.tool(world.connection)
        (world.live / "large").write_bytes(b"damaged")
        world.restore(world.action(world.points[0], "large"))
        assert before == world.state()
    finally:
        wrapper.unlink()
    seen = log.read_bytes()
    assert tool.encode() in seen
    for secret in (world.secrets.password.encode(), b"canary", b"labsecret", b"X-Amz-Signature"):
        assert secret not in seen


@pytest.mark.parametrize("kind", ["tree"])
def test_files_of_the_repository_are_not_touched_by_a_restore(world: EngineWorld) -> None:
    """A tree's points are hard links: a restored file is a copy, and the backup stays as it was."""
    kept = world.host.inside(world.repository)

    def facts() -> dict[Path, tuple[int, int, int]]:
        found = [(path, path.lstat()) for path in kept.rglob("*") if path.is_file()]
        return {path: (s.st_ino, s.st_mode, s.st_mtime_ns) for path, s in found}

    before, mode = facts(), (world.live / "large").stat().st_mode
    (world.live / "large").write_bytes(b"damaged")
    world.restore(world.action(world.points[0], "large"))
    (world.live / "large").chmod(0o600)
    assert before == facts()
    (world.live / "large").chmod(mode)
    (point,) = (path for path in kept.iterdir() if path.is_dir())
    names = {path.relative_to(point).as_posix() for path in point.rglob("*")} | {"."}
    assert names == {entry.path for entry in world.manifest(world.points[0]).entries}


@every_engine
def test_snapshots_are_listed_described_and_verified(world: EngineWorld, kind: str) -> None:
    """Each engine lists, describes and verifies its points; a second one shares what did not change."""
    first = world.points[0]
    (world.live / "large").write_bytes(os.urandom(100_000))
    second = back_up_later(world, first.id)
    assert [second, first] == world.store.points("site")
    listed = [one.id for one in world.engine.snapshots(world.connection)]
    manifests = [world.manifest(point) for point in (second, first)]
    assert {manifest.snapshot for manifest in manifests} <= set(listed)
    assert {world.engine.repository(world.connection)} == {manifest.repository for manifest in manifests}
    assert {kind} == {manifest.format for manifest in manifests}
    for manifest in manifests:
        told: list[tuple[int, int]] = []
        world.engine.verify(world.connection, manifest, lambda done, total: told.append((done, total)))  # noqa: B023 - called before the next turn
        assert told
        assert told[-1][0] == told[-1][1]
    assert world.engine.tool(world.connection)


def back_up_later(world: EngineWorld, after: str) -> RecoveryPoint:
    """A backup under another id: points are named by the second."""
    while point_id(now()) <= after:
        time.sleep(0.05)
    return world.back_up()
