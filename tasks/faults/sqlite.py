"""Faults of SQLite: an overwritten page, a wrong UPDATE, a dropped table, while its services stand still (R-DRILL)."""

# ruff: noqa: S608 - every name in these statements passes `identifier`, every text `literal`

from __future__ import annotations

from checks.sqlite import SqliteFile, identifier, literal
from model.assets import SqliteAsset
from model.errors import PreconditionFailed
from model.fault_kinds import FaultKind
from model.faults import Expected, Planted
from model.finding import Code
from tasks.faults.postgres import after, gone, ordered, restart
from tasks.faults.site import Site

_TABLES = "SELECT name, rootpage FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND rootpage > 1"


def prepare(site: Site) -> Planted:
    """Choose a table with rows."""
    fault, asset = site.fault, site.asset(SqliteAsset)
    file = SqliteFile(site.connection, asset.path, asset.os_user)
    found, size = file.query([_TABLES, "PRAGMA page_size"])
    roots = {str(name): int(str(root)) for name, root in found.rows}
    counts = file.query(
        [f"SELECT count(*) FROM (SELECT 1 FROM {identifier(name)} LIMIT 1)" for name in roots]
    )
    full = [name for name, count in zip(roots, counts, strict=True) if count.rows and count.rows[0][0]]
    names = ordered(site, full)
    if not names:
        raise PreconditionFailed(
            f"{asset.path} has no table with rows{f' called {fault.target}' if fault.target else ''}: "
            f"{found.error or 'nothing can be damaged'}.", site.connection.name, "choose another fault",
        )  # fmt: skip
    table, services = names[0], site.running(site.plan.used_by(asset))
    match fault.kind:
        case FaultKind.DATABASE_PAGES:
            page = int(str(size.rows[0][0]))
            return site.planted(
                f"The first page of the table {table} in {asset.path} was overwritten.", (asset.path,),
                [Expected(code=Code.DATABASE_CHECKSUM_FAILED, asset=fault.asset, subject=asset.path)],
                follows=after(fault.asset), paths=(asset.path,), offset=(roots[table] - 1) * page, services=services,
            )  # fmt: skip
        case FaultKind.DROPPED_TABLE:
            expected, what = gone(site, table, alone=full == [table]), f"The table {table} was dropped"
        case _:
            expected = Expected(code=Code.EXPECTATION_FAILED, asset=fault.asset, subject=fault.target)
            what = f"An UPDATE without WHERE changed {fault.column} in every row of {table}"
    return site.planted(
        f"{what} in {asset.path}.", (table,), [expected],
        follows=after(fault.asset), paths=asset.files, services=services,
    )  # fmt: skip


def strike(site: Site, planted: Planted) -> None:
    """Keep the whole file and do it."""
    _stop(site, planted)
    try:
        if site.fault.kind is FaultKind.DATABASE_PAGES:
            (path,) = planted.left.paths
            site.plant("strike", verb="page", path=path, offset=planted.left.offset, size=512)
        else:
            (table,) = planted.subjects
            path, statements = site.asset(SqliteAsset).path, [_statement(site, table)]
            site.plant("strike", verb="sqlite", path=path, paths=planted.left.paths, statements=statements)
    finally:
        restart(site, planted)


def _statement(site: Site, table: str) -> str:
    fault, column = site.fault, identifier(site.fault.column)
    if fault.kind is FaultKind.DROPPED_TABLE:
        return f"DROP TABLE {identifier(table)}"
    value = {
        "null": "NULL", "value": literal(fault.value), "more": f"{column} + 1",
        "same": f"(SELECT min({column}) FROM {identifier(table)})",
    }[fault.wrong]  # fmt: skip
    return f"UPDATE {identifier(table)} SET {column} = {value}"


def mend(site: Site, planted: Planted) -> None:
    """The file as it was comes back, unless it is so."""
    if site.plant("damaged").damaged:
        _stop(site, planted)
        site.plant("mend")
    restart(site, planted)


def _stop(site: Site, planted: Planted) -> None:
    for name in planted.left.services:
        site.stop(name)
