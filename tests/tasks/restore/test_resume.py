"""Cut off in the middle: the same again goes on where it was, ends the same, and runs nothing twice (Must show 6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blocks.backups import open_backup_store
from blocks.backups.base import BackupStore
from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from model.backup_sources import S3Source
from model.errors import ReinstateError, Transient
from model.proposal import RestoreFiles
from tasks import restore_files
from tests.support.cutting import Relay, Trouble, http, relay
from tests.support.sshservers import Server
from tests.support.stores import FixedSecrets, make_directory_store, s3_source
from tests.support.waiting import wait_for
from tests.tasks.localhost import fingerprint
from tests.tasks.restore.test_restore_files import action_for, asset_of, back_up, restore

LARGE = 12 << 20
SMALL = 40
WHOLE = LARGE + SMALL * 20_000
PREFIX = "inc-20261101-000000-0000-a01-1"


def from_curl(first: bytes) -> bool:
    return b"User-Agent: curl" in first


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "srv"
    (root / "small").mkdir(parents=True)
    (root / "large").write_bytes(os.urandom(LARGE))
    for number in range(SMALL):
        (root / "small" / f"f{number:02d}").write_bytes(os.urandom(20_000))
    return root


@pytest.fixture
def bucket(s3_endpoint: str) -> Iterator[Relay]:
    """The way to the object store."""
    address = urlsplit(s3_endpoint)
    assert address.hostname is not None
    assert address.port is not None
    with relay(address.hostname, address.port) as way:
        way.meant = from_curl
        yield way


@pytest.fixture
def source(bucket: Relay) -> S3Source:
    return s3_source(f"http://127.0.0.1:{bucket.port}")


@pytest.fixture
def archive(source: S3Source, signing: SigningKey, tmp_path: Path) -> BackupStore:
    return open_backup_store("offsite", source, FixedSecrets(), signing, tmp_path)


def damage(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")


def prepared(
    host: SSHConnection, root: Path, store: BackupStore
) -> tuple[RestoreFiles, dict[str, tuple[object, ...]]]:
    """The action that brings everything back, and what the tree is then."""
    before = fingerprint(root)
    point = back_up(host, root, store)
    action = action_for(point, store.manifest(point), root)
    damage(root)
    return action, before


def files_of(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {path: said for path, said in found.items() if said[5]}


def jobs_run(host: SSHConnection) -> list[str]:
    """What the host itself wrote down of every job it began."""
    trace = (Path(host.host.state_dir) / "trace").read_text().split("\n")
    return [line.split()[-1] for line in trace if line]


@pytest.mark.parametrize(
    "troubles",
    [
        [Trouble(down=5 << 20)],
        [Trouble(down=5 << 20), Trouble(down=3 << 20), Trouble(down=100)],
        [http("503 Slow Down")],
        [Trouble(down=5 << 20), http("403 Forbidden"), http("404 Not Found")],
        [http("500 Internal Server Error"), Trouble(down=4 << 20)],
    ],
    ids=["cut", "cut again and again", "throttled once", "cut, then the URL expired", "failed, then cut"],
)
def test_pull_that_breaks_off_goes_on_where_it_was(
    host: SSHConnection, tree: Path, archive: BackupStore, bucket: Relay, troubles: list[Trouble],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The host itself pulls the rest: nothing starts again, nothing goes through the orchestrator."""
    monkeypatch.setattr("tasks.fetch.PAUSE", 0.0)
    monkeypatch.setattr("tasks.fetch._through_us", None)
    action, before = prepared(host, tree, archive)
    bucket.troubles, bucket.carried = troubles, 0
    performed = restore(host, tree, archive, action, PREFIX)
    assert files_of(before) == files_of(fingerprint(tree))
    assert bucket.carried < WHOLE + (3 << 20)
    assert performed.bytes >= LARGE
    assert [f"{PREFIX}-swap"] == jobs_run(host)


