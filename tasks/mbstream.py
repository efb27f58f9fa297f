"""The stream of mariabackup, read as it passes: what could leave its folder is refused, and its files are listed.

The format (MariaDB, extra/mariabackup/xbstream_read.cc; numbers little-endian): `XBSTCK01`, flags (1 byte), type (1),
length of the path (4), path; a chunk of type P goes on with length (8), offset in the file (8), CRC-32 (4) and the
bytes; one of type E ends the file. `mbstream -x` ends with status 0 when it could not make a file and left out all that
follow (10.11.19, measured), so it is not believed: what it unpacked is compared with the list made here.
"""

from __future__ import annotations

import re
import struct
import zlib

from model.command import printable
from model.errors import Damaged

MAGIC = b"XBSTCK01"
PAYLOAD, END = ord("P"), ord("E")
LONGEST_PATH = 511
LARGEST_CHUNK = 1 << 30
SMALL = 1 << 16
"""Bytes of a description at most."""
INFO, OPTIONS, POINTS = "xtrabackup_info", "backup-my.cnf", "xtrabackup_checkpoints"
"""Files in which mariabackup describes a backup; the server is started with the options of the second."""
OURS = "reinstate-"
"""No file of a backup is called so."""

_HEAD = struct.Struct("<8sBBI")
_BODY = struct.Struct("<QQI")
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
        self._open: dict[str, int] = {}
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
        if kind not in (PAYLOAD, END) or flags:
            raise self._damaged(
                f"it holds a chunk of type {chr(kind)!r} with flags {flags}, which is not known"
            )
        if not 0 < length <= LONGEST_PATH:
            raise self._damaged(f"a path of {length} bytes is none")
        size = _HEAD.size + length + (_BODY.size if kind == PAYLOAD else 0)
        if len(held) < size:
            return False
        path = self._judged(bytes(held[_HEAD.size : _HEAD.size + length]))
        done = self._open.get(path, 0)
        if path in self.files:
            raise self._damaged(f"{path} stands in it twice")
        if kind == END:
            self.files[path] = done
            self._open.pop(path, None)
        else:
            self._left, offset, self._wanted = _BODY.unpack_from(held, _HEAD.size + length)
            if offset != done or self._left > LARGEST_CHUNK:
                raise self._damaged(f"a chunk of {path} is not the next one, or too large")
            self._path, self._sum = path, 0
            self._open[path] = done + self._left
            if path in self._kept and self._open[path] > SMALL:
                raise self._damaged(f"{path} is too large")
            if not self._left and self._wanted:
                raise self._damaged(f"a chunk of {path} is altered")
        del held[:size]
        return True

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
