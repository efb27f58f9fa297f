"""What every store of file sets promises, on a real host with the real tools and a real S3 server (R-RESP-6, R-PREV-1)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from blocks.backups.engine import EngineStore
from model.errors import Damaged, PreconditionFailed, Refused, Transient
from model.manifest import FileType
from tasks.staging import staging
from tests.engines.conftest import MakeWorld
from tests.engines.worlds import ENGINES, STORES, WILD_NAMES, EngineWorld, make_repository
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab

every_store = pytest.mark.parametrize("kind", STORES)
every_engine = pytest.mark.parametrize("kind", ENGINES)


@every_store
def test_tree_comes_back_whole_and_only_the_damaged_part_moves(make: MakeWorld, kind: str) -> None:
    """R-RESP-6: odd names and all, whatever keeps the bytes."""
    world = make(kind)
    world.fill()
    before = world.state()
    point = world.back_up()
    manifest = world.manifest(point)
    paths = {entry.path for entry in manifest.entries}
    assert {".", "deep/-rf", "link", "empty"} < paths
    assert not {"cache", "cache/x", "deep/y.tmp", "pipe"} & paths
    assert [point] == world.store.points("site")

    # A selection: exactly those bytes.
    for name in ("deep/st*r", "deep/br[a]c", "deep/-rf"):
        (world.live / name).write_bytes(b"damaged")
    (world.live / "deep" / "q?").unlink()
    damaged = ("deep/st*r", "deep/br[a]c", "deep/-rf", "deep/q?")
    action = world.action(point, *damaged)
    performed = world.restore(action)
    assert before == world.state()
    assert performed.bytes == sum(e.size for e in action.files if e.path in damaged and e.type is FileType.FILE)

    # Everything.
    shutil.rmtree(world.live)
    world.restore(world.action(point))
    assert before == world.state()
    assert [] == world.staged()


@every_engine
def test_snapshots_are_listed_described_and_verified(make: MakeWorld, kind: str) -> None:
    """Each engine lists, describes and verifies its points; a second one shares what did not change."""
    world = make(kind)
    world.fill()
    first = world.back_up()
    (world.live / "large").write_bytes(os.urandom(100_000))
    second = back_up_later(world, first.id)
    assert [second, first] == world.store.points("site")
    listed = [one.id for one in world.engine.snapshots(world.connection)]
    manifests = [world.manifest(point) for point in (second, first)]
    assert {manifest.snapshot for manifest in manifests} <= set(listed)
    assert {world.engine.repository(world.connection)} == {manifest.repository for manifest in manifests}
    assert {world.engine.format} == {manifest.format for manifest in manifests}
    for manifest in manifests:
        told: list[tuple[int, int]] = []
        world.engine.verify(world.connection, manifest, lambda done, total: told.append((done, total)))  # noqa: B023
        assert told
        assert told[-1][0] == told[-1][1]
    assert world.engine.tool(world.connection)


def back_up_later(world: EngineWorld, after: str) -> object:
    """A backup under another id: points are named by the second."""
    import time

    from tasks.backup_files import point_id
    from model.canonical import now

    while point_id(now()) <= after:
        time.sleep(0.05)
    return world.back_up()


@every_engine
def test_fetch_brings_a_selection_under_our_names(make: MakeWorld, kind: str) -> None:
    """A fetch writes nothing but the names it was given."""
    world = make(kind)
    world.fill()
    manifest = world.manifest(world.back_up())
    wanted = {entry.path: entry for entry in manifest.entries if entry.type is FileType.FILE}
    files = {"0000001": wanted["deep/#hash"], "0000002": wanted["large"], "0000003": wanted["empty"]}
    with staging(world.connection, "inc-fetch", 1) as place:
        moved = world.engine.fetch(world.connection, manifest, files, place.path, quiet)
        folder = world.host.inside(place.path)
        assert set(files) == {path.name for path in folder.iterdir()}
        for name, entry in files.items():
            assert (world.live / entry.path).read_bytes() == (folder / name).read_bytes()
    assert moved == sum(entry.size for entry in files.values())


@every_store
def test_backup_of_another_host_is_refused(make: MakeWorld, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G7: it needs its own sign-off."""
    world = make(kind)
    world.fill()
    action = world.action(world.back_up())
    before = world.state()
    other = world.connection.host.model_copy(update={"machine_id": "f" * 32})
    monkeypatch.setattr(world.connection, "host", other)
    with pytest.raises(Refused, match="taken from machine"):
        world.restore(action)
    assert before == world.state()


