"""A PostgreSQL database: does it answer, are its checksums good, can every row of every table be read?"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.postgres import Tools, identifier, literal
from model.assets import DatabaseAsset, PostgresAsset
from model.errors import PreconditionFailed
from model.finding import CheckResult, Code, Degree, Finding, judged
from model.manifest import Manifest, TableCount

READ_TIMEOUT = 4 * 3600.0
"""Seconds to read the whole database."""

TABLES = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%'
  AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
FACTS = """
SELECT current_setting('data_checksums') AS checksums, current_setting('server_version') AS version,
       coalesce((SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()), 0) AS failures
"""
COMEBACK = 60.0
"""Seconds a server that crashed on a damaged page gets to recover."""

_MARK = re.compile(r"^@\d+$")
_STATE = re.compile(r"^psql:[^:]*:\d+: [^:]+: +([0-9A-Z]{5}): (.*)$")
_PAGE = re.compile(r"^XX00[12] ")
"""data_corrupted and index_corrupted (PostgreSQL, Appendix A): `invalid page in block`, a checksum that fails."""


@dataclass(frozen=True)
class DatabaseData:
    """What was seen.

    Attributes:
        unreachable: why it does not answer; then nothing else is known.
        absent: the server answers, and has no such database.
        checksums: whether the cluster keeps data checksums.
        failures: checksum failures the server counted since its statistics were reset.
        errors: table → the server's message when reading it.
        counts: rows of the tables that could be read.
        torn: tables whose pages are damaged on the disk.
        orphans: table → rows that refer to rows that are not there.
        unchecked: what this kind of database leaves out, where it is not PostgreSQL.
    """

    unreachable: str = ""
    absent: bool = False
    version: str = ""
    checksums: bool = False
    failures: int = 0
    tables: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    counts: tuple[TableCount, ...] = ()
    torn: frozenset[str] = frozenset()
    orphans: tuple[tuple[str, int], ...] = ()
    unchecked: tuple[str, ...] = ()


def collect(connection: Connection, asset: PostgresAsset, secrets: Secrets) -> DatabaseData:
    """Connect and read every table to its end, on the host; no row travels.

    Raises:
        Transient: the connection to the host was lost.
    """
    with Tools(connection, asset, secrets) as tools:
        try:
            facts = tools.rows(FACTS)[0]
            found = tools.rows(TABLES)
        except PreconditionFailed as error:
            return DatabaseData(unreachable=error.what, absent=_is_absent(tools, asset.database))
        names = [f"{row['schema']}.{row['name']}" for row in found]
        quoted = [f"{identifier(row['schema'])}.{identifier(row['name'])}" for row in found]
        errors = _read_all(tools, quoted)
        good = [number for number in range(len(names)) if number not in errors]
        return DatabaseData(
            version=str(facts["version"]),
            checksums=facts["checksums"] == "on",
            failures=int(facts["failures"]),
            tables=tuple(names),
            errors=tuple((names[number], message) for number, message in sorted(errors.items())),
            counts=row_counts(tools, [(names[n], quoted[n]) for n in good]),
        )


def _is_absent(tools: Tools, database: str) -> bool:
    try:
        return database not in tools.databases()
    except PreconditionFailed:
        return False


def row_counts(
    tools: Tools, tables: list[tuple[str, str]], database: str | None = None
) -> tuple[TableCount, ...]:
    """Rows of tables given as (name, quoted name)."""
    if not tables:
        return ()
    union = " UNION ALL ".join(
        f"SELECT {literal(name)} AS name, count(*) AS rows FROM ONLY {quoted}"  # noqa: S608 - both are quoted
        for name, quoted in tables
    )
    rows = tools.rows(union + " ORDER BY 1", database=database, timeout=READ_TIMEOUT)
    return tuple(TableCount(table=row["name"], rows=row["rows"]) for row in rows)


def all_tables(tools: Tools, database: str | None = None) -> list[tuple[str, str]]:
    """All user tables as (name, quoted name)."""
    return [
        (f"{row['schema']}.{row['name']}", f"{identifier(row['schema'])}.{identifier(row['name'])}")
        for row in tools.rows(TABLES, database=database)
    ]


def _read_all(tools: Tools, quoted: list[str]) -> dict[int, str]:
    """Read each table to /dev/null; the server's messages by the table's number.

    A table that takes the server down ends the session; the tables after it are read in a new one.

    Raises:
        PreconditionFailed: the server did not come back.
    """
    errors: dict[int, str] = {}
    start = 0
    while start < len(quoted):
        start += _read_some(tools, quoted, start, errors)
        if start < len(quoted):
            wait_for_server(lambda: tools.rows("SELECT 1 AS one"))
    return errors


def _read_some(tools: Tools, quoted: list[str], start: int, errors: dict[int, str]) -> int:
    """Read tables in one session until all are read or it breaks; returns how many were dealt with."""
    script = ["\\o /dev/null", "\\set VERBOSITY verbose"]
    for number, table in enumerate(quoted[start:], start=start):
        copy = f"COPY (SELECT * FROM ONLY {table}) TO STDOUT;"  # noqa: S608 - quoted by `identifier`
        script += [copy, f"\\warn @{number}"]
    result = tools.psql("\n".join(script) + "\n", stop=False, timeout=READ_TIMEOUT)
    said: list[str] = []
    done = 0
    for line in result.stderr.decode("utf-8", "replace").splitlines():
        if _MARK.match(line) is None:
            said.append(line.strip())
            continue
        if error := _error(said):
            errors[start + done] = error
        said = []
        done += 1
    if start + done < len(quoted):
        why = _error(said) or next((line for line in said if line), f"psql ended with {result.status}")
        errors[start + done] = f"the server broke off: {why}"
        done += 1
    return done


def _error(said: list[str]) -> str:
    """The state code and message of the first error; psql's own variables do not know of errors within COPY.

    The code does not depend on the language of the server's messages; classes 00 to 02 are notices and warnings.
    """
    for line in said:
        state = _STATE.match(line)
        if state is not None and state[1][:2] not in {"00", "01", "02"}:
            return f"{state[1]} {state[2]}"
    return ""


def wait_for_server(ask: Callable[[], object]) -> None:
    """Wait until the server answers again after a crash.

    Args:
        ask: raises `PreconditionFailed` while it does not.
    """
    deadline = time.monotonic() + COMEBACK
    while True:
        try:
            ask()
        except PreconditionFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def judge(name: str, asset: DatabaseAsset, data: DatabaseData, manifest: Manifest | None) -> CheckResult:
    """Turn what was seen into findings.

    Args:
        name: the asset's name.
        asset: the asset.
        data: what `collect` saw.
        manifest: newest backup's manifest; a database without rows is only damaged when the backup had some.
    """

    def finding(code: Code, subject: str, actual: str, degree: Degree, expected: str = "") -> Finding:
        return Finding(
            code=code,
            host=asset.host,
            asset=name,
            subject=subject,
            degree=degree,
            expected=expected,
            actual=actual,
        )

    findings: list[Finding] = []
    held = {count.table: count.rows for count in manifest.tables} if manifest else {}
    if data.absent:
        findings.append(
            finding(
                Code.DATABASE_EMPTY, asset.database, "there is no such database", Degree.TOTAL, "it exists"
            )
        )
    elif data.unreachable:
        findings.append(
            finding(Code.DATABASE_UNREACHABLE, asset.database, data.unreachable, Degree.TOTAL, "it answers")
        )
    for table, message in data.errors:
        page = table in data.torn or _PAGE.match(message)
        code = Code.DATABASE_CHECKSUM_FAILED if page else Code.DATABASE_TABLE_UNREADABLE
        findings.append(finding(code, table, message, Degree.SERIOUS, "every row can be read"))
    had = sum(held.values())
    if not data.unreachable and not data.errors and had and not sum(count.rows for count in data.counts):
        findings.append(
            finding(
                Code.DATABASE_EMPTY,
                asset.database,
                "no rows at all",
                Degree.TOTAL,
                f"{had} rows in the backup",
            )
        )
    elif not data.unreachable:
        gone = [table for table, rows in sorted(held.items()) if rows and table not in data.tables]
        findings += [
            finding(
                Code.DATABASE_TABLE_UNREADABLE,
                table,
                "gone",
                Degree.SERIOUS,
                f"{held[table]} rows in the backup",
            )
            for table in gone
        ]
    before = {count.table: count.orphans for count in manifest.tables} if manifest else {}
    findings += [
        finding(
            Code.DATABASE_INCONSISTENT, table, f"{count} rows refer to rows that are not there", Degree.SERIOUS,
            f"{before.get(table, 0)} when it was backed up",
        )
        for table, count in data.orphans
        if manifest is not None and count > before.get(table, 0)
    ]  # fmt: skip
    return judged(
        "database",
        asset.host,
        name,
        len(data.tables),
        tuple(findings),
        "tables",
        tuple(_not_checked(asset, data)),
    )


def _not_checked(asset: DatabaseAsset, data: DatabaseData) -> Iterator[str]:
    if data.unreachable:
        return
    if data.unchecked:
        yield from data.unchecked
        return
    yield f"{asset.database}: indexes, and pages the server already held in memory"
    if not data.checksums:
        yield f"{asset.database}: the cluster keeps no data checksums, so altered values are not noticed"
    if data.failures and not data.errors:
        yield (
            f"{asset.database}: the server counted {data.failures} checksum failures before, and no table shows one "
            "now: look at the indexes with pg_amcheck"
        )
