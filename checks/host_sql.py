"""The host's own database client as a driver: what SQLAlchemy (PEP 249) needs of one, and no more.

A statement goes to the host, is answered by the client there, and its rows come back: a server that listens on a socket
alone and a file that nobody serves are asked like any other database, nothing is copied, and no driver is installed.
Every statement is a session of its own, for reading only; an answer of more than a few thousand rows is refused.
"""

from __future__ import annotations

import html
import re
import secrets as random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from checks import mariadb, sqlite
from checks.database import READ_TIMEOUT
from checks.mariadb import MariadbTools
from checks.sqlite import SqliteFile
from model.command import printable
from model.errors import Transient

ROWS = 10_000
_FIELD = re.compile(r'<field name="([^"]*)"(?: xsi:nil="true" />|>([^<]*)</field>)')
_ROW = re.compile(r"<row>(.*?)</row>", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(\.\d+)?(e[-+]?\d+)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?:\.\d+)?)?")
_ERROR = re.compile(r"^ERROR (\d+) \(\w+\)(?: at line \d+)?: (.*)$", re.MULTILINE)
_HOLDER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\?""")
_READ_ONLY = "SET SESSION TRANSACTION READ ONLY;\n"

Rows = tuple[tuple[str, ...], list[tuple[Any, ...]]]


class Error(Exception):
    """What went wrong, as PEP 249 has it; the first argument of a MariaDB error is its number."""


class Session(Protocol):
    """Answers statements."""

    def ask(self, statement: str) -> Rows:
        """Column names and rows.

        Raises:
            Error: the database's own message.
        """
        ...

    def literal(self, text: str) -> str:
        """A string literal of its SQL."""
        ...


class MariadbSession:
    """Asks a MariaDB server through the client on the host."""

    def __init__(self, tools: MariadbTools) -> None:
        """Take the tools, which must stay open."""
        self._tools = tools

    def ask(self, statement: str) -> Rows:
        """See `Session`; numbers and moments become what they look like."""
        words = tuple(word for word in self._tools.client(self._tools.asset.database) if word != "--raw")
        text = mariadb.SESSION + _READ_ONLY + statement.rstrip().rstrip(";") + ";\n"
        command = self._tools.command(
            (*words, "--xml"), READ_TIMEOUT, text.encode("utf-8", "surrogateescape")
        )
        result = self._tools.connection.run(command)
        if not result.ok:
            said = _ERROR.search(result.stderr.decode("utf-8", "replace"))
            raise Error(int(said[1]) if said else 0, printable(said[2] if said else result.tail(2))[:300])
        rows = [
            [(html.unescape(name), text) for name, text in _fields(row)] for row in _ROW.findall(result.text)
        ]
        if len(rows) > ROWS or result.truncated:
            raise Error(0, f"more than {ROWS} rows: ask the database for less")
        columns = tuple(name for name, _ in rows[0]) if rows else ("nothing",)
        return columns, [tuple(value for _, value in row) for row in rows]

    def literal(self, text: str) -> str:
        """See `Session`."""
        return mariadb.literal(text)


def _fields(row: str) -> Iterator[tuple[str, Any]]:
    for match in _FIELD.finditer(row):
        yield match[1], None if match[2] is None else _value(html.unescape(match[2]))


def _value(text: str) -> object:
    if (number := _NUMBER.fullmatch(text)) is not None:
        return float(text) if number[2] else Decimal(text) if number[1] else int(text)
    if _MOMENT.fullmatch(text):
        try:
            return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
        except ValueError:  # 0000-00-00
            return text
    return text


class SqliteSession:
    """Asks a SQLite file by what reads SQLite on the host."""

    def __init__(self, file: SqliteFile) -> None:
        """Take the file."""
        self._file = file

    def ask(self, statement: str) -> Rows:
        """See `Session`."""
        (answer,) = self._file.query([statement])
        if answer.error:
            raise Error(answer.error)
        return answer.columns or ("nothing",), list(answer.rows)

    def literal(self, text: str) -> str:
        """See `Session`."""
        return sqlite.literal(text)


_SESSIONS: dict[str, Session] = {}
_LOST: dict[str, Transient] = {}


@contextmanager
def url_of(session: Session) -> Iterator[str]:
    """A URL under which SQLAlchemy reaches a session, for the time of the context; it holds nothing but a number.

    Raises:
        Transient: a statement's connection was lost, whoever asked it.
    """
    key = random.token_hex(8)
    _SESSIONS[key] = session
    try:
        # great-expectations knows MariaDB by the name of its elder sister only.
        kind = "mysql" if isinstance(session, MariadbSession) else "sqlite"
        yield f"{kind}+reinstate://{key}/"
    finally:
        del _SESSIONS[key]
        lost = _LOST.pop(key, None)
    if lost is not None:
        raise lost


class _Cursor:
    """PEP 249, Cursor."""

    arraysize = 1
    rowcount = -1
    lastrowid = None

    def __init__(self, connection: _Connection) -> None:
        self._connection, self._session = connection, connection.session
        self._rows: list[tuple[Any, ...]] = []
        self.description: list[tuple[Any, ...]] | None = None

    def execute(
        self, statement: str, parameters: Mapping[str, object] | Sequence[object] | None = None
    ) -> None:
        """Ask; parameters are put in as literals."""
        if isinstance(parameters, Mapping):
            statement %= {name: _literal(self._session, value) for name, value in parameters.items()}
        elif parameters:
            values = iter(parameters)
            statement = _HOLDER.sub(
                lambda found: _literal(self._session, next(values)) if found[0] == "?" else found[0],
                statement,
            )
        columns, rows = self._connection.ask(statement)
        self._rows = list(rows)
        self.description = [(column, None, None, None, None, None, None) for column in columns]

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next rows."""
        some, self._rows = self._rows[:size], self._rows[size:]
        return some

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The other rows."""
        rest, self._rows = self._rows, []
        return rest

    def close(self) -> None:
        self._rows = []


def _literal(session: Session, value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "1" if value else "0"
        case int() | float() | Decimal():
            return str(value)
        case bytes():
            return f"X'{value.hex()}'"
        case _:
            return session.literal(str(value))


class _Connection:
    """PEP 249, Connection; there is nothing to commit. What was answered once is not asked again: one look."""

    def __init__(self, key: str) -> None:
        self.key, self.session = key, _SESSIONS[key]
        self._known: dict[str, Rows] = {}

    def ask(self, statement: str) -> Rows:
        if statement not in self._known:
            try:
                self._known[statement] = self.session.ask(statement)
            except Transient as error:  # great-expectations takes every exception for an answer
                _LOST[self.key] = error
                raise
        return self._known[statement]

    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def create_function(self, name: str, *_: object) -> None:
        """Functions that great-expectations would add to SQLite; those it uses are added on the host."""

    def close(self) -> None: ...


class _Driver:
    """PEP 249, module."""

    apilevel, threadsafety, paramstyle = "2.0", 1, "pyformat"
    sqlite_version_info, version_info = (3, 40, 0), (1, 0)
    Error = Warning = InterfaceError = DatabaseError = Error
    DataError = OperationalError = IntegrityError = InternalError = ProgrammingError = NotSupportedError = (
        Error
    )

    @staticmethod
    def connect(key: str) -> _Connection:
        return _Connection(key)


class _SqliteDriver(_Driver):
    """SQLAlchemy's own questions to SQLite hold question marks."""

    paramstyle = "qmark"


