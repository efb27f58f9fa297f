"""The stream of mariabackup, read as it passes: what could leave its folder is refused, and its files are listed.

The format (MariaDB, extra/mariabackup/xbstream_write.cc; numbers little-endian): `XBSTCK01`, flags (1 byte; 2: the
file is written anew), type (1), length of the path (4), path, and then by type: P, bytes of a file: length (8), offset
in the file (8), CRC-32 (4) and the bytes; E, its end: nothing; S, where its next bytes belong: offset (8); D, it is
removed again: nothing; R, it is renamed: length of the new path (4), new path. The last two come of tables that are
dropped or renamed meanwhile; whether the file is there is all the same.

What `mbstream -x` of 10.11.19 does (measured): it looks at the path, but not at the new path of R, which may lead
anywhere; and it ends with status 0 when it could not make a file, leaving out all that follow. So names are judged
here, and what it unpacked is compared with the list made here.
"""

from __future__ import annotations

import re
import struct
import zlib

from model.command import printable
from model.errors import Damaged

MAGIC = b"XBSTCK01"
PAYLOAD, END, SEEK, REMOVE, RENAME = b"PESDR"
REWRITE = 2
LONGEST_PATH = 511
LARGEST_CHUNK = 1 << 30
SMALL = 1 << 16
"""Bytes of a description at most."""
INFO, OPTIONS, POINTS = "xtrabackup_info", "backup-my.cnf", "xtrabackup_checkpoints"
"""Files in which mariabackup describes a backup; the server is started with the options of the second."""
OURS = "reinstate-"
"""No file of a backup is called so."""

_MORE = {PAYLOAD: 20, END: 0, SEEK: 8, REMOVE: 0, RENAME: 4}
"""Type of a chunk → bytes of a known number after its path."""
_HEAD = struct.Struct("<8sBBI")
_BODY = struct.Struct("<QQI")
_OFFSET = struct.Struct("<Q")
_LENGTH = struct.Struct("<I")
_REMEDY = "use another recovery point; keep this one for the investigation"
# A server's own names: letters, digits, `#`, and what is not of ASCII as `@0041`; temporary and log files beside them.
_NAME = re.compile(r"[A-Za-z0-9_@#$.+~ -]+(?:/[A-Za-z0-9_@#$.+~ -]+){0,3}")
_OPTION = re.compile(r"|#.*|\[mysqld\]|innodb_[a-z_]+=[A-Za-z0-9_.:;/-]*")