@pytest.mark.parametrize(
    ("kind", "tool", "said"), [("restic", "restic", "restic 0.9.6 compiled with go1.13"), ("borg", "borg", "borg 1.0.8"),
                               ("tree", "rsync", "rsync  version 3.0.9  protocol version 30")],
)  # fmt: skip
def test_client_below_the_floor_is_refused_with_the_reason(
    make: MakeWorld, kind: str, tool: str, said: str
) -> None:
    """A client with known faults is refused by name, with the version that is safe."""
    world = make(kind)
    world.fill()
    wrapper = world.host.inside(f"/usr/local/bin/{tool}")
    wrapper.write_text(f"#!/bin/sh\necho '{said}'\n")
    wrapper.chmod(0o755)
    try:
        with pytest.raises(Refused, match=rf"{tool} [0-9.]+ is not used: .* install {tool} [0-9.]+ or newer"):
            world.back_up()
    finally:
        wrapper.unlink()
    assert [] == world.store.points("site")


@every_engine
def test_snapshot_that_vanished_is_damaged_by_name(make: MakeWorld, kind: str) -> None:
    """A repository check is clean though the snapshot is gone; a restore is not."""
    world = make(kind)
    world.fill()
    action = world.action(world.back_up())
    vanish(world)
    before = spoil(world)
    with pytest.raises(Damaged, match="gone|not in"):
        world.restore(action)
    assert before == world.state()
    with pytest.raises(Damaged):
        world.engine.verify(world.connection, world.manifest(action.point), quiet)


def spoil(world: EngineWorld) -> dict[str, tuple[object, ...]]:
    """Damage the live tree so that a restore has work, and say what it is now."""
    (world.live / "large").write_bytes(b"damaged")
    return world.state()


def vanish(world: EngineWorld) -> None:
    """Take the snapshot away as its tool does it."""
    if world.kind == "restic":
        world.host.must(
            ["env", f"RESTIC_PASSWORD={world.secrets.password}", "restic", "--repo", world.repository, "forget",
             "--prune", world.manifest(world.points[-1]).snapshot]
        )  # fmt: skip
    elif world.kind == "borg":
        world.host.must(
            ["env", f"BORG_PASSPHRASE={world.secrets.password}", "sh", "-c",
             'borg delete "$1::$(borg list --short "$1")"', "borg", world.repository]
        )  # fmt: skip
    elif world.kind == "tree":
        shutil.rmtree(world.host.inside(f"{world.repository}/{world.manifest(world.points[-1]).snapshot}"))
    else:
        engine = world.engine
        key = engine._index_key(world.manifest(world.points[-1]).snapshot)  # type: ignore[attr-defined]
        engine._client.delete_object(Bucket=engine._bucket, Key=key)  # type: ignore[attr-defined]


@every_engine
def test_repository_made_again_is_noticed(make: MakeWorld, kind: str) -> None:
    """A repository has an identity; another in its place is said to be another."""
    world = make(kind)
    world.fill()
    action = world.action(world.back_up())
    was = world.engine.repository(world.connection)
    if world.repository:
        shutil.rmtree(world.host.inside(world.repository))
        if kind == "tree":
            world.host.inside(world.repository).mkdir()
        make_repository(kind, world.host, world.repository)
        store = world.store
    else:
        world.engine._client.create_bucket(Bucket="other")  # type: ignore[attr-defined]
        store = world.reopened(bucket="other")
    assert isinstance(store, EngineStore)
    assert was != store.engine.repository(world.connection)
    world.store = store
    before = spoil(world)
    with pytest.raises(Damaged, match="another .* replaced or made again"):
        world.restore(action)
    assert before == world.state()


