"""PostgreSQL through the host's own psql: SQL on stdin, passwords in a file of mode 600, never in argv."""

from __future__ import annotations

import json
import re
import secrets as random
from types import TracebackType
from typing import Any, Self

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from model.assets import PostgresAsset
from model.command import Command, Result
from model.errors import BadInput, PreconditionFailed, Transient

QUERY_TIMEOUT = 120.0
"""Seconds for one short query."""

_REMOVE = 'rm -f -- "$1"'


def identifier(name: str) -> str:
    """An SQL identifier, quoted (SQL-92, 5.2).

    Raises:
        BadInput: it is empty or holds a NUL.
    """
    if not name or "\0" in name:
        raise BadInput(
            "an SQL name is empty or holds a NUL.", repr(name), "check the plan's database and table names"
        )
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string literal that no setting changes the meaning of."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _pgpass(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")


class Tools:
    """The client tools of one database asset; a context manager, because its password file must go again.

    With a password, the tools run as root (or the login) and read a password file below the state directory; with
    `os_user` and no password they run as that user, by peer authentication.
    """

    def __init__(self, connection: Connection, asset: PostgresAsset, secrets: Secrets) -> None:
        """Remember; nothing is read or written before the context is entered."""
        self.connection, self.asset = connection, asset
        self._secrets = secrets
        self.password_file = ""

    def __enter__(self) -> Self:
        """Write the password file where the plan has a password."""
        if self.asset.password is not None:
            password = self._secrets.resolve(self.asset.password)
            self.password_file = f"{self.connection.host.state_dir}/pgpass-{random.token_hex(8)}"
            line = f"*:*:*:{_pgpass(self.asset.user)}:{_pgpass(password)}\n"
            self.connection.write_file(self.password_file, line.encode(), 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the password file; a lost connection leaves a file only root can read, which the next one ignores."""
        if self.password_file and not isinstance(error, Transient):
            self.connection.run(Command(("sh", "-c", _REMOVE, "reinstate", self.password_file), sudo=True))

    def command(
        self, tool: str, *words: str, database: str | None = None, stdin: bytes | None = None, timeout: float
    ) -> Command:
        """A command of one of the tools, connected to the asset's server.

        Args:
            tool: `psql`, `pg_dump`, `pg_restore` …
            words: its own arguments.
            database: another database than the asset's; "" gives none (pg_restore --list).
            stdin: bytes for its standard input.
            timeout: seconds.
        """
        asset = self.asset
        program = f"{asset.bin_dir.rstrip('/')}/{tool}" if asset.bin_dir else tool
        name = asset.database if database is None else database
        where = (
            f"--host={asset.server}", f"--port={asset.port}", f"--username={asset.user}", "--no-password",
            *((f"--dbname={name}",) if name else ()),
        )  # fmt: skip
        env = {"LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "reinstate", "PGCLIENTENCODING": "UTF8"}
        if self.password_file:
            env["PGPASSFILE"] = self.password_file
        as_user = asset.os_user if asset.os_user and not self.password_file else ""
        return Command(
            (program, *where, *words), stdin=stdin, sudo=True, user=as_user, env=env, timeout=timeout
        )

    def psql(
        self, sql: str, *, database: str | None = None, stop: bool = True, timeout: float = QUERY_TIMEOUT
    ) -> Result:
        """Run a script; a failing statement is in the result, not an error.

        Raises:
            Transient: the connection to the host was lost.
        """
        words = (
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            f"--set=ON_ERROR_STOP={int(stop)}",
            "--file=-",
        )
        result = self.connection.run(
            self.command("psql", *words, database=database, stdin=sql.encode(), timeout=timeout),
            limit=64 << 20,
        )
        if result.status is None:
            raise Transient("the connection was lost during a query.", self.connection.name, "run it again")
        return result

    def rows(
        self, select: str, *, database: str | None = None, timeout: float = QUERY_TIMEOUT
    ) -> list[dict[str, Any]]:
        """The rows of one SELECT, as JSON made by the server.

        Raises:
            PreconditionFailed: the server does not answer, or refuses the query; the message is its own.
            Transient: the connection to the host was lost.
        """
        sql = f"SELECT coalesce(json_agg(r), '[]') FROM (\n{select}\n) r;\n"  # noqa: S608 - ours, not input
        result = self.psql(sql, database=database, timeout=timeout)
        if not result.ok:
            raise PreconditionFailed(
                f"PostgreSQL did not answer a query: {result.tail(3)}",
                f"{self.connection.name}:{self.asset.database if database is None else database}",
                "start the server; check server, port, user and password of the database in the plan",
            )
        answer: list[dict[str, Any]] = json.loads(result.text)
        return answer

    def databases(self) -> set[str]:
        """Names of the server's databases, asked through `postgres`."""
        return {row["datname"] for row in self.rows("SELECT datname FROM pg_database", database="postgres")}


_VERSION = re.compile(r"(\d+)\.(\d+)")


def client_version(tools: Tools, tool: str) -> tuple[int, int]:
    """Major and minor version of a client tool on the host.

    Raises:
        PreconditionFailed: the tool is not there or does not run.
    """
    program = tools.command(tool, "--version", database="", timeout=30.0)
    result = tools.connection.run(Command((program.argv[0], "--version"), timeout=30.0))
    match = _VERSION.search(result.text)
    if not result.ok or match is None:
        raise PreconditionFailed(
            f"{tool} does not run: {result.tail(2)}", tools.connection.name,
            "install the PostgreSQL client, or set `bin_dir` of the database in the plan",
        )  # fmt: skip
    return int(match[1]), int(match[2])
