"""MariaDB through the host's own client: SQL on stdin, passwords in a file of mode 600, never in argv."""

from __future__ import annotations

import json
import secrets as random
from types import TracebackType
from typing import Any, Self

from blocks.hosts import elevate
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from model.assets import MariadbAsset
from model.command import Command, Result
from model.errors import BadInput, PreconditionFailed, Transient

QUERY_TIMEOUT = 120.0
"""Seconds for one short query."""

SESSION = "SET SESSION sql_mode = '', SESSION max_statement_time = 0, SESSION lock_wait_timeout = 30;\n"
"""Begins every script: no setting of the server changes what quotes and backslashes mean."""

CLIENT = (
    "--batch", "--raw", "--skip-column-names", "--skip-reconnect", "--binary-mode", "--loose-sandbox",
    "--connect-timeout=10", "--default-character-set=utf8mb4",
)  # fmt: skip
"""Words of the client: none of its own commands (`\\!`, `source`) is obeyed; clients too old for the sandbox warn."""

_REMOVE = 'rm -f -- "$1"'


def identifier(name: str) -> str:
    """An SQL identifier, quoted.

    Raises:
        BadInput: it is empty or holds a NUL.
    """
    if not name or "\0" in name:
        raise BadInput(
            "an SQL name is empty or holds a NUL.", repr(name), "check the plan's database and table names"
        )
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """An SQL string literal; `SESSION` makes sure that backslashes escape."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def _option(value: str) -> str:
    """A value as option files have it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class MariadbTools:
    """The client tools of one database asset; a context manager, because its password file must go again.

    With a password, the tools run as root (or the login) and read an option file below the state directory; with
    `os_user` and no password they run as that user, whom the server knows by its socket.
    """

    def __init__(self, connection: Connection, asset: MariadbAsset, secrets: Secrets) -> None:
        """Remember; nothing is read or written before the context is entered."""
        self.connection, self.asset = connection, asset
        self._secrets = secrets
        self.option_file = ""

    def __enter__(self) -> Self:
        """Write the option file where the plan has a password."""
        if self.asset.password is not None:
            password = self._secrets.resolve(self.asset.password)
            if "\n" in password or "\0" in password:
                raise BadInput("a password holds a newline or a NUL.", self.asset.password, "give one line")
            self.option_file = f"{self.connection.host.state_dir}/my-{random.token_hex(8)}.cnf"
            text = f"[client]\npassword={_option(password)}\n"
            self.connection.write_file(self.option_file, text.encode(), 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the option file; a lost connection leaves a file only root can read, which the next one ignores."""
        if self.option_file and not isinstance(error, Transient):
            self.connection.run(Command(("sh", "-c", _REMOVE, "reinstate", self.option_file), sudo=True))

    def words(self, tool: str, *, protocol: bool = True) -> tuple[str, ...]:
        """Program and how it reaches the server, as the right user of the host when started by root.

        Args:
            tool: its name, or its path.
            protocol: it knows the option of that name.
        """
        asset = self.asset
        program = f"{asset.bin_dir.rstrip('/')}/{tool}" if asset.bin_dir and "/" not in tool else tool
        by = "socket" if asset.server.startswith("/") else "tcp"
        reach = (
            *((f"--protocol={by}",) if protocol else ()),
            *(
                (f"--socket={asset.server}",)
                if by == "socket"
                else (f"--host={asset.server}", f"--port={asset.port}")
            ),
        )
        options = f"--defaults-file={self.option_file}" if self.option_file else "--no-defaults"
        host = self.connection.host
        user = asset.os_user if asset.os_user and not self.option_file else ""
        before = elevate.prefix(host, elevate.keeper(host), user) if user else ()
        return (*before, program, options, *reach, f"--user={asset.user}")

    def client(self, database: str = "") -> tuple[str, ...]:
        """The words of the client, reading a script on its standard input."""
        return (*self.words("mariadb"), *CLIENT, *((f"--database={database}",) if database else ()))

    def command(self, words: tuple[str, ...], timeout: float, stdin: bytes | None = None) -> Command:
        """A command made of these words; files it is given are read by root, the tools in it run as the right user."""
        return Command(words, stdin=stdin, sudo=True, env={"LC_ALL": "C"}, timeout=timeout)

    def script(
        self, sql: str, *, database: str = "", force: bool = False, timeout: float = QUERY_TIMEOUT
    ) -> Result:
        """Run a script; a failing statement is in the result, not an error. `SESSION` is its first line.

        Args:
            sql: statements, each ended by a semicolon.
            database: the default database; empty: none.
            force: go on after a statement that failed.
            timeout: seconds.

        Raises:
            Transient: the connection to the host was lost.
        """
        words = (*self.client(database), *(("--force",) if force else ()))
        result = self.connection.run(
            self.command(words, timeout, (SESSION + sql).encode("utf-8", "surrogateescape")), limit=64 << 20
        )
        if result.status is None:
            raise Transient("the connection was lost during a query.", self.connection.name, "run it again")
        return result

    def rows(
        self, select: str, *, database: str = "", timeout: float = QUERY_TIMEOUT
    ) -> list[dict[str, Any]]:
        """The rows of one SELECT of a single `JSON_OBJECT`.

        Raises:
            PreconditionFailed: the server does not answer, or refuses the query; the message is its own.
            Transient: the connection to the host was lost.
        """
        result = self.script(select.rstrip().rstrip(";") + ";\n", database=database, timeout=timeout)
        if not result.ok:
            raise PreconditionFailed(
                f"MariaDB did not answer a query: {said(result)}",
                f"{self.connection.name}:{database or self.asset.database}",
                "start the server; check server, port, user and password of the database in the plan",
            )
        return [json.loads(line) for line in result.text.splitlines() if line]

    def databases(self) -> set[str]:
        """Names of the server's databases."""
        select = "SELECT JSON_OBJECT('name', schema_name) FROM information_schema.schemata"
        return {row["name"] for row in self.rows(select)}

    def tables(self, database: str) -> list[str]:
        """Names of a database's tables, sorted; no views."""
        return [row["name"] for row in self.rows(_named("tables", database, "table_type NOT LIKE '%VIEW%'"))]

    def views(self, database: str) -> list[str]:
        """Names of a database's views, sorted."""
        return [row["name"] for row in self.rows(_named("tables", database, "table_type LIKE '%VIEW%'"))]


def _named(what: str, database: str, where: str) -> str:
    return (
        f"SELECT JSON_OBJECT('name', table_name) FROM information_schema.{what} "  # noqa: S608 - a literal, quoted
        f"WHERE table_schema = {literal(database)} AND {where} ORDER BY BINARY table_name"
    )


def said(result: Result) -> str:
    """What the client complained about, without the statement it repeats."""
    lines = result.stderr.decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith("ERROR")]
    return Result(result.command, result.status, b"", "\n".join(errors or lines).encode()).tail(3)
