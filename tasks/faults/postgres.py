"""Faults of PostgreSQL: an overwritten page, a wrong UPDATE, a dropped table (R-DRILL)."""

# ruff: noqa: S608 - every name in these statements passes `identifier`, every text `literal`

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.hosts import elevate
from checks.database import wait_for_server
from checks.postgres import Tools, identifier, literal
from checks.stat import require
from model.assets import DatabaseAsset, PostgresAsset
from model.backup_sources import PgBackRestSource
from model.canonical import now
from model.command import Command, Result
from model.errors import PreconditionFailed
from model.fault_kinds import FaultKind
from model.faults import Expected, Planted
from model.finding import Code
from model.mistake import Mistake
from tasks.faults.site import Site
from tasks.rows_sql import TABLES, Table

SECONDS = 1800.0

KEEP = r"""
umask 077
file=$1; shift
mkdir -p -- "${file%/*}" || exit 73
"$@" >"$file.new" && sync && mv -f -- "$file.new" "$file"
"""
"""Arguments: file, command. What the command prints is there as a whole or not at all."""

FEED = r"""
file=$1 head=$2 tail=$3; shift 3
[ -e "$file" ] || exit 0
{ [ -z "$head" ] || printf '%s\n' "$head"; cat -- "$file"; [ -z "$tail" ] || printf '%s\n' "$tail"; } | "$@"
"""
"""Arguments: file, what comes before and after it, command that reads them. Without the file there is nothing to do."""

_FACTS = """
SELECT c.relname AS name, n.nspname AS schema, pg_relation_size(c.oid) AS bytes, pg_relation_filepath(c.oid) AS path,
    current_setting('data_directory') AS folder, current_setting('block_size')::int AS block,
    EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
"""
_AFTER = (
    Code.DATABASE_INCONSISTENT, Code.EXPECTATION_FAILED, Code.OPERATOR_MISTAKE, Code.DATABASE_TABLE_UNREADABLE,
    Code.DATABASE_CHECKSUM_FAILED, Code.DATABASE_EMPTY,
)  # fmt: skip
"""What may be seen of the same database besides."""


def prepare(site: Site) -> Planted:
    """Choose a table that the fault can be done to."""
    fault, asset = site.fault, site.asset(PostgresAsset)
    with _tools(site) as tools:
        facts = {f"{row['schema']}.{row['name']}": row for row in tools.rows(_FACTS)}
        tables = {one.title: one for one in map(Table.of, tools.rows(TABLES)) if one.title in facts}
        for title in ordered(site, list(tables)):
            table, fact = tables[title], facts[title]
            if not 0 < int(fact["bytes"]) <= fault.most or not _full(tools, table):
                continue
            match fault.kind:
                case FaultKind.DATABASE_PAGES:
                    return _page(site, asset, title, fact)
                case FaultKind.DROPPED_TABLE if _drops(tools, table):
                    others = [one for name, one in tables.items() if name != title]
                    return _dropped(site, title, alone=not any(_full(tools, one) for one in others))
                case FaultKind.WRONG_UPDATE if not fact["triggers"] and _updatable(table, fault.column):
                    return _updated(site, title)
                case _:
                    continue
    raise PreconditionFailed(
        f"no table of {asset.database} allows the fault {fault.kind}{f' ({fault.target})' if fault.target else ''}.",
        site.connection.name, "it has to hold rows, to be small, and nothing may depend on it; choose another fault",
    )  # fmt: skip


def ordered(site: Site, titles: list[str]) -> list[str]:
    """Tables in the order in which they are tried: that of the plan first; a wrong UPDATE is made nowhere else."""
    target = site.fault.target
    named = [title for title in titles if target and target in {title, title.rpartition(".")[2]}]
    if site.fault.kind is FaultKind.WRONG_UPDATE:
        return named
    return [*named, *site.fault.pick([title for title in titles if title not in named])]


def _full(tools: Tools, table: Table) -> bool:
    """Whether it holds a row."""
    return bool(tools.rows(f"SELECT 1 AS one FROM ONLY {table.quoted} LIMIT 1"))


def _drops(tools: Tools, table: Table) -> bool:
    """Whether nothing depends on it."""
    return tools.psql(f"BEGIN; DROP TABLE {table.quoted}; ROLLBACK;\n").ok


