"""Proving, before anything is changed, that what the signed proposal restores from is whole (G4, rules 4 and 5).

A corrupt backup found in the middle of a restore would mean a roll back; found here, the host is not even touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from blocks.backups.base import BackupStore
from blocks.backups.engine import engine_of
from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from model.command import printable
from model.errors import Damaged, ReinstateError
from model.manifest import Entry, FileType, Manifest
from model.proposal import (
    Proposal,
    RebuildRpmDatabase,
    ReinstallDistribution,
    ReinstallPackage,
    ReinstallRpm,
    RestoreCluster,
    RestoreDatabase,
    RestoreFiles,
)
from tasks.fetch import fetch_files
from tasks.pieces import Piece, read_pieces
from tasks.staging import staging

Tell = Callable[[int, int], None]
Connect = Callable[[str], AbstractContextManager[Connection]]
ROOM = 1 << 30
"""Bytes of a backup tool's files that are on the host at once while they are proven."""
REMEDY = "nothing was changed; choose another recovery point, and find out what altered this one"


def prove_supplies(
    proposal: Proposal,
    stores: Mapping[str, BackupStore],
    package_stores: Mapping[str, PackageStore],
    progress: Tell,
    connect: Connect | None = None,
) -> tuple[int, int]:
    """Read every byte the proposal will restore and compare it with the signed manifest.

    Args:
        proposal: the signed proposal.
        stores: backup sources by name.
        package_stores: package stores by name.
        progress: told (bytes read, bytes in all).
        connect: opens the connection to a host; what a backup tool keeps is read there, in our staging.

    Returns:
        How many things were proven, and the bytes read.

    Raises:
        Damaged: naming the object (and the file in it) that is not what was backed up.
    """
    total = max(1, proposal.bytes)
    proven = read = 0
    for action in proposal.actions:
        match action:
            case RestoreFiles():
                store = stores[action.point.source]
                manifest = store.manifest(action.point)
                for entry in _proven(store, manifest, action, connect):
                    read += entry.size
                    progress(min(read, total), total)
                proven += len(action.files)
            case RestoreDatabase() | RestoreCluster(replays=False):
                store = stores[action.point.source]
                _object(store, store.manifest(action.point))
                read += action.point.bytes
                proven += 1
            case ReinstallPackage() | ReinstallRpm() if action.source.startswith("store:"):
                shelf = package_stores[action.source.partition(":")[2]]
                read += shelf.get(action.filename, action.sha256, lambda _chunk: None)
                proven += 1
            case RebuildRpmDatabase():
                if action.point is not None:
                    kept = stores[action.point.source]
                    manifest = kept.manifest(action.point)
                    read += sum(entry.size for entry in _proven(kept, manifest, action, connect))
                for header in action.lost:
                    if header.source.startswith("store:"):
                        shelf = package_stores[header.source.partition(":")[2]]
                        read += shelf.get(header.filename, header.sha256, lambda _chunk: None)
                proven += len(action.files) + len(action.lost)
            case ReinstallDistribution():
                held = [one for one in package_stores.values() if one.objects.exists(action.filename)]
                for one in held or list(package_stores.values())[:1]:
                    read += one.get(action.filename, action.sha256, lambda _chunk: None)
                proven += 1
            case _:
                continue
        progress(min(read, total), total)
    return proven, read


def _proven(
    store: BackupStore, manifest: Manifest, action: RestoreFiles | RebuildRpmDatabase, connect: Connect | None
) -> Iterator[Entry]:
    """The files with content of an action, each once it is proven; by the very way the restore will fetch them."""
    if engine_of(store) is None:
        yield from _members(store, manifest, action.files)
        return
    if connect is None:
        raise ReinstateError("no connection to the host was given.", store.name, "report this as a bug")
    known = {entry.path: entry for entry in manifest.entries}
    files = [known.get(e.path, e) for e in action.files if e.type is FileType.FILE and e.size]
    with connect(action.host) as connection:
        for number, batch in enumerate(_batches(files)):
            with staging(connection, f"prove-{manifest.point.lower()}-{action.id}-{number}", 0) as place:
                named = {f"{count:07d}": entry for count, entry in enumerate(batch)}
                fetch_files(place, store, manifest, named, lambda _done, _total: None)
            yield from batch


def _batches(files: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Files in portions that find room on the host."""
    batch: list[Entry] = []
    held = 0
    for entry in files:
        if batch and held + entry.size > ROOM:
            yield batch
            batch, held = [], 0
        batch.append(entry)
        held += entry.size
    if batch:
        yield batch


def _members(store: BackupStore, manifest: Manifest, entries: Sequence[Entry]) -> Iterator[Entry]:
    """The files with content among the entries, each once it is proven."""
    files = [entry for entry in entries if entry.type is FileType.FILE and entry.size]
    lost = next((entry for entry in files if entry.offset < 0), None)
    if lost is not None:
        raise Damaged(
            f"the manifest does not say where {printable(lost.path)} lies.", manifest.object_key, REMEDY
        )
    pieces = {Piece(str(n), e.path, e.offset, e.size, e.sha256): e for n, e in enumerate(files)}
    for piece, chunks in read_pieces(store, manifest.object_key, list(pieces)):
        told = hashlib.sha256()
        for chunk in chunks:
            told.update(chunk)
        if told.hexdigest() != piece.sha256:
            raise Damaged(
                f"the backup is corrupt: {printable(piece.subject)} in it is not what was backed up.",
                f"{store.name}:{manifest.object_key}",
                REMEDY,
            )
        yield pieces[piece]


def _object(store: BackupStore, manifest: Manifest) -> None:
    told, count = hashlib.sha256(), 0
    for chunk in store.read(manifest.object_key):
        told.update(chunk)
        count += len(chunk)
    if (told.hexdigest(), count) != (manifest.object_sha256, manifest.object_bytes):
        raise Damaged(
            f"the backup is corrupt: {count} bytes with another hash than when it was taken.",
            f"{store.name}:{manifest.object_key}",
            REMEDY,
        )
