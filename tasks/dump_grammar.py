r"""The grammar of a MariaDB dump, read as it streams by: what is no part of one is refused, and its rows are counted.

A dump is SQL that a server will execute: a line `\! …`, a statement for another database, a table whose rows lie on
another server are all possible in one, and none of them is in ours (guarantees.md, dumps). So every line must be one
that `mariadb-dump` writes for tables; the part after `CODE` holds triggers, routines, events and views, whose text is
free, and which the client reads with none of its own commands enabled.
"""

from __future__ import annotations

import re

from model.command import printable
from model.errors import Damaged

CODE = b"-- REINSTATE CODE"
"""The line between tables and code."""

_NAME = rb"`(?:[^`\n]|``)+`"
_VALUE = (
    rb"(?:NULL|0x[0-9A-Fa-f]*+|-?[0-9][0-9.eE+-]*+|b'[01]*+'"
    rb"|(?:_[a-z0-9]++ )?'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+')"
)
_ROW = rb"\(" + _VALUE + rb"(?:," + _VALUE + rb")*+\)"
_ROWS = re.compile(_ROW + rb"(?:," + _ROW + rb")*+[,;]", re.DOTALL)
_ONE = re.compile(_ROW + rb"[,;]", re.DOTALL)
_INSERT = re.compile(rb"INSERT (?:IGNORE )?INTO (" + _NAME + rb")(?: \([^()';]*\))? VALUES ?(.*)", re.DOTALL)
_CREATE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?(" + _NAME + rb") \(")
_IDENTIFIER = re.compile(_NAME)
_STRING = re.compile(rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'", re.DOTALL)
_ELSEWHERE = re.compile(
    rb"\b(?:DATA|INDEX)\s+DIRECTORY\b|\bCONNECTION\s*=|\bUNION\s*=|\bSELECT\b|"
    rb"\bENGINE\s*=\s*(?!InnoDB\b|MyISAM\b|Aria\b|MEMORY\b|CSV\b|ARCHIVE\b|BLACKHOLE\b|ROCKSDB\b)",
    re.IGNORECASE,
)
_SETTING = rb"SET (?![^;]*\b(?:GLOBAL|PASSWORD|PERSIST|DEFAULT|ROLE|STATEMENT)\b)[^;()]*"
_PLAIN = re.compile(
    rb"|"
    rb"--(?: .*)?|"
    rb"/\*M!999999\\- enable the sandbox mode \*/ ?|"
    rb"/\*!\d{5,6} " + _SETTING + rb"\*/ ?;|"
    rb"/\*!\d{5,6} ALTER TABLE " + _NAME + rb" (?:DIS|EN)ABLE KEYS \*/;|"
    rb"DROP (?:TABLE|SEQUENCE) IF EXISTS " + _NAME + rb";|"
    rb"LOCK TABLES " + _NAME + rb" WRITE;|UNLOCK TABLES;|commit;|"
    rb"SET @?[A-Za-z_]+ *= *[@A-Za-z0-9_]+;|"
    rb"CREATE SEQUENCE " + _NAME + rb" start with [-0-9a-z =]+(?:ENGINE=\w+)?;|"
    rb"(?:DO|SELECT) SETVAL\(" + _NAME + rb", -?\d+, [01]\);",
    re.IGNORECASE,
)
_FILES = re.compile(rb"\s*\\[!.TPt]")
_END = re.compile(rb"-- Dump completed\b")
LINE_LIMIT = 1 << 30
"""Bytes of a line at most: `max_allowed_packet` cannot be larger."""
CODE_LIMIT = 64 << 20


class DumpReader:
    """Reads a dump chunk by chunk.

    Attributes:
        rows: rows by table.
        code: bytes of the part after the tables.
    """

    def __init__(self, where: str) -> None:
        """Begin.

        Args:
            where: what is read, for messages.
        """
        self._where = where
        self._rest = bytearray()
        self._table: str | None = None  # of the INSERT whose rows follow
        self._creating = False
        self._ended = 0
        self._number = 0
        self._in_code = False
        self.rows: dict[str, int] = {}
        self.code = 0

    def feed(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            Damaged: a line is none that a dump of ours has; the message names it.
        """
        if b"\n" not in chunk:
            self._rest += chunk
        else:
            lines = (bytes(self._rest) + chunk).split(b"\n")
            self._rest = bytearray(lines.pop())
            for line in lines:
                self._number += 1
                self._line(line)
        if len(self._rest) > LINE_LIMIT:
            raise self._refused(bytes(self._rest[:80]), "a line has no end")

    def finish(self) -> dict[str, int]:
        """All has been read; returns the rows by table.

        Raises:
            Damaged: the dump was cut, or holds no table.
        """
        if self._rest or self._ended < 2 or not self._in_code:
            raise Damaged(
                "the dump is truncated: its last line is missing.", self._where,
                "use another recovery point; keep this one for the investigation",
            )  # fmt: skip
        if not self.rows:
            raise Damaged(
                "the dump holds no table: an empty backup is not a backup.", self._where,
                "use another recovery point",
            )  # fmt: skip
        return self.rows

    def _line(self, line: bytes) -> None:
        if self._in_code:
            self.code += len(line) + 1
            if self.code > CODE_LIMIT or _FILES.match(line):
                raise self._refused(line, "triggers and routines do not look like that")
            self._ended += bool(_END.match(line))
        elif self._table is not None:
            self._some_rows(line)
        elif self._creating:
            self._definition(line)
        elif line == CODE:
            self._in_code = True
        elif (insert := _INSERT.fullmatch(line)) is not None:
            self._table = _unquoted(insert[1])
            if self._table not in self.rows:
                raise self._refused(line, "rows of a table that was not made before")
            if insert[2]:
                self._some_rows(insert[2])
        elif (create := _CREATE.fullmatch(line)) is not None:
            self.rows.setdefault(_unquoted(create[1]), 0)
            self._creating = True
        elif _PLAIN.fullmatch(line) is None:
            raise self._refused(line, "no dump of ours holds such a line")
        else:
            self._ended += bool(_END.match(line))

    def _some_rows(self, line: bytes) -> None:
        assert self._table is not None  # noqa: S101 - the caller looked
        if _ONE.fullmatch(line) is not None:
            self.rows[self._table] += 1
        elif _ROWS.fullmatch(line) is not None:
            # What is left without its strings is numbers, hex and NULL: one bracket for each row.
            self.rows[self._table] += _STRING.sub(b"", line).count(b"(")
        else:
            raise self._refused(line, "this is no row of values")
        if line.endswith(b";"):
            self._table = None

    def _definition(self, line: bytes) -> None:
        bare = _IDENTIFIER.sub(b"", _STRING.sub(b"''", line))
        body, end, more = bare.partition(b";")
        if more or b"'" in body.replace(b"''", b"") or _ELSEWHERE.search(body):
            raise self._refused(line, "the table would lie, or be read from, elsewhere")
        self._creating = not end

    def _refused(self, line: bytes, why: str) -> Damaged:
        shown = printable(line[:60].decode("utf-8", "replace"))
        return Damaged(
            f"line {self._number} of the dump is refused ({why}): {shown!r}.", self._where,
            "nothing was executed; use another recovery point, and find out who wrote this one",
        )  # fmt: skip


def _unquoted(name: bytes) -> str:
    return name[1:-1].replace(b"``", b"`").decode("utf-8", "surrogateescape")
