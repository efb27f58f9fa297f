"""A PostgreSQL database: does it answer, are its checksums good, can every row of every table be read?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.postgres import Tools, identifier, literal
from model.assets import PostgresAsset
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
_MARK = re.compile(r"^@(\d+)$")
_PAGE = re.compile(r"invalid page|page verification failed|checksum")


@dataclass(frozen=True)
class DatabaseData:
    """What was seen.

    Attributes:
        unreachable: why it does not answer; then nothing else is known.
        checksums: whether the cluster keeps data checksums.
        failures: checksum failures the server counted since its statistics were reset.
        errors: table → the server's message when reading it.
        counts: rows of the tables that could be read.
    """

    unreachable: str = ""
    version: str = ""
    checksums: bool = False
    failures: int = 0
    tables: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    counts: tuple[TableCount, ...] = ()


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
            return DatabaseData(unreachable=error.what)
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
    """Read each table to /dev/null in one session; messages by the table's number."""
    script = ["\\o /dev/null"]
    for number, table in enumerate(quoted):
        script += [f"\\warn @{number}", f"COPY (SELECT * FROM ONLY {table}) TO STDOUT;"]  # noqa: S608 - quoted
    script.append(f"\\warn @{len(quoted)}")
    result = tools.psql("\n".join(script) + "\n", stop=False, timeout=READ_TIMEOUT)
    said: dict[int, list[str]] = {}
    current = -1
    for line in result.stderr.decode("utf-8", "replace").splitlines():
        mark = _MARK.match(line)
        if mark is not None:
            current = int(mark[1])
        elif line.strip():
            said.setdefault(current, []).append(line.strip())
    errors = {
        number: next(line for line in lines if "ERROR" in line or "FATAL" in line or "PANIC" in line)
        for number, lines in said.items()
        if number >= 0 and any("ERROR" in line or "FATAL" in line or "PANIC" in line for line in lines)
    }
    # A server that went away in the middle leaves the tables after it unread: they are not known to be good.
    for number in range(current + 1, len(quoted)):
        errors[number] = "the server went away before this table could be read"
    return {number: text for number, text in errors.items() if number < len(quoted)}


def judge(name: str, asset: PostgresAsset, data: DatabaseData, manifest: Manifest | None) -> CheckResult:
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
    if data.unreachable:
        findings.append(
            finding(Code.DATABASE_UNREACHABLE, asset.database, data.unreachable, Degree.TOTAL, "it answers")
        )
    for table, message in data.errors:
        page = _PAGE.search(message) is not None
        code = Code.DATABASE_CHECKSUM_FAILED if page else Code.DATABASE_TABLE_UNREADABLE
        findings.append(finding(code, table, message, Degree.SERIOUS, "every row can be read"))
    had = sum(count.rows for count in manifest.tables) if manifest else 0
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
    notes = []
    if not data.unreachable and not data.checksums:
        notes.append(
            f"{asset.database}: the cluster keeps no data checksums, so altered values are not noticed"
        )
    return judged("database", asset.host, name, len(data.tables), tuple(findings), "tables", tuple(notes))
