"""Bringing bytes of a recovery point to a host's staging folder: pulled by the host, or streamed through us.

The host pulls with a presigned URL and ranges for just the pieces wanted, so that bulk data does not pass through the
orchestrator. Where it cannot (no curl, no way to the store, an old curl, a proxy that spoils bytes), the same pieces go
through the connection. Either way every piece is hashed on the host before anything trusts it (G5).
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from blocks.backups.base import BackupStore
from checks.stat import collect
from model.command import printable
from model.errors import Damaged, PreconditionFailed
from tasks.staging import Progress, Staging, ask

URL_SECONDS = 3600
SLOWEST = 1 << 20
"""Bytes per second below which a transfer is given up at last; 64 KiB/s for those that are pulled and stand still."""
GAP = 4096
"""Pieces nearer than this are read from the store in one request."""

_LOG = logging.getLogger("reinstate.fetch")

# The configuration with the URL comes on stdin: argv is visible to every user of the host (G9). A line each second
# says how far a single large file is, and ends curl once nobody listens.
_PULL = r"""
umask 077
cd -- "$1" || exit 73
many=
curl -q -V >/dev/null 2>&1 || exit 127
curl -q -Z --parallel-max 8 -V >/dev/null 2>&1 && many='-Z --parallel-max 8'
exec 3<&0
curl -q $many -sS --config - <&3 &
pull=$!
(
    trap '' PIPE
    while sleep 1 </dev/null >/dev/null 2>&1; do
        at=0
        [ -z "$2" ] || [ ! -f "$2" ] || at=$(wc -c <"$2")
        printf 'at %s\n' "$at" || kill "$pull"
    done
) &
beat=$!
wait "$pull"
status=$?
kill "$beat" 2>/dev/null
exit "$status"
"""
_UNPACK = r"""
umask 077
cd -- "$1" || exit 73
exec tar --extract --file=- --no-same-owner --no-same-permissions
"""


@dataclass(frozen=True)
class Piece:
    """Bytes of an object that become one staged file.

    Attributes:
        name: of the staged file; letters, digits and dots.
        subject: what it is, for people: the file's path in the backup.
        offset: where it begins in the object.
    """

    name: str
    subject: str
    offset: int
    size: int
    sha256: str


@dataclass
class _Told:
    """Progress of a pull, as its script prints it: `got BYTES` for a finished file, `at BYTES` for the large one."""

    progress: Progress
    total: int
    got: int = 0
    _line: bytearray = field(default_factory=bytearray)

    def __call__(self, chunk: bytes) -> None:
        self._line += chunk
        while b"\n" in self._line:
            line, _, rest = bytes(self._line).partition(b"\n")
            self._line = bytearray(rest)
            word, _, number = line.partition(b" ")
            if number.isdigit():
                self.got += int(number) if word == b"got" else 0
                self.progress(min(self.total, self.got + (int(number) if word == b"at" else 0)), self.total)
        del self._line[64:]


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
    left = _wrong(place, pieces)
    moved = 0
    total = sum(piece.size for piece in left)
    pulled = [piece for piece in left if piece.size]
    url = store.presign(key, URL_SECONDS + object_bytes // SLOWEST) if pulled else None
    if url is not None:
        moved += _pull(place, url, object_bytes, pulled, _Told(progress, total))
        left = _wrong(place, left)
        if any(piece.size for piece in left):
            _LOG.info("%d of %d pieces go through the orchestrator.", len(left), len(pieces))
    if left:
        moved += _stream(place, store, key, left, lambda done: progress(total - _size(left) + done, total))
        left = _wrong(place, left)
    if left:
        raise Damaged(
            f"{printable(left[0].subject)} is not what the manifest says"
            f"{f', nor are {len(left) - 1} more files' if len(left) > 1 else ''}; the live files were not touched.",
            f"{store.name}:{key}",
            "use another recovery point; keep this one for the investigation",
        )
    progress(total, total)
    return moved


def _size(pieces: Sequence[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _wrong(place: Staging, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces that are not staged as they should be."""
    paths = {f"{place.path}/{piece.name}": piece for piece in pieces}
    found = collect(place.connection, paths)
    return [
        piece
        for path, piece in paths.items()
        if (found[path].sha256, found[path].size) != (piece.sha256, piece.size)
    ]


