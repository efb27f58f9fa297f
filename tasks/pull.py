"""A host pulling pieces of an object from the store: presigned URL, ranges, curl; small neighbours share a range."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
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

HTTP_ERROR = 22
"""Status of curl when the server answered with an error (URL expired, 5xx)."""

_LOG = logging.getLogger("reinstate.fetch")

# What arrived behind a half-arrived file is put to it; then each file and its size.
_JOIN = r"""
cd -- "$1" || exit 73
umask 077
for rest in *.rest; do
    if [ -f "$rest" ]; then cat -- "$rest" >>"${rest%.rest}" && rm -f -- "$rest" || exit 1; fi
done
find . -maxdepth 1 -type f -exec stat -c '%n %s' {} +
"""
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


@dataclass(frozen=True)
class _Asked:
    """What of a range is asked for, when so many bytes of it are there from before.

    A single file that is there in its length has the wrong hash, or nobody would ask: it is fetched anew.
    """

    wanted: _Range
    there: int

    @property
    def resumed(self) -> bool:
        return 0 < self.there < self.wanted.size

    @property
    def size(self) -> int:
        if self.resumed:
            return self.wanted.size - self.there
        return 0 if self.there == self.wanted.size and len(self.wanted.pieces) > 1 else self.wanted.size

    @property
    def begin(self) -> int:
        return self.wanted.begin + self.wanted.size - self.size

    @property
    def output(self) -> str:
        return f"{self.wanted.name}.rest" if self.resumed else self.wanted.name


@dataclass
class _Told:
    """Progress of a pull, as its script prints it: `got BYTES` for a finished file, `at BYTES` for the large one.

    Attributes:
        got: bytes that arrived.
        here: bytes that were there before.
    """

    progress: Progress
    total: int
    got: int = 0
    here: int = 0
    _line: bytearray = field(default_factory=bytearray)

    def __call__(self, chunk: bytes) -> None:
        self._line += chunk
        while b"\n" in self._line:
            line, _, rest = bytes(self._line).partition(b"\n")
            self._line = bytearray(rest)
            word, _, number = line.partition(b" ")
            if number.isdigit():
                self.got += int(number) if word == b"got" else 0
                self.progress(
                    min(self.total, self.here + self.got + (int(number) if word == b"at" else 0)), self.total
                )
        del self._line[64:]


def pull(
    place: Staging,
    url: str,
    object_bytes: int,
    pieces: Sequence[Piece],
    there: Mapping[str, int],
    progress: Progress,
    slowest: int,
) -> tuple[int, bool]:
    """Have the host fetch pieces; what did not arrive is for the caller to find out and to bring another way.

    Args:
        place: the staging folder.
        url: presigned, good for ranges.
        object_bytes: size of the whole object.
        pieces: none of them empty.
        there: sizes of what is staged already, see `joined`.
        progress: told (bytes done, bytes wanted).
        slowest: bytes per second below which it is given up.

    Returns:
        Bytes moved, and whether the store refused or failed, so that a fresh URL may help.

    Raises:
        Transient: the connection was lost.
    """
    told, refused = _Told(progress, size_of(pieces)), False
    for batch in _batches(_ranges(pieces)):
        asked = [_Asked(one, there.get(one.name, 0)) for one in batch]
        left = [one for one in asked if one.size]
        told.here += sum(one.wanted.size - one.size for one in asked)
        large = left[0].output if len(left) == 1 else ""
        sections = [_section(url, one, object_bytes) for one in left]
        seconds = 600.0 + sum(one.size for one in left) / slowest
        result = curl(place.connection, place.path, sections, seconds, large, told) if left else None
        if any(one.resumed for one in left):
            joined(place)
        if result is not None and not result.ok:
            refused = result.status == HTTP_ERROR
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
    return told.got, refused


def joined(place: Staging) -> dict[str, int]:
    """Sizes of what is staged, by name, once what arrived for half-arrived files is put to them.

    Raises:
        Transient: the connection was lost.
    """
    said = ask(
        place.connection, "sh", "-c", _JOIN, "reinstate-join", place.path, timeout=3600.0, limit=1 << 30
    )
    found = (line.rpartition(" ") for line in said.text.splitlines())
    return {name.removeprefix("./"): int(size) for name, _, size in found if size.isdigit()}


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


def _section(url: str, wanted: _Asked, object_bytes: int) -> str:
    whole = wanted.begin == 0 and wanted.size == object_bytes
    lines = (
        f'url = "{quoted(url)}"',
        f'output = "{wanted.output}"',
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
