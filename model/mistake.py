"""A person's mistake in a database, as it is reported: which one, the last good moment, and what shall come back."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from model.assets import Name
from model.canonical import Value
from model.errors import BadInput

_MARKS = {
    "lsn": re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}"),
    "xid": re.compile(r"[0-9]{1,10}"),
    "name": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"),
}
REMEDY = "write ASSET@2026-11-25T10:00:00Z, or ASSET@lsn:0/3000060, ASSET@xid:1234, ASSET@name:RESTORE_POINT"


class Mistake(Value):
    """Rows deleted or changed by mistake.

    Attributes:
        asset: the database asset.
        at: all was well until this moment; None when a place in the WAL says it.
        mark: `lsn:PLACE`, `xid:TRANSACTION` (the mistaken one itself) or `name:RESTORE_POINT`; else empty.
        tables: the tables that shall come back, with their schema; empty: all that lost rows.
        rows: `missing`: rows that are gone come back, every other row stays as it is now. `changed`: rows that were
            changed go back as well.
    """

    asset: Name
    at: AwareDatetime | None = None
    mark: str = ""
    tables: tuple[str, ...] = ()
    rows: Literal["missing", "changed"] = "missing"

    @model_validator(mode="after")
    def _has_one_target(self) -> Self:
        kind, _, value = self.mark.partition(":")
        if (self.at is None) is (self.mark == ""):
            raise ValueError("give a moment or a place in the WAL")
        if self.mark and not (kind in _MARKS and _MARKS[kind].fullmatch(value)):
            raise ValueError("a place in the WAL is lsn:0/3000060, xid:1234 or name:RESTORE_POINT")
        return self

    @property
    def when(self) -> str:
        """The moment, for people."""
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC" if self.at is not None else self.mark

    @property
    def settings(self) -> tuple[str, ...]:
        """Lines of PostgreSQL's configuration that end a recovery just before it."""
        kind, _, value = self.mark.partition(":")
        if self.at is not None:
            kind, value = "time", f"{self.at:%Y-%m-%d %H:%M:%S.%f+00}"
        inclusive = () if kind == "name" else ("recovery_target_inclusive = off",)
        return (f"recovery_target_{kind} = '{value}'", *inclusive)


def read_mistake(text: str, tables: tuple[str, ...] = (), changed: bool = False) -> Mistake:
    """A mistake as people write it: `ASSET@MOMENT`.

    Args:
        text: the asset and a moment with its time zone, or a place in the WAL.
        tables: tables that shall come back; without a schema, `public`.
        changed: rows that were changed go back, too.

    Raises:
        BadInput: it is not written that way.
    """
    from datetime import UTC

    asset, at, when = text.partition("@")
    full = tuple(table if "." in table else f"public.{table}" for table in tables)
    rows: Literal["missing", "changed"] = "changed" if changed else "missing"
    try:
        if not at:
            raise ValueError("the moment is missing")
        if when.partition(":")[0] in _MARKS:
            return Mistake(asset=asset, mark=when, tables=full, rows=rows)
        moment = datetime.fromisoformat(when)
        if moment.tzinfo is None:
            raise ValueError("the time zone is missing")
        return Mistake(asset=asset, at=moment.astimezone(UTC), tables=full, rows=rows)
    except ValueError as error:
        why = str(error).splitlines()[-1] if "\n" not in str(error) else "it is not written that way"
        raise BadInput(f"{text[:200]!r} names no mistake: {why}.", "--mistake", REMEDY) from None


class TableDifference(Value):
    """What a table held just before the mistake, against what it holds now; numbers, never rows.

    Attributes:
        table: with its schema.
        before: rows just before the mistake.
        missing: rows of then that are gone now.
        changed: rows of then that are there and differ.
        newer: rows of now that were not there then; they stay.
        why_not: why this table is not brought back; empty when it can be.
    """

    table: str
    before: int = Field(default=0, ge=0)
    missing: int = Field(default=0, ge=0)
    changed: int = Field(default=0, ge=0)
    newer: int = Field(default=0, ge=0)
    why_not: str = ""

    @property
    def sentence(self) -> str:
        """In words."""
        said = (
            f"{self.table}: {self.missing} of {self.before} rows are gone, {self.changed} were changed, "
            f"{self.newer} are newer"
        )
        return f"{said} ({self.why_not})" if self.why_not else said
