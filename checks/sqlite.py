"""A SQLite database on its host: asked, digested and copied there by Python's own library, else by the `sqlite3` tool.

No row of a large table travels: answers are counts, messages and digests. The file is opened for reading only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.hosts.base import Connection
from checks.database import READ_TIMEOUT, DatabaseData
from checks.stat import collect as stat_collect
from model.assets import SqliteAsset
from model.command import Command, Result, printable
from model.errors import PreconditionFailed, Transient
from model.manifest import FileType, TableCount

PROBE = Path(__file__).with_name("sqlite_probe.py")
ROWS = 10_000
"""Rows of an answer at most; the probe has the same limit."""

Cell = str | int | float | bytes | None

# Status 97: no Python with SQLite.
_PYTHON = r"""
probe=$1; shift
for python in python3 /usr/libexec/platform-python; do
    command -v "$python" >/dev/null 2>&1 || continue
    exec "$python" -I -S -c "$probe" "$@"
done
exit 97
"""
_TOOL = 'exec sqlite3 -batch -bail -readonly -cmd ".timeout 30000" -cmd ".mode quote" -cmd ".headers on" "$1"'
_TOOL_DIGEST = r"""
{
    status=$({
        { sqlite3 -batch -bail -readonly -list -noheader "$1"; printf %s "$?" >&3; } | sha256sum >&4
    } 3>&1)
} 4>&1
exit "$status"
"""
_TOOL_BACKUP = r"""
sqlite3 -batch -bail -cmd ".timeout 60000" "$1" ".backup \"$2\"" && rm -f -- "$2-wal" "$2-shm" "$2-journal"
"""
_LITERAL = re.compile(r"unistr\('(?:[^']|'')*'\)|'(?:[^']|'')*'|X'[0-9A-Fa-f]*'|[^,\n]+", re.IGNORECASE)

TABLES = """
SELECT name, coalesce(sql, '') FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
AND upper(ltrim(sql)) NOT LIKE 'CREATE VIRTUAL%' ORDER BY name
"""


@dataclass(frozen=True)
class Answer:
    """What one statement gave: rows, or why there are none."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    error: str = ""


