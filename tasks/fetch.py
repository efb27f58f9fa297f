"""Bringing bytes of a recovery point to a host's staging folder: pulled by the host, or streamed through us.

The host pulls with a presigned URL and ranges for just the pieces wanted, so that bulk data does not pass through the
orchestrator. Where it cannot (no curl, no way to the store, an old curl, a proxy that spoils bytes), the same pieces go
through the connection. Either way every piece is hashed on the host before anything trusts it (G5).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from blocks.backups.base import BackupStore
from blocks.backups.engine import engine_of
from blocks.backups.transfer import packed, unpack
from checks.stat import collect
from model.command import printable
from model.errors import Damaged
from model.manifest import Entry, Manifest
from tasks.pieces import Piece, read_pieces, size_of
from tasks.pull import joined, pull
from tasks.staging import Progress, Staging

URL_SECONDS = 3600
SLOWEST = 1 << 20
"""Bytes per second below which a transfer is given up at last; 64 KiB/s for those that are pulled and stand still."""

ROUNDS = 4
"""How often a host pulls what it did not get, each time with a fresh URL, as long as something arrives."""

PAUSE = 1.0
"""Seconds of rest before the second of these, twice that before the third."""

_LOG = logging.getLogger("reinstate.fetch")


def fetch(
    place: Staging,
    store: BackupStore,
    key: str,
    object_bytes: int,
    pieces: Sequence[Piece],
    progress: Progress,
) -> int:
    """Bring pieces of an object into the staging folder and verify each one there; those already there stay.

    Args:
        place: the staging folder.
        store: where the object is.
        key: the object.
        object_bytes: its whole size.
        pieces: what is wanted; names are unique.
        progress: told (bytes done, bytes wanted).

    Returns:
        Bytes moved to the host.

    Raises:
        Damaged: a piece is not what the manifest says, or the object is missing or too short.
        PreconditionFailed: the host cannot write it. Transient: store or connection broke off.
    """
    if object_bytes:  # one byte says whether the object is there in its whole length
        for _ in store.read(key, object_bytes - 1, 1):
            pass
    left = list(pieces) if place.fresh else _wrong(place, pieces)
    moved = 0
    total = size_of(left)
    fruitless = 0
    for number in range(ROUNDS):
        pulled = [piece for piece in left if piece.size]
        url = store.presign(key, URL_SECONDS + object_bytes // SLOWEST) if pulled else None
        if url is None:
            break
        time.sleep(PAUSE * number)
        there = {} if place.fresh and number == 0 else joined(place)
        arrived, refused = pull(place, url, object_bytes, pulled, there, progress, SLOWEST)
        before, left = len(left), _wrong(place, left)
        moved += arrived
        fruitless += not arrived and len(left) == before
        if fruitless > refused:
            break
    if any(piece.size for piece in left):
        _LOG.info("%d of %d pieces go through the orchestrator.", len(left), len(pieces))
    if left:
        moved += _through_us(place, store, key, left, lambda done: progress(min(done, total), total))
        left = _wrong(place, left)
    _require(left, f"{store.name}:{key}")
    progress(total, total)
    return moved


def fetch_files(
    place: Staging, store: BackupStore, manifest: Manifest, files: Mapping[str, Entry], progress: Progress
) -> int:
    """Bring files of a recovery point into the staging folder, from the archive or by the backup tool on the host.

    Args:
        place: the staging folder.
        store: where the point is.
        manifest: of the point.
        files: name in the folder → entry of the manifest.
        progress: told (bytes done, bytes wanted).

    Returns:
        Bytes moved to the host.

    Raises:
        Damaged: a file is not what the manifest says, or the archive or snapshot is gone.
        PreconditionFailed: the host cannot write it. Transient: store or connection broke off.
    """
    pieces = [Piece(name, e.path, e.offset, e.size, e.sha256) for name, e in files.items()]
    engine = engine_of(store)
    if engine is None:
        return fetch(place, store, manifest.object_key, manifest.object_bytes, pieces, progress)
    left = list(pieces) if place.fresh else _wrong(place, pieces)
    moved = 0
    if left:
        wanted = {piece.name: files[piece.name] for piece in left}
        moved = engine.fetch(place.connection, manifest, wanted, place.path, progress)
        _require(_wrong(place, left), f"{store.name}:{manifest.snapshot}")
    progress(size_of(pieces), size_of(pieces))
    return moved


def _require(wrong: Sequence[Piece], where: str) -> None:
    if wrong:
        raise Damaged(
            f"{printable(wrong[0].subject)} is not what the manifest says"
            f"{f', nor are {len(wrong) - 1} more files' if len(wrong) > 1 else ''}; the live files were not touched.",
            where,
            "use another recovery point; keep this one for the investigation",
        )


def _wrong(place: Staging, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces that are not staged as they should be."""
    paths = {f"{place.path}/{piece.name}": piece for piece in pieces}
    found = collect(place.connection, paths)
    return [
        piece
        for path, piece in paths.items()
        if (found[path].sha256, found[path].size) != (piece.sha256, piece.size)
    ]


def _through_us(
    place: Staging, store: BackupStore, key: str, pieces: Sequence[Piece], told: Callable[[int], None]
) -> int:
    """Pieces through the orchestrator, each from where it was cut off; whole again if that is not its beginning."""
    there = joined(place)
    sent = [_rest(piece, there.get(piece.name, 0)) for piece in pieces]
    moved = _stream(place, store, key, sent, told)
    if sent != list(pieces):
        joined(place)
        wrong = _wrong(place, pieces)
        if wrong:
            moved += _stream(place, store, key, wrong, told)
    return moved


def _rest(piece: Piece, there: int) -> Piece:
    if not 0 < there < piece.size:
        return piece
    return replace(piece, name=f"{piece.name}.rest", offset=piece.offset + there, size=piece.size - there)


def _stream(
    place: Staging, store: BackupStore, key: str, pieces: Sequence[Piece], told: Callable[[int], None]
) -> int:
    unpack(
        place.connection, place.path, packed(_members(store, key, pieces, told)), 600.0 + size_of(pieces) / SLOWEST
    )  # fmt: skip
    return size_of(pieces)


def _members(
    store: BackupStore, key: str, pieces: Sequence[Piece], told: Callable[[int], None]
) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    done = 0

    def passing(chunks: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal done
        for chunk in chunks:
            done += len(chunk)
            yield chunk
            told(done)

    for piece, chunks in read_pieces(store, key, pieces):
        yield piece.name, piece.size, passing(chunks)
