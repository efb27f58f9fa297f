"""Faults of MariaDB: an overwritten page, a dropped table (R-DRILL)."""

# ruff: noqa: S608 - every name in these statements passes `identifier`, every text `literal`

from __future__ import annotations

import re

from checks.database import wait_for_server
from checks.mariadb import MariadbTools, identifier, literal
from model.assets import MariadbAsset
from model.command import Command
from model.errors import PreconditionFailed
from model.fault_kinds import FaultKind
from model.faults import Expected, Planted
from model.finding import Code
from tasks.faults.postgres import SECONDS, after, done, feed, gone, keep, mend_page, ordered, restart
from tasks.faults.site import Site

ROOT = 3
"""Number of the page in which the rows of an InnoDB table begin."""

_FACTS = """
SELECT JSON_OBJECT('name', t.table_name, 'bytes', t.data_length, 'folder', @@datadir, 'page', @@innodb_page_size,
    'triggers', (SELECT COUNT(*) FROM information_schema.triggers g WHERE g.event_object_schema = t.table_schema
        AND g.event_object_table = t.table_name),
    'referred', (SELECT COUNT(*) FROM information_schema.referential_constraints r
        WHERE r.unique_constraint_schema = t.table_schema AND r.referenced_table_name = t.table_name
        AND r.table_name <> t.table_name),
    'views', (SELECT COUNT(*) FROM information_schema.views v WHERE v.table_schema = t.table_schema
        AND LOCATE(CONCAT('`', t.table_name, '`'), v.view_definition)))
FROM information_schema.tables t
WHERE t.table_schema = {database} AND t.table_type = 'BASE TABLE' AND t.engine = 'InnoDB' ORDER BY 1
"""


def prepare(site: Site) -> Planted:
    """Choose a table that the fault can be done to."""
    fault, asset = site.fault, site.asset(MariadbAsset)
    with _tools(site) as tools:
        facts = {row["name"]: row for row in tools.rows(_FACTS.format(database=literal(asset.database)))}
        for name in ordered(site, list(facts)):
            fact = facts[name]
            if not _full(tools, name) or int(fact["bytes"]) > fault.most:
                continue
            match fault.kind:
                case FaultKind.DATABASE_PAGES if re.fullmatch(r"[A-Za-z0-9_]+", name):
                    path = f"{str(fact['folder']).rstrip('/')}/{asset.database}/{name}.ibd"
                    return _page(site, asset, name, path, int(fact["page"]))
                case FaultKind.DROPPED_TABLE if not (fact["referred"] or fact["views"] or fact["triggers"]):
                    others = [one for one in tools.tables(asset.database) if one != name]
                    expected = gone(site, name, alone=not any(_full(tools, one) for one in others))
                    return site.planted(
                        f"The table {name} was dropped.", (name,), [expected], follows=after(fault.asset)
                    )
                case _:
                    continue
    raise PreconditionFailed(
        f"no table of {asset.database} allows the fault {fault.kind}{f' ({fault.target})' if fault.target else ''}.",
        site.connection.name, "it has to hold rows, to be small, and nothing may depend on it; choose another fault",
    )  # fmt: skip


def _page(site: Site, asset: MariadbAsset, table: str, path: str, size: int) -> Planted:
    name = site.fault.asset
    return site.planted(
        f"The first page with rows of the table {table} was overwritten while its server stood still.", (table,),
        [Expected(code=Code.DATABASE_TABLE_UNREADABLE, asset=name, subject=table)],
        follows=after(name), paths=(path,), offset=ROOT * size,
        services=site.running((asset.service or "", *site.plan.used_by(asset))),
    )  # fmt: skip


def _full(tools: MariadbTools, name: str) -> bool:
    """Whether a table holds a row."""
    table = f"{identifier(tools.asset.database)}.{identifier(name)}"
    return bool(tools.rows(f"SELECT JSON_OBJECT('one', 1) FROM {table} LIMIT 1"))


def strike(site: Site, planted: Planted) -> None:
    """Do it; the rows are kept first."""
    fault, asset = site.fault, site.asset(MariadbAsset)
    if fault.kind is FaultKind.DATABASE_PAGES:
        (path,) = planted.left.paths
        site.stop(asset.service or "")
        try:
            site.plant(
                "strike", verb="page", path=path, offset=planted.left.offset, size=planted.left.offset // ROOT
            )
        finally:
            restart(site, planted)
        with _tools(site) as tools:
            wait_for_server(lambda: tools.rows("SELECT JSON_OBJECT('one', 1)"))
        return
    (name,) = planted.subjects
    table = f"{identifier(asset.database)}.{identifier(name)}"
    with _tools(site) as tools:
        if name in tools.tables(asset.database):
            done(keep(site, _dump(tools, name)), site, f"keep the table {name}")
            done(tools.script(f"DROP TABLE {table};\n"), site, f"drop the table {name}")


def _dump(tools: MariadbTools, table: str) -> Command:
    options = (
        "--single-transaction",
        "--skip-triggers",
        "--skip-lock-tables",
        "--hex-blob",
        "--default-character-set=utf8mb4",
    )
    return tools.command((*tools.words("mariadb-dump"), *options, "--", tools.asset.database, table), SECONDS)


def mend(site: Site, planted: Planted) -> None:
    """Put back what the recovery did not: the page while it is ours, the table while it is gone."""
    asset = site.asset(MariadbAsset)
    if site.fault.kind is FaultKind.DATABASE_PAGES:
        mend_page(site, planted, asset.service or "")
        return
    (name,) = planted.subjects
    with _tools(site) as tools:
        if name not in tools.tables(asset.database):
            load = tools.command(tools.client(asset.database), SECONDS)
            done(feed(site, load), site, f"bring back the table {name}")


def _tools(site: Site) -> MariadbTools:
    return MariadbTools(site.connection, site.asset(MariadbAsset), site.secrets)