def identifier(name: str) -> str:
    """An SQL identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


class SqliteFile:
    """One database file on a host."""

    def __init__(self, connection: Connection, path: str, user: str = "") -> None:
        """Remember; nothing is read before a question is asked.

        Args:
            connection: to the host.
            path: of the file there.
            user: who opens it; empty: the login.
        """
        self.connection, self.path, self.user = connection, path, user
        self._python: bool | None = None

    def query(self, statements: Sequence[str], timeout: float = READ_TIMEOUT) -> list[Answer]:
        """The answers to statements, in one session; one that fails has its message, and the others go on.

        Raises:
            PreconditionFailed: neither Python's library nor the tool is there, or the file cannot be opened.
            Transient: the connection to the host was lost.
        """
        answers = self._probe("query", statements, timeout)
        if answers is not None:
            return [
                Answer(
                    tuple(one.get("columns", ())),
                    tuple(tuple(map(_cell, row)) for row in one.get("rows", ())),
                    printable(str(one.get("error", "")))[:300],
                )
                for one in answers
            ]
        return [self._tool(statement, timeout) for statement in statements]

    def digest(self, statements: Sequence[str]) -> list[str]:
        """SHA-256 over the single-column rows of statements; empty where one failed.

        Raises:
            PreconditionFailed, Transient: see `query`.
        """
        answers = self._probe("digest", statements, READ_TIMEOUT)
        if answers is not None:
            return [str(one.get("sha256", "")) for one in answers]
        results = [
            self._run(("sh", "-c", _TOOL_DIGEST, "reinstate-sqlite", self.path), f"{one};\n".encode())
            for one in statements
        ]
        return [result.text[:64] if result.ok else "" for result in results]

    def backup(self, target: str) -> None:
        """Copy the database of one moment to a new file on the host, also while others write to it.

        Raises:
            PreconditionFailed: it cannot be copied: no tool, no room, a damaged file.
        """
        result = self._python_run("backup", b"", target)
        if result is None:
            if re.search(r'["\\]', target):
                raise PreconditionFailed("the state directory has a quote in its name.", target, "move it")
            result = self._run(("sh", "-c", _TOOL_BACKUP, "reinstate-sqlite", self.path, target))
        if not result.ok:
            raise PreconditionFailed(
                f"the database cannot be copied: {result.tail(2)}.",
                f"{self.connection.name}:{self.path}",
                "look at the message (room in the state directory, a damaged file)",
            )

    def _probe(self, what: str, statements: Sequence[str], timeout: float) -> list[dict[str, Any]] | None:
        stdin = "".join(json.dumps(one) + "\n" for one in statements).encode()
        result = self._python_run(what, stdin, timeout=timeout)
        if result is None:
            return None
        answers = [json.loads(line) for line in result.text.splitlines()]
        if not result.ok or len(answers) != len(statements):
            raise self._unreadable(result)
        return answers

    def _python_run(
        self, what: str, stdin: bytes, *more: str, timeout: float = READ_TIMEOUT
    ) -> Result | None:
        """None where the host has no Python that knows SQLite."""
        if self._python is False:
            return None
        text = PROBE.read_text(encoding="utf-8")
        result = self._run(
            ("sh", "-c", _PYTHON, "reinstate-sqlite", text, what, self.path, *more), stdin, timeout
        )
        self._python = result.status != 97
        return result if self._python else None

    def _tool(self, statement: str, timeout: float) -> Answer:
        words = ("sh", "-c", _TOOL, "reinstate-sqlite", self.path)
        result = self._run(words, f"{statement};\n".encode("utf-8", "surrogateescape"), timeout)
        if result.status == 127:
            raise self._unreadable(result)
        if not result.ok:
            return Answer(error=printable(" ".join(result.tail(4).split()))[:300])
        head, *rows = _cells(result.stdout.decode("utf-8", "surrogateescape")) or [()]
        if len(rows) > ROWS or result.truncated:
            return Answer(error=f"more than {ROWS} rows: ask the database for less")
        return Answer(tuple(str(name) for name in head), tuple(rows))

    def _run(self, words: tuple[str, ...], stdin: bytes = b"", timeout: float = READ_TIMEOUT) -> Result:
        command = Command(
            words, stdin=stdin, sudo=True, user=self.user, env={"LC_ALL": "C.UTF-8"}, timeout=timeout
        )
        result = self.connection.run(command, limit=64 << 20)
        if result.status is None:
            raise Transient("the connection was lost during a query.", self.connection.name, "run it again")
        return result

    def _unreadable(self, result: Result) -> PreconditionFailed:
        return PreconditionFailed(
            f"SQLite cannot open it: {result.tail(2)}.",
            f"{self.connection.name}:{self.path}",
            "install python3 or sqlite3 on the host; look whether the file and its folder can be read",
        )


def _cell(value: object) -> Cell:
    if isinstance(value, dict):
        return bytes.fromhex(str(value["hex"]))
    return value if isinstance(value, str | int | float) else None


def _cells(text: str) -> list[tuple[Cell, ...]]:
    """Rows as the tool's `quote` mode prints them: SQL literals with commas between."""
    rows: list[tuple[Cell, ...]] = []
    row: list[Cell] = []
    at = 0
    while at < len(text):
        match = _LITERAL.match(text, at)
        if match is None:
            break
        row.append(_value(match[0]))
        at = match.end()
        if text[at : at + 1] != ",":
            rows.append(tuple(row))
            row = []
        at += 1
    return rows