def _updatable(table: Table, column: str) -> bool:
    names = {name for name, _ in table.columns} - table.generated - set(table.key)
    return bool(table.key) and column in names


def _page(site: Site, asset: PostgresAsset, title: str, fact: dict[str, object]) -> Planted:
    block, size = int(str(fact["block"])), int(str(fact["bytes"]))
    number = size // block // 2
    path = f"{fact['folder']}/{fact['path']}"
    name = site.fault.asset
    return site.planted(
        f"Page {number} of the table {title} was overwritten while its server stood still.", (title,),
        [Expected(code=Code.DATABASE_CHECKSUM_FAILED, asset=name, subject=title)],
        follows=after(name), paths=(path,), offset=number * block,
        services=site.running((asset.service or "", *site.plan.used_by(asset))),
    )  # fmt: skip


def after(name: str) -> list[Expected]:
    """What may be seen of a damaged database besides."""
    return [Expected(code=code, asset=name) for code in _AFTER]


def gone(site: Site, table: str, *, alone: bool) -> Expected:
    """What is seen of a table that is not there any more; a database without the only rows it had is empty."""
    name = site.fault.asset
    asset = site.plan.assets[name]
    if alone and isinstance(asset, DatabaseAsset):
        return Expected(code=Code.DATABASE_EMPTY, asset=name, subject=asset.database)
    return Expected(code=Code.DATABASE_TABLE_UNREADABLE, asset=name, subject=table)


def _dropped(site: Site, title: str, *, alone: bool) -> Planted:
    name = site.fault.asset
    # Of a dump, a check sees that a table is gone; where WAL is replayed, only a person can say up to when.
    replayed = isinstance(site.plan.backups[site.asset(PostgresAsset).backup], PgBackRestSource)
    return site.planted(
        f"The table {title} was dropped.", (title,),
        [gone(site, title, alone=alone)], follows=after(name),
        mistake=Mistake(asset=name, at=now(), tables=(title,)) if replayed else None,
    )  # fmt: skip


def _updated(site: Site, title: str) -> Planted:
    name = site.fault.asset
    return site.planted(
        f"An UPDATE without WHERE changed {site.fault.column} in every row of {title}.", (title,),
        [Expected(code=Code.EXPECTATION_FAILED, asset=name, subject=site.fault.target)], follows=after(name),
        mistake=Mistake(asset=name, at=now(), tables=(title,), rows="changed"),
    )  # fmt: skip


def strike(site: Site, planted: Planted) -> None:
    """Do it; the rows are kept first."""
    match site.fault.kind:
        case FaultKind.DATABASE_PAGES:
            _strike_page(site, planted)
        case FaultKind.DROPPED_TABLE:
            _strike_drop(site, planted)
        case _:
            _strike_update(site, planted)


def _strike_page(site: Site, planted: Planted) -> None:
    asset, (path,) = site.asset(PostgresAsset), planted.left.paths
    site.stop(asset.service or "")
    try:
        site.plant("strike", verb="page", path=path, offset=planted.left.offset, size=8192)
    finally:
        restart(site, planted)
    with _tools(site) as tools:
        wait_for_server(lambda: tools.rows("SELECT 1 AS one"))


def restart(site: Site, planted: Planted) -> None:
    """Everything that ran before runs again."""
    for name in planted.left.services:
        site.start(name)


def _strike_drop(site: Site, planted: Planted) -> None:
    (title,) = planted.subjects
    with _tools(site) as tools:
        table = _found(tools, title)
        if table is None:
            return  # an attempt before this one did it
        dump = tools.command("pg_dump", "--format=custom", f"--table={table.quoted}", timeout=SECONDS)
        done(keep(site, dump), site, f"keep the table {title}")
        done(tools.psql(f"DROP TABLE {table.quoted};\n"), site, f"drop the table {title}")


def _found(tools: Tools, title: str) -> Table | None:
    return next((one for one in map(Table.of, tools.rows(TABLES)) if one.title == title), None)


