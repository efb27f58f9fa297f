"""Pieces of an object: the bytes that become one staged file each, and how neighbours among them are read together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blocks.backups.base import BackupStore

GAP = 4096
"""Pieces nearer than this are read from the store in one request."""


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


def size_of(pieces: Sequence[Piece]) -> int:
    """Bytes of all pieces."""
    return sum(piece.size for piece in pieces)


def read_pieces(
    store: BackupStore, key: str, pieces: Sequence[Piece]
) -> Iterator[tuple[Piece, Iterator[bytes]]]:
    """Pieces of an object in order of their offset, each with its bytes, to be read before the next is asked for.

    Neighbours come in one request: hundreds of small files would otherwise cost hundreds of round trips.
    """
    for run in runs(pieces):
        begin, end = run[0].offset, max(piece.offset + piece.size for piece in run)
        source = _Reader(store.read(key, begin, end - begin) if end > begin else iter(()), begin)
        for piece in run:
            yield piece, source.take(piece.offset, piece.size)


def runs(pieces: Sequence[Piece], gap: int = GAP) -> Iterator[list[Piece]]:
    """Pieces in order of their offset, neighbours in one list."""
    run: list[Piece] = []
    end = 0
    for piece in sorted(pieces, key=lambda piece: piece.offset):
        if run and not 0 <= piece.offset - end <= gap:
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
