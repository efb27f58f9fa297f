"""Reading a tar stream as it passes by: where each member lies and what it hashes to. Nothing is extracted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from model.errors import Damaged
from model.manifest import FileType

BLOCK = 512
_LONG_LIMIT = 1 << 20
_HARD, _LINK, _DIRECTORY, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"1", b"2", b"5", b"L", b"K", b"x", b"g"
_FILES = frozenset({b"0", b"\0", b"7"})


@dataclass(frozen=True)
class Member:
    """One member; `offset` is where its content begins in the stream."""

    path: str
    type: FileType
    offset: int
    size: int
    sha256: str
    link: str


class TarIndex:
    """Feed it the stream in chunks of any size; `members` grows as members end.

    Several archives may follow each other as one: what marks the end of one is held back, and a path that comes again
    counts the last time.

    Args:
        where: the host and tree, for messages.
    """

    def __init__(self, where: str) -> None:
        self.members: dict[str, Member] = {}
        self.finished = False
        self.where = where
        self._round: set[str] = set()
        self._position = 0
        self._held = bytearray()
        self._header = b""
        self._hash = hashlib.sha256()
        self._content = 0
        self._left = 0
        self._padding = 0
        self._name: bytes | None = None
        self._link: bytes | None = None
        self._long = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take the next chunk; returns what is to be stored of this and earlier chunks.

        Raises:
            Damaged: this is not a tar stream of files, directories and links.
        """
        view = memoryview(data)
        stored: list[bytes | memoryview] = []
        while view:
            view = self._take(view, stored)
        return b"".join(stored)

    def finish(self) -> None:
        """One archive ended; another may follow.

        Raises:
            Damaged: it ended too early.
        """
        if not self.finished:
            raise Damaged(
                f"the archive's stream ended at byte {self._position}, within or after a member.",
                self.where,
                "try again; look at the host's disk and tar",
            )
        self.finished = False
        self._round.clear()

    def _take(self, view: memoryview, stored: list[bytes | memoryview]) -> memoryview:
        if self.finished:  # padding behind the end
            return view[len(view) :]
        if self._left:
            part = view[: self._left]
            if self._header[156:157] in _FILES:
                self._hash.update(part)
            else:
                self._long += part
            self._left -= len(part)
            self._position += len(part)
            stored.append(part)
            if not self._left:
                self._end_of_member()
            return view[len(part) :]
        if self._padding:
            part = view[: self._padding]
            self._padding -= len(part)
            self._position += len(part)
            stored.append(part)
            return view[len(part) :]
        part = view[: BLOCK - len(self._held)]
        self._held += part
        if len(self._held) == BLOCK:
            header = bytes(self._held)
            self._held.clear()
            if header.strip(b"\0"):
                self._position += BLOCK
                stored.append(header)
                self._begin(header)
            else:
                self.finished = True
        return view[len(part) :]

    def _begin(self, header: bytes) -> None:
        if _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise self._bad("a header's checksum is wrong")
        size = _number(header[124:136])
        kind = header[156:157]
        if size is None or size < 0:
            raise self._bad("a header's size is wrong")
        if kind not in _FILES:
            if kind in {_HARD, _LINK, _DIRECTORY}:
                size = 0
            elif kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL}:
                if size > _LONG_LIMIT:
                    raise self._bad("a name is longer than 1 MiB")
            else:
                raise self._bad(f"a member of type {kind!r} is neither file, directory nor link")
        self._header, self._hash = header, hashlib.sha256()
        self._content, self._left = size, size
        self._padding = -size % BLOCK
        self._long.clear()
        if not size:
            self._end_of_member()

    def _end_of_member(self) -> None:
        kind = self._header[156:157]
        if kind == _LONG_NAME:
            self._name = bytes(self._long).rstrip(b"\0")
        elif kind == _LONG_LINK:
            self._link = bytes(self._long).rstrip(b"\0")
        elif kind == _PAX:
            self._read_pax(bytes(self._long))
        elif kind == _HARD:
            self._add_name()
        elif kind != _PAX_GLOBAL:
            self._add(kind)

    def _read_pax(self, data: bytes) -> None:
        while data:
            length, _, _ = data.partition(b" ")
            if not length.isdigit() or not 0 < int(length) <= len(data):
                raise self._bad("an extended header is wrong")
            key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
            if key == b"path":
                self._name = value
            elif key == b"linkpath":
                self._link = value
            elif key == b"size":
                raise self._bad("a size stands in an extended header; write the archive with --format=gnu")
            data = data[int(length) :]

    def _names(self) -> tuple[str, bytes]:
        """The path of the member that ends, and its link."""
        header = self._header
        name = self._name if self._name is not None else _text(header[:100])
        prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else b""
        if prefix and self._name is None:
            name = prefix + b"/" + name
        link = self._link if self._link is not None else _text(header[157:257])
        self._name = self._link = None
        path = _path(name)
        if path in self._round:
            raise self._bad(f"two members are called {path!r}")
        self._round.add(path)
        return path, link

    def _add_name(self) -> None:
        """One more name of a file that came before."""
        path, link = self._names()
        first = _path(link)
        if first == path or first not in self._round or self.members[first].type is not FileType.FILE:
            raise self._bad(f"{path!r} is a hard link to {first!r}, which did not come before it")
        self.members[path] = replace(self.members[first], path=path)

    def _add(self, kind: bytes) -> None:
        path, link = self._names()
        is_file = kind in _FILES
        self.members[path] = Member(
            path,
            FileType.FILE if is_file else FileType.LINK if kind == _LINK else FileType.DIRECTORY,
            self._position - self._content if is_file else -1,
            self._content,
            self._hash.hexdigest() if is_file else "",
            link.decode("utf-8", "surrogateescape") if kind == _LINK else "",
        )

    def _bad(self, what: str) -> Damaged:
        return Damaged(
            f"the archive's stream is wrong before byte {self._position}: {what}.",
            self.where,
            "look at the host's tar; take the backup again",
        )


def _path(name: bytes) -> str:
    return name.removeprefix(b"./").rstrip(b"/").decode("utf-8", "surrogateescape") or "."


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int | None:
    """A number of a header: octal text, or base 256 when its first bit is set (GNU)."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None
