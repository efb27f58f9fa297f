"""What great-expectations has no word for: how new a table is, what its rows refer to, what a backup recorded of it.

Each is one question to the database, answered by one number (R-RESP-6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy
from sqlalchemy import func, literal_column, select

from checks.mariadb import MariadbTools
from checks.mariadb_tables import look as look_at_tables
from checks.sqlite import SqliteFile, recorded
from checks.sqlite import look as look_at_file
from model.command import printable
from model.errors import ReinstateError, Transient
from model.manifest import Manifest
from model.plan import Fresh, Reference, TableChecks

Sums = Callable[[str], str]
"""Makes the checksum of a table as its backups do; empty where the engine has none."""


@dataclass(frozen=True)
class Facts:
    """What is wrong, as (what, expected, actual), and what could not be asked."""

    wrong: tuple[tuple[str, str, str], ...] = ()
    raised: tuple[str, ...] = ()


def sums_of(reached: MariadbTools | SqliteFile | None) -> Sums:
    """How checksums of a database's tables are made."""

    def total(table: str) -> str:
        match reached:
            case MariadbTools():
                return look_at_tables(reached, reached.asset.database, [table], check=False).sums.get(
                    table, ""
                )
            case SqliteFile():
                data = look_at_file(reached)
                only = tuple(count for count in data.counts if count.table == table)
                return next((c.checksum for c in recorded(reached, replace(data, counts=only))), "")
            case _:
                return ""

    return total


def look(url: str, checks: TableChecks, manifest: Manifest | None, sums: Sums | None) -> Facts:
    """Ask all of a table's facts.

    Args:
        url: SQLAlchemy URL of the database.
        checks: the table and what is asked.
        manifest: of the recovery point that it is compared with.
        sums: makes its checksum.

    Raises:
        Transient: the connection to the host was lost.
    """
    wrong: list[tuple[str, str, str]] = []
    raised: list[str] = []
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    asked: list[tuple[str, Callable[[Any], tuple[str, str] | None]]] = []
    asked += [(f"newest {f.column}", partial(_fresh, checks.table, f)) for f in checks.fresh]
    asked += [(f"{r.column} → {r.table}.{r.key}", partial(_refers, checks.table, r)) for r in checks.refers]
    asked += [
        (f"recorded {what}", partial(_recorded, checks.table, what, manifest, sums))
        for what in checks.recorded
    ]
    try:
        for what, ask in asked:
            try:
                with engine.connect() as connection:
                    answer = ask(connection)
            except Transient:
                raise
            except (sqlalchemy.exc.SQLAlchemyError, ReinstateError) as error:
                cause = str(getattr(error, "orig", None) or error)
                raised.append(printable(f"{what}: {' '.join(cause.split())}")[:300])
            else:
                if answer is not None:
                    wrong.append((what, *answer))
    finally:
        engine.dispose()
    return Facts(tuple(wrong), tuple(raised))


def _table(name: str, *columns: str) -> sqlalchemy.TableClause:
    schema, _, table = name.rpartition(".")
    return sqlalchemy.table(table, *(sqlalchemy.column(c) for c in columns), schema=schema or None)


def _fresh(table: str, fresh: Fresh, connection: Any) -> tuple[str, str] | None:  # noqa: ANN401 - SQLAlchemy's
    """The age of the newest row, in seconds, by the clock of the database."""
    newest = func.max(_table(table, fresh.column).c[fresh.column])
    age: Any
    match connection.dialect.name:
        case "postgresql":
            age = func.date_part("epoch", func.now() - newest)
        case "sqlite":
            age = (func.julianday("now") - func.julianday(newest)) * 86400.0
        case _:
            age = func.timestampdiff(literal_column("SECOND"), newest, func.now())
    seconds = connection.execute(select(age)).scalar()
    expected = f"no older than {fresh.within:.0f} s"
    if seconds is None:
        return expected, "no moment at all"
    return (expected, f"{float(seconds):.0f} s old") if float(seconds) > fresh.within else None


def _refers(table: str, reference: Reference, connection: Any) -> tuple[str, str] | None:  # noqa: ANN401 - SQLAlchemy's
    ours = _table(table, reference.column).alias("ours")
    theirs = _table(reference.table, reference.key).alias("theirs")
    value, key = ours.c[reference.column], theirs.c[reference.key]
    joined = ours.outerjoin(theirs, value == key)
    count = connection.execute(
        select(func.count()).select_from(joined).where(value.is_not(None), key.is_(None))
    ).scalar()
    return ("every row refers to one that is there", f"{count} rows do not") if count else None


def _recorded(
    table: str,
    what: str,
    manifest: Manifest | None,
    sums: Sums | None,
    connection: Any,  # noqa: ANN401 - SQLAlchemy's
) -> tuple[str, str] | None:
    names = {table, f"public.{table}"}
    count = next((c for c in manifest.tables if c.table in names), None) if manifest else None
    if count is None or manifest is None:
        raise ReinstateError(
            "no recovery point recorded this table.", table, "take a backup while it is healthy"
        )
    if what == "rows":
        rows = int(connection.execute(select(func.count()).select_from(_table(table))).scalar() or 0)
        expected = f"at least the {count.rows} rows of recovery point {manifest.point}"
        return (expected, f"{rows} rows") if rows < count.rows else None
    total = sums(table) if sums is not None else ""
    if not count.checksum or not total:
        raise ReinstateError(
            f"recovery point {manifest.point} holds no checksum of it.", table, "compare its rows instead"
        )
    return (
        (f"the content of recovery point {manifest.point}", "another content")
        if total != count.checksum
        else None
    )
