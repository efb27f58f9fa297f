"""Everything a proposal restores from is read and compared before a host is touched (G4, rules 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.hosts.connection import SSHConnection
from model.assets import FilesAsset
from model.canonical import now
from model.errors import Damaged
from model.manifest import FileType, RecoveryPoint
from model.outcome import Stage
from model.proposal import Proposal, RestoreFiles, Rung
from tasks.backup_files import back_up_files
from tasks.prove_supplies import prove_supplies
from tests.support.stores import overwrite, stored

SIZES = {"empty": 0, "one": 1, "small": 5000, "large": 3 << 20, "last": 70_000}


def quiet(_done: int, _total: int) -> None:
    """A progress that tells nobody."""


@pytest.fixture
def point(host: SSHConnection, tmp_path: Path, store: BackupStore) -> RecoveryPoint:
    """A backup of files small, large and empty."""
    root = tmp_path / "live"
    root.mkdir()
    for name, size in SIZES.items():
        (root / name).write_bytes(bytes(number % 251 for number in range(size)))
    (root / "link").symlink_to("one")
    asset = FilesAsset(kind="files", host="web", path=str(root), backup="any")
    return back_up_files(host, "files", asset, "web", store, quiet)


def proposal_of(store: BackupStore, point: RecoveryPoint, *names: str) -> Proposal:
    """A proposal that restores these files."""
    entries = store.manifest(point).entries
    action = RestoreFiles(
        id="a01", host="web", asset="files", stage=Stage.RESTORE, rung=Rung.DATA_SET, reason="r", undo="u", point=point,
        root="/live", files=tuple(entry for entry in entries if not names or entry.path in names),
        bytes=sum(entry.size for entry in entries if entry.type is FileType.FILE),
    )  # fmt: skip
    return Proposal(
        incident="i", plan_digest="0" * 64, hosts={}, actions=(action,), created_at=now(),
        expires_at=now() + timedelta(hours=1),
    )  # fmt: skip


def test_whole_backup_is_proven_and_every_byte_is_told(store: BackupStore, point: RecoveryPoint) -> None:
    told: list[int] = []
    proposal = proposal_of(store, point)
    proven, read = prove_supplies(proposal, {point.source: store}, {}, lambda done, _total: told.append(done))
    assert (len(SIZES) + 2, sum(SIZES.values())) == (proven, read)
    assert told == sorted(told)
    assert read == told[-1]


def test_only_what_is_restored_is_read(store: BackupStore, point: RecoveryPoint) -> None:
    proposal = proposal_of(store, point, "one", "last")
    assert (2, SIZES["one"] + SIZES["last"]) == prove_supplies(proposal, {point.source: store}, {}, quiet)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("name", [name for name, size in SIZES.items() if size])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_flipped_bit_names_file_and_object(
    store: BackupStore, point: RecoveryPoint, name: str, place: str
) -> None:
    entry = next(entry for entry in store.manifest(point).entries if entry.path == name)
    at = entry.offset if place == "first" else entry.offset + entry.size - 1
    overwrite(store, point.key, flipped(stored(store, point.key), at))
    with pytest.raises(Damaged, match=rf"{point.key}.*{name} in it"):
        prove_supplies(proposal_of(store, point), {point.source: store}, {}, quiet)


@pytest.mark.parametrize(
    "alter",
    [lambda data: data[:4096], lambda data: data[: len(data) // 2], lambda data: b"", lambda data: None],
    ids=["cut short", "cut in half", "emptied", "gone"],
)
def test_an_object_that_is_not_whole_is_damaged_and_named(
    store: BackupStore, point: RecoveryPoint, alter: Callable[[bytes], bytes | None]
) -> None:
    overwrite(store, point.key, alter(stored(store, point.key)))
    with pytest.raises(Damaged, match=point.key):
        prove_supplies(proposal_of(store, point), {point.source: store}, {}, quiet)
