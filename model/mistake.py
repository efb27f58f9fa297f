"""A person's mistake, as it is reported: in which database or file set, the last good moment, what shall come back."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from model.assets import Name
from model.canonical import HostText, Value
from model.command import printable
from model.errors import BadInput

_MARKS = {
    "lsn": re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}"),
    "xid": re.compile(r"[0-9]{1,10}"),
    "name": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"),
}
REMEDY = (
    "write ASSET@2026-11-25T10:00:00Z; of a file set also ASSET@BEGIN/END; of a database also ASSET@lsn:0/3000060, "
    "ASSET@xid:1234, ASSET@name:RESTORE_POINT"
)


class Mistake(Value):
    """Rows or files deleted, changed or overwritten by mistake.

    Attributes:
        asset: the database or file set.
        at: all was well until this moment; None when a place in the WAL says it.
        mark: `lsn:PLACE`, `xid:TRANSACTION` (the mistaken one itself) or `name:RESTORE_POINT`; else empty.
        tables: the tables that shall come back, with their schema; empty: all that lost rows.
        until: of a file set: the mistake was over by then, and what was changed later stays; None: it may last.
        paths: of a file set: what shall come back, relative to its folder; empty: all of it.
        rows: `missing`: rows that are gone come back, every other row stays as it is now. `changed`: rows that were
            changed go back as well.
    """

    asset: Name
    at: AwareDatetime | None = None
    mark: str = ""
    tables: tuple[str, ...] = ()
    until: AwareDatetime | None = Field(default=None, exclude_if=lambda moment: moment is None)
    paths: tuple[HostText, ...] = Field(default=(), exclude_if=lambda paths: not paths)
    rows: Literal["missing", "changed"] = "missing"

    @model_validator(mode="after")
    def _has_one_target(self) -> Self:
        kind, _, value = self.mark.partition(":")
        if (self.at is None) is (self.mark == ""):
            raise ValueError("give a moment or a place in the WAL")
        if self.mark and not (kind in _MARKS and _MARKS[kind].fullmatch(value)):
            raise ValueError("a place in the WAL is lsn:0/3000060, xid:1234 or name:RESTORE_POINT")
        if self.until is not None and (self.at is None or self.until < self.at):
            raise ValueError("the end is before the beginning")
        if any(path.startswith("/") or ".." in path.split("/") for path in self.paths):
            raise ValueError("a path is relative to the folder of the file set")
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


def read_mistake(
    text: str, tables: tuple[str, ...] = (), changed: bool = False, paths: tuple[str, ...] = ()
) -> Mistake:
    """A mistake as people write it: `ASSET@MOMENT`.

    Args:
        text: the asset and a moment with its time zone, two of them parted by `/` (ISO 8601), or a place in the WAL.
        tables: tables that shall come back; without a schema, `public`.
        changed: rows that were changed go back, too.
        paths: files and folders of a file set that shall come back, relative to its folder.

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
        moments = [datetime.fromisoformat(one) for one in when.split("/")]
        if any(moment.tzinfo is None for moment in moments):
            raise ValueError("the time zone is missing")
        begin, *end = (moment.astimezone(UTC) for moment in moments)
        if len(end) > 1:
            raise ValueError("there are more than two moments")
        return Mistake(
            asset=asset, at=begin, until=end[0] if end else None, tables=full, rows=rows,
            paths=tuple(path.removeprefix("./").rstrip("/") for path in paths),
        )  # fmt: skip
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


class FileDifference(Value):
    """What a path was just before the mistake, as the backup holds it, against what it is now.

    Attributes:
        path: absolute.
        then: size and time in the backup, in words.
        now: the same now, or that it is gone.
        kept: why it stays as it is; empty when it comes back.
    """

    path: HostText
    then: str
    now: str
    kept: str = ""

    @property
    def sentence(self) -> str:
        """In words."""
        return f"{printable(self.path)}: {self.then}, now {self.now}"