def _strike_update(site: Site, planted: Planted) -> None:
    fault, (title,) = site.fault, planted.subjects
    with _tools(site) as tools:
        (table,) = [one for one in map(Table.of, tools.rows(TABLES)) if one.title == title]
        _rows_back(site, tools, table)  # of an attempt that was cut off
        column = identifier(fault.column)
        copy = f"COPY (SELECT {table.keys}, {column} FROM ONLY {table.quoted}) TO STDOUT;\n"
        done(keep(site, _script(tools, copy)), site, f"keep the rows of {title}")
        value = {
            "null": "NULL", "value": literal(fault.value), "more": f"{column} + 1",
            "same": f"(SELECT min({column}) FROM {table.quoted})",
        }[fault.wrong]  # fmt: skip
        done(
            tools.psql(f"UPDATE ONLY {table.quoted} SET {column} = {value};\n"),
            site,
            f"change the rows of {title}",
        )


def mend(site: Site, planted: Planted) -> None:
    """Put back what the recovery did not: the page while it is ours, the table while it is gone, rows that differ."""
    if site.fault.kind is FaultKind.DATABASE_PAGES:
        mend_page(site, planted, site.asset(PostgresAsset).service or "")
        return
    (title,) = planted.subjects
    with _tools(site) as tools:
        table = _found(tools, title)
        if site.fault.kind is FaultKind.WRONG_UPDATE and table is not None:
            _rows_back(site, tools, table)
        elif site.fault.kind is FaultKind.DROPPED_TABLE and table is None:
            load = tools.command("pg_restore", "--exit-on-error", "--single-transaction", timeout=SECONDS)
            done(feed(site, load), site, f"bring back the table {title}")


def mend_page(site: Site, planted: Planted, service: str) -> None:
    """The page gets its content back, while the server stands still, as long as it is what we wrote."""
    if site.plant("damaged").damaged:
        site.stop(service)
        site.plant("mend")
    restart(site, planted)


def _rows_back(site: Site, tools: Tools, table: Table) -> None:
    column = identifier(site.fault.column)
    head = (
        f"BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT {table.keys}, {column} FROM ONLY {table.quoted} "
        "WHERE false; COPY kept FROM STDIN;"
    )
    same = " AND ".join(f"t.{identifier(key)} = kept.{identifier(key)}" for key in table.key)
    tail = (
        f"\\.\nUPDATE ONLY {table.quoted} AS t SET {column} = kept.{column} FROM kept WHERE {same} "
        f"AND t.{column} IS DISTINCT FROM kept.{column}; COMMIT;"
    )
    done(feed(site, _script(tools, None), head, tail), site, f"bring back the rows of {table.title}")


def _script(tools: Tools, sql: str | None) -> Command:
    words = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
    return tools.command("psql", *words, stdin=sql.encode() if sql is not None else None, timeout=SECONDS)


def kept(site: Site) -> str:
    """The file of what was there, in the drill's folder."""
    return f"{site.folder}/kept-rows"


def keep(site: Site, command: Command) -> Result:
    """Run a command as its user, and keep what it prints in the drill's folder, as root."""
    return site.connection.run(_within(site, KEEP, command, kept(site)))


def feed(site: Site, command: Command, head: str = "", tail: str = "") -> Result:
    """Give a command what was kept, between two texts; nothing happens when nothing was kept."""
    return site.connection.run(_within(site, FEED, command, kept(site), head, tail))


def _within(site: Site, script: str, command: Command, *words: str) -> Command:
    host = site.connection.host
    before = elevate.prefix(host, elevate.keeper(host), command.user) if command.user else ()
    return Command(
        ("sh", "-c", script, "reinstate-drill", *words, *before, *command.argv), stdin=command.stdin, sudo=True,
        env=command.env, timeout=command.timeout,
    )  # fmt: skip


def done(result: Result, site: Site, what: str) -> None:
    """Refuse to go on when the database did not do it.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the database refused; the message is its own.
    """
    require(result, site.connection.name, "a statement of a drill")
    if not result.ok:
        raise PreconditionFailed(
            f"the database did not {what}: {result.tail(3)}", site.connection.name, "choose another fault"
        )


@contextmanager
def _tools(site: Site) -> Iterator[Tools]:
    with Tools(site.connection, site.asset(PostgresAsset), site.secrets) as tools:
        yield tools
