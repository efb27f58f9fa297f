"""A host pulling pieces of an object from the store: presigned URL, ranges, curl; small neighbours share a range."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from blocks.backups.transfer import curl, quoted
from tasks.pieces import Piece, runs, size_of
from tasks.staging import Progress, Staging, ask

SMALL = 1 << 20
"""Pieces up to this size share a range with their neighbours: a request costs as much as 100 KiB."""
SHARED_GAP = 1536
"""Bytes between neighbours that share a range: a tar header and padding; less than what a request of its own costs."""
FEW = 16
"""Fewer neighbours share a range only when what lies between them is at most a tenth of them."""
SHARED = 64 << 20
"""Bytes of a shared range at most."""
BATCH = 1 << 30
"""Bytes asked for in one run of curl: shared ranges need that much room until they are cut."""

_LOG = logging.getLogger("reinstate.fetch")

_CUT = r"""
cd -- "$1" || exit 73
umask 077
last=
while read -r range skip size name; do
    if [ "$range" != "$last" ]; then rm -f -- ${last:+"$last"}; last=$range; fi
    dd if="$range" of="$name" bs=1M iflag=skip_bytes,count_bytes skip="$skip" count="$size" 2>/dev/null
done
rm -f -- ${last:+"$last"}
"""


@dataclass(frozen=True)
class _Range:
    """One request: a piece, or several that are cut out of it afterwards."""

    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        return self.pieces[0].name + ("" if len(self.pieces) == 1 else ".range")

    @property
    def begin(self) -> int:
        return self.pieces[0].offset

    @property
    def size(self) -> int:
        return self.pieces[-1].offset + self.pieces[-1].size - self.begin


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


def pull(
    place: Staging, url: str, object_bytes: int, pieces: Sequence[Piece], progress: Progress, slowest: int
) -> int:
    """Have the host fetch pieces; what did not arrive is for the caller to find out and to bring another way.

    Args:
        place: the staging folder.
        url: presigned, good for ranges.
        object_bytes: size of the whole object.
        pieces: none of them empty.
        progress: told (bytes done, bytes wanted).
        slowest: bytes per second below which it is given up.

    Returns:
        Bytes moved.

    Raises:
        Transient: the connection was lost.
    """
    told = _Told(progress, size_of(pieces))
    for batch in _batches(_ranges(pieces)):
        large = batch[0].name if len(batch) == 1 else ""
        wanted = sum(one.size for one in batch)
        sections = [_section(url, one, object_bytes) for one in batch]
        result = curl(place.connection, place.path, sections, 600.0 + wanted / slowest, large, told)
        if not result.ok:
            why = "it has no curl" if result.status == 127 else result.tail(2)
            _LOG.info("%s cannot pull from the store (%s).", place.connection.name, why)
            break
        cuts = [
            f"{one.name} {piece.offset - one.begin} {piece.size} {piece.name}\n"
            for one in batch
            for piece in one.pieces
            if len(one.pieces) > 1
        ]
        if cuts:
            lines = "".join(cuts).encode()
            ask(place.connection, "sh", "-c", _CUT, "reinstate-cut", place.path, stdin=lines, timeout=3600.0)
    return told.got


def _ranges(pieces: Sequence[Piece]) -> Iterator[_Range]:
    for piece in pieces:
        if piece.size > SMALL:
            yield _Range((piece,))
    for run in runs([piece for piece in pieces if piece.size <= SMALL], SHARED_GAP):
        between = run[-1].offset + run[-1].size - run[0].offset - size_of(run)
        if len(run) < FEW and between * 10 > size_of(run):
            yield from (_Range((piece,)) for piece in run)
            continue
        begin = 0
        for number in range(1, len(run) + 1):
            if number == len(run) or run[number].offset + run[number].size - run[begin].offset > SHARED:
                yield _Range(tuple(run[begin:number]))
                begin = number


def _batches(ranges: Iterator[_Range]) -> Iterator[list[_Range]]:
    batch: list[_Range] = []
    held = 0
    for one in ranges:
        if batch and held + one.size > BATCH:
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += one.size
    if batch:
        yield batch


def _section(url: str, wanted: _Range, object_bytes: int) -> str:
    whole = wanted.begin == 0 and wanted.size == object_bytes
    lines = (
        f'url = "{quoted(url)}"',
        f'output = "{wanted.name}"',
        "" if whole else f'range = "{wanted.begin}-{wanted.begin + wanted.size - 1}"',
        f"max-filesize = {wanted.size}",
        "fail",
        "retry = 2",
        "connect-timeout = 5",
        "speed-limit = 65536",
        "speed-time = 30",
        'write-out = "got %{size_download}\\n"',
    )
    return "".join(f"{line}\n" for line in lines if line)