@pytest.mark.parametrize("kind", ["restic", "borg", "s3-tree"])
def test_wrong_password_is_said(make: MakeWorld, kind: str) -> None:
    """No retry helps; the message names the secret and never shows it."""
    world = make(kind)
    world.fill()
    action = world.action(world.back_up())
    before = spoil(world)
    if kind == "s3-tree":
        world.store = world.reopened(secret_key="env:WRONG")
    world.secrets.password = "another-canary"
    with pytest.raises(PreconditionFailed, match=r"password|passphrase|keys") as caught:
        world.restore(action)
    assert "canary" not in str(caught.value)
    assert before == world.state()


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
    make: MakeWorld, kind: str, changes: dict[str, str], error: type[Exception]
) -> None:
    """The network may come back; a wrong path or a share that is not mounted needs a person."""
    world = make(kind)
    world.fill()
    action = world.action(world.back_up())
    before = spoil(world)
    world.store = world.reopened(**changes)
    with pytest.raises(error) as caught:
        world.restore(action)
    assert type(caught.value) is error, caught.value
    assert before == world.state()


@pytest.mark.parametrize("kind", ["restic", "borg"])
def test_locked_repository_stops_a_backup_and_not_a_recovery(make: MakeWorld, kind: str) -> None:
    """A stale lock must not stand between people and their data."""
    world = make(kind)
    world.fill()
    before = world.state()
    action = world.action(world.back_up())
    lock(world)
    with pytest.raises(PreconditionFailed, match=r"locked.*(unlock|break-lock)"):
        world.back_up()
    spoil(world)
    world.restore(action)
    assert before == world.state()


def lock(world: EngineWorld) -> None:
    """A lock that another process of this host holds for as long as the host runs."""
    if world.kind == "borg":
        holder = world.host.inside(f"{world.repository}/lock.exclusive")
        holder.mkdir()
        (holder / "other@0.1-0").touch()
        return
    world.host.must(
        ["env", f"RESTIC_PASSWORD={world.secrets.password}", "sh", "-c",
         '(sleep 600 | restic --repo "$1" backup --stdin >/dev/null 2>&1 & echo $! ) ; '
         'until [ "$(ls "$1/locks")" ]; do sleep 0.05; done; '
         'pkill -STOP -x restic; cp -a "$1/locks" "$1/kept"; true', "sh", world.repository]
    )  # fmt: skip


@pytest.mark.parametrize("name", WILD_NAMES)
def test_name_that_no_object_can_have_is_refused_by_name(make: MakeWorld, name: bytes) -> None:
    """S3 keys are UTF-8 without control characters: said before anything is stored."""
    world = make("s3-tree")
    (world.live / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(PreconditionFailed, match="no name for an object"):
        world.back_up()


@every_engine
def test_secrets_are_in_no_argument_on_the_host(make: MakeWorld, kind: str) -> None:
    """G9: `ps` shows nothing."""
    world = make(kind)
    world.fill()
    tool = {"restic": "restic", "borg": "borg", "tree": "rsync", "s3-tree": "curl"}[kind]
    wrapper, log = world.host.inside(f"/usr/local/bin/{tool}"), world.host.inside("/var/tmp/seen")
    log.write_bytes(b"")
    log.chmod(0o666)
    wrapper.write_text(
        f"#!/bin/sh\ncat /proc/[0-9]*/cmdline >>/var/tmp/seen 2>/dev/null\nexec /usr/bin/{tool} \"$@\"\n"
    )
    wrapper.chmod(0o755)
    try:
        action = world.action(world.back_up())
        spoil(world)
        world.restore(action)
    finally:
        wrapper.unlink()
    seen = log.read_bytes()
    assert tool.encode() in seen
    for secret in (world.secrets.password.encode(), b"canary", b"labsecret", b"X-Amz-Signature"):
        assert secret not in seen


def test_files_of_the_repository_are_not_touched_by_a_restore(make: MakeWorld) -> None:
    """A tree's points are hard links: a restored file is a copy, and the backup stays as it was."""
    world = make("tree")
    world.fill()
    action = world.action(world.back_up())
    spoil(world)
    kept = world.host.inside(world.repository)
    before = {path: (path.lstat().st_ino, path.lstat().st_mode, path.lstat().st_mtime_ns) for path in files_of(kept)}
    world.restore(action)
    (world.live / "large").chmod(0o600)
    assert before == {p: (p.lstat().st_ino, p.lstat().st_mode, p.lstat().st_mtime_ns) for p in files_of(kept)}


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