class StreamReader:
    """Reads a stream chunk by chunk.

    Attributes:
        where: for messages.
        files: path → size of the files that are complete.
    """

    def __init__(self, where: str) -> None:
        """Nothing was read yet."""
        self.where = where
        self.files: dict[str, int] = {}
        self._open: dict[str, int] = {}  # path → where its next bytes belong
        self._sizes: dict[str, int] = {}
        self._kept: dict[str, bytearray] = {name: bytearray() for name in (INFO, OPTIONS, POINTS)}
        self._held = bytearray()
        self._path = ""
        self._left = 0
        self._sum, self._wanted = 0, 0

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            Damaged: this is no stream of mariabackup, or names a file that is none of a data directory.
        """
        self._held += data
        while self._held:
            if self._left:
                self._payload()
            elif not self._header():
                return

    def finish(self) -> dict[str, int]:
        """The files of a stream that has ended: path → size.

        Raises:
            Damaged: it ended too early, or holds no backup.
        """
        if self._held or self._left or self._open:
            name = next(iter(self._open), "")
            raise self._damaged(f"it ends in the middle{f' of {name}' if name else ''}")
        for name in (INFO, OPTIONS, POINTS, "ibdata1"):
            if not self.files.get(name):
                raise self._damaged(f"it holds no {name}")
        for line in self._text(OPTIONS).splitlines():
            if not _OPTION.fullmatch(line.strip()):
                raise self._damaged(
                    f"{OPTIONS} holds {printable(line)[:80]!r}: only settings of InnoDB are known there"
                )
        if self.facts().get("backup_type") != "full-backuped":
            raise self._damaged("it is no full backup")
        return self.files

    def facts(self) -> dict[str, str]:
        """What mariabackup says of the backup: the words of `xtrabackup_info` and `xtrabackup_checkpoints`."""
        lines = (*self._text(INFO).splitlines(), *self._text(POINTS).splitlines())
        pairs = (line.partition(" = ") for line in lines)
        return {word.strip(): printable(value.strip()) for word, equals, value in pairs if equals}

    def _text(self, name: str) -> str:
        return self._kept[name].decode("utf-8", "replace")

    def _header(self) -> bool:
        """Read the head of a chunk; whether it was there as a whole."""
        held = self._held
        if len(held) < _HEAD.size:
            return False
        magic, flags, kind, length = _HEAD.unpack_from(held)
        if magic != MAGIC:
            raise self._damaged("a chunk does not begin as it should")
        if kind not in _MORE or flags not in {0, REWRITE}:
            raise self._damaged(
                f"it holds a chunk of type {chr(kind)!r} with flags {flags}, which is not known"
            )
        at = _HEAD.size + self._long(length)
        size = at + _MORE[kind]
        if len(held) < size:
            return False
        new = ""
        if kind == RENAME:
            end = size + self._long(_LENGTH.unpack_from(held, at)[0])
            if len(held) < end:
                return False
            new, size = self._judged(bytes(held[size:end])), end
        path = self._judged(bytes(held[_HEAD.size : at]))
        if kind == PAYLOAD:
            self._begin(path, flags, at)
        elif kind == SEEK:
            self._open_file(path, flags)
            (self._open[path],) = _OFFSET.unpack_from(held, at)
        elif kind == END:
            self._open_file(path, flags)
            del self._open[path]
            self.files[path] = self._sizes.pop(path)
        else:
            self._move(path, new)
        del held[:size]
        return True

    def _move(self, path: str, new: str) -> None:
        """A file is renamed, or removed where it gets no new path."""
        if {path, new} & self._open.keys():
            raise self._damaged(f"{path} is removed or renamed while it is written")
        if {path, new} & self._kept.keys():
            raise self._damaged(f"{path} is removed or renamed, which describes the backup")
        if path in self.files:
            size = self.files.pop(path)
            if new:
                self.files[new] = size

    def _long(self, length: int) -> int:
        if not 0 < length <= LONGEST_PATH:
            raise self._damaged(f"a path of {length} bytes is none")
        return length

    def _begin(self, path: str, flags: int, at: int) -> None:
        """The head of a file's bytes."""
        self._left, offset, self._wanted = _BODY.unpack_from(self._held, at)
        self._open_file(path, flags)
        if offset != self._open[path] or self._left > LARGEST_CHUNK:
            raise self._damaged(f"a chunk of {path} is not the next one, or too large")
        self._path, self._sum = path, 0
        self._open[path] = offset + self._left
        self._sizes[path] = max(self._sizes[path], self._open[path])
        if path in self._kept and self._sizes[path] > SMALL:
            raise self._damaged(f"{path} is too large")
        if not self._left and self._wanted:
            raise self._damaged(f"a chunk of {path} is altered")

    def _open_file(self, path: str, flags: int) -> None:
        """A file is written to from here on; one that is complete only when it is written anew."""
        if path in self._open:
            return
        if path in self.files and not flags & REWRITE:
            raise self._damaged(f"{path} stands in it twice")
        if path in self._kept and path in self.files:
            raise self._damaged(f"{path} is written anew")
        self.files.pop(path, None)
        self._open[path] = self._sizes[path] = 0

    def _payload(self) -> None:
        part = bytes(self._held[: self._left])
        del self._held[: self._left]
        self._sum = zlib.crc32(part, self._sum)
        self._left -= len(part)
        if self._path in self._kept:
            self._kept[self._path] += part
        if not self._left and self._sum != self._wanted:
            raise self._damaged(f"a chunk of {self._path} is altered")

    def _judged(self, raw: bytes) -> str:
        """A name of the stream, if it is one of a data directory; `.isl` names a table's file elsewhere."""
        path = raw.decode("utf-8", "surrogateescape")
        parts = path.removeprefix("./").split("/")
        if not _NAME.fullmatch(path.removeprefix("./")) or any(
            part in {"", ".", ".."} or part.startswith(OURS) or part.endswith(".isl") for part in parts
        ):
            raise self._damaged(
                f"it holds the name {printable(path)!r}, which is no file of a data directory"
            )
        return "/".join(parts)

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"the stream of mariabackup is refused: {what}.", self.where, _REMEDY)