class HostMariadb(MariaDBDialect):
    """SQLAlchemy's MariaDB over the host's client."""

    name = "mysql"
    driver = "reinstate"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:  # noqa: ANN401 - SQLAlchemy's own signature
        """The driver."""
        return _Driver

    def create_connect_args(self, url: sqlalchemy.URL) -> Any:  # noqa: ANN401 - SQLAlchemy's own signature
        """The session's number."""
        return (url.host,), {}

    def _extract_error_code(self, exception: BaseException) -> int | None:
        return exception.args[0] if exception.args and isinstance(exception.args[0], int) else None

    def _detect_charset(self, connection: object) -> str:  # noqa: ARG002 - SQLAlchemy's own signature
        return "utf8mb4"

    def do_ping(self, dbapi_connection: object) -> bool:  # noqa: ARG002 - SQLAlchemy's own signature
        """There is nothing to lose."""
        return True


class HostSqlite(SQLiteDialect):
    """SQLAlchemy's SQLite over what reads it on the host."""

    driver = "reinstate"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:  # noqa: ANN401 - SQLAlchemy's own signature
        """The driver."""
        return _SqliteDriver

    def create_connect_args(self, url: sqlalchemy.URL) -> Any:  # noqa: ANN401 - SQLAlchemy's own signature
        """The session's number."""
        return (url.host,), {}

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:  # noqa: ANN401 - SQLAlchemy's own
        version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar())
        return tuple(int(part) for part in version.split(".") if part.isdigit())


registry.register("mysql.reinstate", __name__, "HostMariadb")
registry.register("sqlite.reinstate", __name__, "HostSqlite")