def _pull(place: Staging, url: str, object_bytes: int, pieces: Sequence[Piece], told: _Told) -> int:
    large = pieces[0].name if len(pieces) == 1 else ""
    result = ask(
        place.connection, "sh", "-c", _PULL, "reinstate-pull", place.path, large,
        stdin="next\n".join(_section(url, piece, object_bytes) for piece in pieces).encode(),
        timeout=600.0 + _size(pieces) / SLOWEST, limit=1 << 16, on_stdout=told,
    )  # fmt: skip
    if not result.ok:
        why = "it has no curl" if result.status == 127 else result.tail(2)
        _LOG.info("%s cannot pull from the store (%s).", place.connection.name, why)
    return told.got


def _section(url: str, piece: Piece, object_bytes: int) -> str:
    whole = piece.offset == 0 and piece.size == object_bytes
    lines = (
        f'url = "{_quoted(url)}"',
        f'output = "{piece.name}"',
        "" if whole else f'range = "{piece.offset}-{piece.offset + piece.size - 1}"',
        f"max-filesize = {piece.size}",
        "fail",
        "retry = 2",
        "connect-timeout = 5",
        "speed-limit = 65536",
        "speed-time = 30",
        'write-out = "got %{size_download}\\n"',
    )
    return "".join(f"{line}\n" for line in lines if line)


def _quoted(url: str) -> str:
    return url.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "").replace("\r", "")


def _stream(
    place: Staging, store: BackupStore, key: str, pieces: Sequence[Piece], told: Callable[[int], None]
) -> int:
    trouble: list[BaseException] = []

    def packed() -> Iterator[bytes]:
        try:
            yield from _archive(store, key, pieces, told)
        except BaseException as error:
            trouble.append(error)
            raise

    try:
        result = ask(
            place.connection, "sh", "-c", _UNPACK, "reinstate-unpack", place.path,
            source=packed(), timeout=600.0 + _size(pieces) / SLOWEST,
        )  # fmt: skip
    finally:
        if trouble and not isinstance(trouble[0], GeneratorExit):
            raise trouble[0]
    if not result.ok:
        raise PreconditionFailed(
            f"the staging folder cannot be written: {result.tail(2)}.",
            place.connection.name,
            "free space in the state directory, or repair `tar`; nothing live was touched",
        )
    return _size(pieces)


def _archive(
    store: BackupStore, key: str, pieces: Sequence[Piece], told: Callable[[int], None]
) -> Iterator[bytes]:
    """The pieces as a tar stream with our own names; its metadata is not used."""
    done = 0
    for piece, chunks in read_pieces(store, key, pieces):
        member = tarfile.TarInfo(piece.name)
        member.size, member.mode = piece.size, 0o600
        yield member.tobuf(tarfile.GNU_FORMAT)
        for chunk in chunks:
            done += len(chunk)
            yield chunk
            told(done)
        yield bytes(-piece.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def read_pieces(
    store: BackupStore, key: str, pieces: Sequence[Piece]
) -> Iterator[tuple[Piece, Iterator[bytes]]]:
    """Pieces of an object in order of their offset, each with its bytes, to be read before the next is asked for.

    Neighbours come in one request: hundreds of small files would otherwise cost hundreds of round trips.
    """
    for run in _runs(sorted(pieces, key=lambda piece: piece.offset)):
        begin, end = run[0].offset, max(piece.offset + piece.size for piece in run)
        source = _Reader(store.read(key, begin, end - begin) if end > begin else iter(()), begin)
        for piece in run:
            yield piece, source.take(piece.offset, piece.size)


def _runs(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    run: list[Piece] = []
    end = 0
    for piece in pieces:
        if run and not 0 <= piece.offset - end <= GAP:
            yield run
            run = []
        run.append(piece)
        end = piece.offset + piece.size
    if run:
        yield run


class _Reader:
    """Takes pieces in order of their offset out of one stream of bytes."""

    def __init__(self, chunks: Iterator[bytes], position: int) -> None:
        self._chunks = chunks
        self._position = position
        self._held = b""

    def take(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes of one piece."""
        skip = offset - self._position
        while size:
            chunk = self._held or next(self._chunks, b"")
            if not chunk:
                return  # the object ends too early; its hash says so
            dropped, chunk = chunk[:skip], chunk[skip:]
            skip -= len(dropped)
            part, self._held = chunk[:size], chunk[size:]
            size -= len(part)
            self._position += len(dropped) + len(part)
            if part:
                yield part
