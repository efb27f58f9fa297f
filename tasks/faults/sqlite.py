"""Faults of SQLite: an overwritten page, a dropped table, while its services stand still (R-DRILL)."""

# ruff: noqa: S608 - every name in these statements passes `identifier`

from __future__ import annotations

from checks.sqlite import SqliteFile, identifier
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
    if not full:
        raise PreconditionFailed(
            f"{asset.path} has no table with rows: {found.error or 'nothing can be damaged'}.",
            site.connection.name, "choose another fault",
        )  # fmt: skip
    table, services = ordered(site, full)[0], site.running(site.plan.used_by(asset))
    if fault.kind is FaultKind.DATABASE_PAGES:
        page = int(str(size.rows[0][0]))
        return site.planted(
            f"The first page of the table {table} in {asset.path} was overwritten.", (asset.path,),
            [Expected(code=Code.DATABASE_CHECKSUM_FAILED, asset=fault.asset, subject=asset.path)],
            follows=after(fault.asset), paths=(asset.path,), offset=(roots[table] - 1) * page, services=services,
        )  # fmt: skip
    return site.planted(
        f"The table {table} was dropped in {asset.path}.", (table,), [gone(site, table, alone=full == [table])],
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
            path, statements = site.asset(SqliteAsset).path, [f"DROP TABLE {identifier(table)}"]
            site.plant("strike", verb="sqlite", path=path, paths=planted.left.paths, statements=statements)
    finally:
        restart(site, planted)


def mend(site: Site, planted: Planted) -> None:
    """The file as it was comes back while the page is ours, or the table is gone; a cured one is left alone."""
    if site.plant("damaged").damaged and not _cured(site, planted):
        _stop(site, planted)
        site.plant("mend")
    restart(site, planted)


def _cured(site: Site, planted: Planted) -> bool:
    """Whether a table that was dropped is there again."""
    asset = site.asset(SqliteAsset)
    if site.fault.kind is FaultKind.DATABASE_PAGES:
        return False
    try:
        (found,) = SqliteFile(site.connection, asset.path, asset.os_user).query([_TABLES])
    except PreconditionFailed:  # the file is gone, or no database any more
        return False
    return any(row[0] in planted.subjects for row in found.rows)


def _stop(site: Site, planted: Planted) -> None:
    for name in planted.left.services:
        site.stop(name)