def _value(word: str) -> Cell:
    if word.startswith("'"):
        return word[1:-1].replace("''", "'")
    if word[:2].upper() == "X'":
        return bytes.fromhex(word[2:-1])
    if word.lower().startswith("unistr("):
        inner = word[8:-2].replace("''", "'")
        return re.sub(r"\\u([0-9a-f]{4})|\\(\\)", lambda m: chr(int(m[1], 16)) if m[1] else "\\", inner)
    if word == "NULL":
        return None
    return int(word) if re.fullmatch(r"-?\d+", word) else float(word)


def digest_of(table: str, columns: Sequence[str], sql: str) -> str:
    """The statement whose single column, line by line, is the content of a table in a steady order."""
    line = " || ',' || ".join(f"quote({identifier(column)})" for column in columns)
    order = "1" if re.search(r"WITHOUT\s+ROWID", sql, re.IGNORECASE) else "rowid"
    return f"SELECT {line} FROM {identifier(table)} ORDER BY {order}"  # noqa: S608 - quoted


def collect(connection: Connection, asset: SqliteAsset) -> DatabaseData:
    """Check the whole file, its keys and every table, on the host.

    Raises:
        PreconditionFailed: the host has nothing that reads SQLite. Transient: the connection to the host was lost.
    """
    if stat_collect(connection, [asset.path], "none")[asset.path].type is FileType.ABSENT:
        return DatabaseData(unreachable="there is no such file", absent=True)
    return look(SqliteFile(connection, asset.path, asset.os_user))


def look(file: SqliteFile) -> DatabaseData:
    """What SQLite says of a file: its own check, foreign keys, and the rows of each table."""
    path = file.path
    try:
        version, listed, integrity, foreign = file.query(
            (
                "SELECT sqlite_version()",
                TABLES,
                "PRAGMA integrity_check(20)",
                'SELECT "table", count(*) FROM pragma_foreign_key_check GROUP BY 1',
            )
        )
    except PreconditionFailed as error:
        if "unable to open" not in error.what and "not a database" not in error.what:
            raise
        return DatabaseData(
            tables=(path,), errors=((path, error.what),), torn=frozenset({path}), unchecked=(path,)
        )
    errors: dict[str, str] = {}
    messages = [str(row[0]) for row in integrity.rows if row[0] != "ok"]
    if wrong := integrity.error or listed.error or "; ".join(messages):
        errors[path] = printable(" ".join(wrong.split()))[:300]
    tables = [str(row[0]) for row in listed.rows]
    counted = file.query([f"SELECT count(*) FROM {identifier(table)}" for table in tables])  # noqa: S608 - quoted
    counts = []
    for table, answer in zip(tables, counted, strict=True):
        if answer.error:
            errors[table] = answer.error
        else:
            counts.append(TableCount(table=table, rows=int(str(answer.rows[0][0]))))
    return DatabaseData(
        version=str(version.rows[0][0]) if version.rows else "",
        checksums=True,
        tables=tuple(tables),
        errors=tuple(sorted(errors.items())),
        counts=tuple(counts),
        torn=frozenset({path}) & set(errors),
        orphans=tuple((str(row[0]), int(str(row[1]))) for row in foreign.rows),
        unchecked=(
            f"{path}: SQLite keeps no checksums, so an altered value that no index covers is not noticed",
            *([f"{path}: foreign keys: {foreign.error}"] if foreign.error else []),
        ),
    )


def recorded(file: SqliteFile, data: DatabaseData) -> tuple[TableCount, ...]:
    """The counts with a digest of each table's content: of a file nobody writes to."""
    sql = {str(row[0]): str(row[1]) for row in file.query([TABLES])[0].rows}
    names = [count.table for count in data.counts]
    infos = file.query([f"PRAGMA table_info({identifier(name)})" for name in names])
    columns = [[str(row[1]) for row in info.rows] for info in infos]
    digests = file.digest(
        [digest_of(name, columns[number], sql.get(name, "")) for number, name in enumerate(names)]
    )
    orphans = dict(data.orphans)
    return tuple(
        count.model_copy(update={"checksum": digest, "orphans": orphans.get(count.table, 0)})
        for count, digest in zip(data.counts, digests, strict=True)
    )
