"""Bringing back rows that a person deleted or changed: from the moment before, beside, into the live tables.

One transaction, with triggers and reference checks off and every reference of what came back proven before its end.
What was written since stays: only keys that are gone come back, and whatever conflicts with a newer row is counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.postgres import Tools
from model.assets import PostgresAsset
from model.canonical import digest
from model.command import Command, Result, printable
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.manifest import RecoveryPoint
from model.mistake import Mistake, TableDifference
from model.proposal import RestoreRows
from model.supplies import MistakeSupply, PointSupply
from tasks import rows_sql
from tasks.beside import Beside, Step, beside, socket_of
from tasks.exchange import Layout, effect_of
from tasks.performed import Performed
from tasks.rehearsal import Rehearsal
from tasks.rows_sql import SETTINGS, Table
from tasks.staging import Progress

SECONDS = 12 * 3600.0


def reaching(points: Sequence[PointSupply], mistake: Mistake, machine_id: str) -> list[RecoveryPoint]:
    """The points a mistake's moment can be reached from, newest first: complete before it, and of this machine."""
    own = [
        one.point
        for one in points
        if one.asset == mistake.asset
        and one.manifest.format == "pgbackrest"
        and one.manifest.machine_id == machine_id
        and (mistake.at is None or one.point.taken_at < mistake.at)
    ]
    return sorted(own, key=lambda point: point.id, reverse=True)


def see(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    store: PgBackRestStore,
    points: Sequence[RecoveryPoint],
    mistake: Mistake,
) -> MistakeSupply:
    """What a mistake cost: restored beside, compared and removed again; nothing live is changed.

    Raises:
        Transient: the connection was lost.
    """
    layout = Layout.of(asset.data_directory or "", f"see/{digest(mistake)}")

    try:
        plainly = Rehearsal(connection).plainly
        with beside(connection, asset, secrets, store, points, mistake, layout, plainly) as both:
            tables = tuple(_differences(both))
            older = tuple(point for point in points if point.id < both.point.id)
            return MistakeSupply(
                asset=mistake.asset, mistake=mistake, point=both.point, older=older, tables=tables
            )
    except Transient:
        raise
    except ReinstateError as error:
        return MistakeSupply(asset=mistake.asset, mistake=mistake, why=str(error))


def _differences(both: Beside) -> list[TableDifference]:
    found = []
    for number, (table, why) in enumerate(both.tables()):
        if why:
            (row,) = both.then.rows(f"SELECT count(*) AS rows FROM ONLY {table.quoted}", timeout=3600.0)  # noqa: S608
            gone = int(row["rows"]) if "gone" in why else 0
            found.append(TableDifference(table=table.title, before=row["rows"], missing=gone, why_not=why))
            continue
        found.append(both.compare(number, table))
    return found


def schema_of(job_prefix: str, action_id: str) -> str:
    """Our own schema in the live database, kept until commit."""
    return f"reinstate_{digest([effect_of(job_prefix, action_id)])[:8]}"