def test_store_that_fails_for_good_leaves_everything_and_goes_on_later(
    host: SSHConnection, tree: Path, archive: BackupStore, bucket: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Object store 5xx (fault matrix): nothing live is touched; what had arrived is kept for the next attempt."""
    monkeypatch.setattr("tasks.fetch.PAUSE", 0.0)
    action, before = prepared(host, tree, archive)
    damaged = fingerprint(tree)
    bucket.troubles = [Trouble(down=8 << 20)]
    bucket.usual = http("503 Service Unavailable")

    def unavailable(*_args: object) -> Iterator[bytes]:
        raise Transient("the object store answers 503.", "offsite", "run it again")

    with monkeypatch.context() as down:
        down.setattr("tasks.fetch._through_us", unavailable)
        with pytest.raises(Transient):
            restore(host, tree, archive, action, PREFIX)
    assert damaged == fingerprint(tree)
    bucket.usual, bucket.carried = Trouble(), 0
    restore(host, tree, archive, action, PREFIX)
    assert files_of(before) == files_of(fingerprint(tree))
    assert bucket.carried < WHOLE - (6 << 20)
    assert [f"{PREFIX}-swap"] == jobs_run(host)


def test_connection_cut_while_bytes_pass_through_us_goes_on_where_it_was(
    restore_server: Server, host: SSHConnection, tree: Path, signing: SigningKey, tmp_path: Path
) -> None:
    """An SSH drop in mid-transfer: the half-arrived large file is gone on with, not sent again."""
    store = make_directory_store(signing, tmp_path)
    action, before = prepared(host, tree, store)
    with relay("127.0.0.1", restore_server.host.port) as way:
        way.troubles = [Trouble(up=8 << 20)]
        state = host.host.state_dir
        with (
            restore_server.connect(port=way.port, state_dir=state) as cut,
            pytest.raises(ReinstateError) as caught,
        ):
            restore(cut, tree, store, action, PREFIX)
        assert isinstance(caught.value, Transient)
        way.sent = 0
        with restore_server.connect(port=way.port, state_dir=state) as again:
            restore(again, tree, store, action, PREFIX)
    assert files_of(before) == files_of(fingerprint(tree))
    assert way.sent < WHOLE - (4 << 20)
    assert [f"{PREFIX}-swap"] == jobs_run(host)
    assert not list((Path(state) / "staging").iterdir())


def test_half_arrived_file_that_is_not_the_beginning_is_fetched_anew(
    host: SSHConnection, tree: Path, archive: BackupStore, signing: SigningKey, tmp_path: Path
) -> None:
    """What lies in staging is never trusted: a host that crashed may have written zeros."""
    for store in (archive, make_directory_store(signing, tmp_path)):
        action, before = prepared(host, tree, store)
        prefix = f"{PREFIX}{store.name}"
        folder = Path(host.host.state_dir) / "staging" / f"{prefix}-1"
        folder.mkdir(parents=True)
        (folder / restore_files.staged_name(str(tree / "large"))).write_bytes(bytes(7 << 20))
        restore(host, tree, store, action, prefix)
        assert files_of(before) == files_of(fingerprint(tree))


def test_killed_worker_is_followed_by_one_that_goes_on(
    restore_server: Server, host: SSHConnection, tree: Path, source: S3Source, bucket: Relay, tmp_path: Path
) -> None:
    """`kill -9` in mid-restore: the next worker has a newer token and takes over what the host had already got."""
    key = SigningKey.load_or_create(tmp_path / "keys")
    archive = open_backup_store("offsite", source, FixedSecrets(), key, tmp_path)
    action, before = prepared(host, tree, archive)
    bucket.usual, bucket.carried = Trouble(pace=4 << 20), 0
    told = {
        "host": host.host.model_dump(mode="json"), "folder": str(restore_server.folder),
        "source": source.model_dump(mode="json"), "keys": str(tmp_path / "keys"),
        "asset": asset_of(tree).model_dump(mode="json"), "action": action.model_dump(mode="json"), "prefix": PREFIX,
        "token": 1,
    }  # fmt: skip
    (tmp_path / "told.json").write_text(json.dumps(told))
    argv = [sys.executable, "-m", "tests.support.restorer", str(tmp_path / "told.json")]
    worker = subprocess.Popen(argv, cwd=Path(__file__).parents[3], start_new_session=True)
    try:
        wait_for("a third has arrived", lambda: bucket.carried > LARGE // 3, 60)
    finally:
        worker.kill()
        worker.wait()
    damaged = files_of(fingerprint(tree))
    assert all(said[4] == len(b"damaged") for said in damaged.values())
    wait_for("the host stopped pulling for nobody", _rests(bucket), 60)
    bucket.usual, bucket.carried = Trouble(), 0
    restore_files.perform(
        host, asset_of(tree), action, archive, job_prefix=PREFIX, token=2, progress=lambda _done, _total: None
    )
    assert files_of(before) == files_of(fingerprint(tree))
    assert bucket.carried < WHOLE - LARGE // 4
    assert [f"{PREFIX}-swap"] == jobs_run(host)
    assert not list((Path(host.host.state_dir) / "staging").iterdir())


def _rests(bucket: Relay) -> Callable[[], bool]:
    seen = [-1]

    def rests() -> bool:
        before, seen[0] = seen[0], bucket.carried
        time.sleep(0.3)
        return before == bucket.carried

    return rests
