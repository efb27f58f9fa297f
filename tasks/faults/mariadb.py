"""Faults of MariaDB: an overwritten page, a wrong UPDATE, a dropped table (R-DRILL)."""

# ruff: noqa: S608 - every name in these statements passes `identifier`, every text `literal`

from __future__ import annotations

import re

from checks.database import wait_for_server
from checks.mariadb import SESSION, MariadbTools, identifier, literal
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
        AND LOCATE(CONCAT('`', t.table_name, '`'), v.view_definition)),
    'keys', (SELECT GROUP_CONCAT(k.column_name ORDER BY k.ordinal_position SEPARATOR '\\n')
        FROM information_schema.key_column_usage k WHERE k.table_schema = t.table_schema
        AND k.table_name = t.table_name AND k.constraint_name = 'PRIMARY'),
    'columns', (SELECT GROUP_CONCAT(c.column_name SEPARATOR '\\n') FROM information_schema.columns c
        WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.extra NOT LIKE '%GENERATED%'))
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
                    return _mistaken(site, name, f"The table {name} was dropped.", expected)
                case FaultKind.WRONG_UPDATE if not fact["triggers"] and _updatable(fact, fault.column):
                    expected = Expected(code=Code.EXPECTATION_FAILED, asset=fault.asset, subject=fault.target)
                    said = f"An UPDATE without WHERE changed {fault.column} in every row of {name}."
                    return _mistaken(site, name, said, expected)
                case _:
                    continue
    raise PreconditionFailed(
        f"no table of {asset.database} allows the fault {fault.kind}{f' ({fault.target})' if fault.target else ''}.",
        site.connection.name, "it has to hold rows, to be small, and nothing may depend on it; choose another fault",
    )  # fmt: skip


def _updatable(fact: dict[str, object], column: str) -> bool:
    keys = str(fact["keys"] or "").split("\n")
    return bool(fact["keys"]) and column not in keys and column in str(fact["columns"] or "").split("\n")


def _page(site: Site, asset: MariadbAsset, table: str, path: str, size: int) -> Planted:
    name = site.fault.asset
    return site.planted(
        f"The first page with rows of the table {table} was overwritten while its server stood still.", (table,),
        [Expected(code=Code.DATABASE_TABLE_UNREADABLE, asset=name, subject=table)],
        follows=after(name), paths=(path,), offset=ROOT * size,
        services=site.running((asset.service or "", *site.plan.used_by(asset))),
    )  # fmt: skip


def _mistaken(site: Site, table: str, sentence: str, expected: Expected) -> Planted:
    return site.planted(sentence, (table,), [expected], follows=after(site.fault.asset))


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
        if fault.kind is FaultKind.DROPPED_TABLE:
            if name in tools.tables(asset.database):
                done(keep(site, _dump(tools, name)), site, f"keep the table {name}")
                done(tools.script(f"DROP TABLE {table};\n"), site, f"drop the table {name}")
            return
        _rows_back(site, tools, name)  # of an attempt that was cut off
        done(keep(site, _dump(tools, name)), site, f"keep the rows of {name}")
        column = identifier(fault.column)
        value = {
            "null": "NULL", "value": literal(fault.value), "more": f"{column} + 1",
            "same": f"(SELECT one FROM (SELECT MIN({column}) AS one FROM {table}) AS least)",
        }[fault.wrong]  # fmt: skip
        done(tools.script(f"UPDATE {table} SET {column} = {value};\n"), site, f"change the rows of {name}")


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
    """Put back what the recovery did not: the page while it is ours, the table while it is gone, rows that differ."""
    asset = site.asset(MariadbAsset)
    if site.fault.kind is FaultKind.DATABASE_PAGES:
        mend_page(site, planted, asset.service or "")
        return
    (name,) = planted.subjects
    with _tools(site) as tools:
        there = name in tools.tables(asset.database)
        if site.fault.kind is FaultKind.WRONG_UPDATE and there:
            _rows_back(site, tools, name)
        elif site.fault.kind is FaultKind.DROPPED_TABLE and not there:
            load = tools.command(tools.client(asset.database), SECONDS)
            done(feed(site, load), site, f"bring back the table {name}")


def _rows_back(site: Site, tools: MariadbTools, name: str) -> None:
    """What was kept goes into a database of its own, from which rows that differ are taken; it is removed again."""
    (fact,) = [
        row for row in tools.rows(_FACTS.format(database=literal(tools.asset.database))) if row["name"] == name
    ]  # fmt: skip
    beside, column = identifier(scratch(site)), identifier(site.fault.column)
    table = f"{identifier(tools.asset.database)}.{identifier(name)}"
    keys = ", ".join(identifier(key) for key in str(fact["keys"]).split("\n"))
    head = f"{SESSION}DROP DATABASE IF EXISTS {beside}; CREATE DATABASE {beside}; USE {beside};"
    tail = (
        f"USE {identifier(tools.asset.database)}; "
        f"UPDATE {table} AS t JOIN {beside}.{identifier(name)} AS k USING ({keys}) "
        f"SET t.{column} = k.{column} WHERE NOT (t.{column} <=> k.{column}); DROP DATABASE {beside};"
    )
    done(
        feed(site, tools.command(tools.client(), SECONDS), head, tail), site, f"bring back the rows of {name}"
    )


def scratch(site: Site) -> str:
    """The database for what was kept, while rows are compared."""
    return f"reinstate_drill_{site.fault.id.removeprefix('d-')}"


def _tools(site: Site) -> MariadbTools:
    return MariadbTools(site.connection, site.asset(MariadbAsset), site.secrets)