def perform(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreRows,
    store: PgBackRestStore,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Bring the rows of a signed action back.

    Raises:
        Damaged: no point reaches the moment. ReinstateError: references would break, or the server refuses; the
            transaction was undone then, and the live tables are as they were.
        Transient: interrupted; calling again goes on.
    """
    schema = schema_of(job_prefix, action.id)
    layout = Layout.of(action.data_directory, effect_of(job_prefix, action.id))

    def step(name: str, command: Command) -> Result:
        return connection.job(f"{job_prefix}-{name}", command, token)

    began = time.monotonic()
    live = socket_of(connection, asset)
    with Tools(connection, live, secrets) as tools:
        if _there(tools, f"{schema}.done"):
            return _told(tools, schema, action)
    points = (action.point, *action.older)
    with beside(connection, asset, secrets, store, points, action.mistake, layout, step) as both:
        chosen = _chosen(both, action)
        changed = action.mistake.rows == "changed"
        for number, table in enumerate(chosen):
            both.compare(number, table)
        progress(1, 3)
        _sql(step, both.live, "prepare", rows_sql.prepare(schema, chosen))
        for number, table in enumerate(chosen):
            out, into = rows_sql.wanted(table, number, changed), rows_sql.received(schema, table, number)
            piped = step(f"fetch-{number}", both.pipe_command(both.then, out, both.live, into))
            _require(piped, f"the rows of {table.title} could not be fetched", connection.name)
        progress(2, 3)
        _sql(step, both.live, "merge", rows_sql.merge(schema, chosen, changed))
    with Tools(connection, live, secrets) as tools:
        done = _told(tools, schema, action)
    progress(3, 3)
    return Performed(f"{done.sentence} It took {time.monotonic() - began:.0f} s.")


def _chosen(both: Beside, action: RestoreRows) -> list[Table]:
    names = [one.table for one in action.tables]
    there = {table.title: (table, why) for table, why in both.tables()}
    for name in names:
        if name not in there or there[name][1]:
            why = there[name][1] if name in there else "it is not in the backup"
            raise PreconditionFailed(
                f"table {printable(name)}: {why}.", both.live.connection.name, "propose again"
            )
    return [there[name][0] for name in names]


def _sql(step: Step, tools: Tools, name: str, sql: str) -> None:
    command = tools.command(
        "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--file=-",
        stdin=sql.encode(), timeout=SECONDS,
    )  # fmt: skip
    _require(step(name, command), "the rows could not be merged", tools.connection.name)


def _require(result: Result, what: str, where: str) -> None:
    if not result.ok:
        raise ReinstateError(
            f"{what}: {result.tail(3)}.", where,
            "the live tables are as they were; where references would break, name those tables as well",
        )  # fmt: skip


def _there(tools: Tools, table: str) -> bool:
    (row,) = tools.rows(f"SELECT to_regclass('{table}') IS NOT NULL AS there")
    return bool(row["there"])


def _told(tools: Tools, schema: str, action: RestoreRows) -> Performed:
    rows = tools.rows(f"SELECT * FROM {schema}.told ORDER BY number")  # noqa: S608 - our own schema's name
    parts = [
        f"{one.table}: {row['inserted']} rows came back"
        + (f", {row['replaced']} went back" if row["replaced"] else "")
        + (
            f", {row['conflicts']} did not, because newer rows have their unique values"
            if row["conflicts"]
            else ""
        )
        for one, row in zip(action.tables, rows, strict=True)
    ]
    return Performed(
        f"{action.database} as just before {action.mistake.when}: {'; '.join(parts)}. What was written since stays; "
        f"copies are kept in schema {schema}."
    )


def undo(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreRows,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Take the rows out again that came back, and put replaced rows back, except those that were changed since.

    Raises:
        ReinstateError: the server refuses; nothing was changed then.
    """
    schema = schema_of(job_prefix, action.id)
    live = socket_of(connection, asset)
    with Tools(connection, live, secrets) as tools:
        if not _there(tools, f"{schema}.done"):
            progress(1, 1)
            return Performed(f"No row of {action.database} came back; nothing had to be undone.")
        there = {table.title: table for table in map(Table.of, tools.rows(rows_sql.TABLES))}
        names = [one.table for one in action.tables]
        if missing := [name for name in names if name not in there]:
            raise Damaged(
                f"the tables {', '.join(missing)} are gone.", connection.name, f"their rows are in {schema}"
            )

        def step(name: str, command: Command) -> Result:
            return connection.job(f"{job_prefix}-{name}", command, token)

        _sql(step, tools, "unmerge", SETTINGS + rows_sql.unmerge(schema, [there[name] for name in names]))
    progress(1, 1)
    return Performed(
        f"{action.database}: the rows that came back are out again; copies are kept in schema {schema}."
    )
