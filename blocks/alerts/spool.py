"""Alerts that were taken and not dealt with yet: durable before they are acknowledged, each once (N4).

One SQLite file of the installation, in write-ahead mode with a full sync for each transaction. Many alerts share one
transaction, so that a storm costs a few syncs a second and not thousands.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from blocks.durable import explained, make_folder
from model.alerts import Alert
from model.errors import PreconditionFailed

KEPT = timedelta(days=30)
"""So long an alert is remembered, so that the same one sent again has no second effect."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY, plan TEXT NOT NULL, source TEXT NOT NULL, host TEXT NOT NULL, cause TEXT NOT NULL,
    fingerprint TEXT NOT NULL, status TEXT NOT NULL, since TEXT NOT NULL, summary TEXT NOT NULL, taken TEXT NOT NULL,
    handled INTEGER NOT NULL DEFAULT 0,
    UNIQUE (plan, source, fingerprint, status, since)
) STRICT;
DROP INDEX IF EXISTS waiting;
CREATE INDEX IF NOT EXISTS unhandled ON alerts (id) WHERE handled = 0;
CREATE TABLE IF NOT EXISTS refused (
    at TEXT NOT NULL, plan TEXT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
"""
_PUT = (
    "INSERT OR IGNORE INTO alerts (plan, source, host, cause, fingerprint, status, since, summary, taken)"
    " VALUES (?,?,?,?,?,?,?,?,?)"
)
MOST_REFUSED = 1000
"""Refusals kept; older ones are forgotten."""


class Taken(NamedTuple):
    """An alert with what the plan makes of it.

    Attributes:
        host: name of the host in the plan.
    """

    plan: str
    source: str
    host: str
    alert: Alert


class Group(NamedTuple):
    """Alerts of one host and cause that nobody has dealt with, oldest first.

    Attributes:
        ids: their numbers in the spool.
        firing: those that say that something is wrong; the rest say that it is over.
    """

    plan: str
    host: str
    cause: str
    ids: tuple[int, ...]
    firing: tuple[Taken, ...]
    resolved: tuple[Taken, ...]


class Spool:
    """The spool of an installation; safe for threads and for several processes.

    Args:
        folder: where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self.path = make_folder(folder) / "alerts.sqlite"
        self._lock = threading.Lock()
        with explained(self.path):
            self._connection = sqlite3.connect(
                self.path, timeout=20, isolation_level=None, check_same_thread=False
            )
            self.path.chmod(0o600)
        for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA busy_timeout=20000"):
            self._connection.execute(line)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def put(self, taken: Sequence[Taken], at: datetime) -> list[bool]:
        """Keep alerts; durable on return. Those that are known already are left as they are.

        Returns:
            Of each whether it was new.

        Raises:
            PreconditionFailed: the disk is full or read-only; none was kept.
        """
        rows = [
            (one.plan, one.source, one.host, one.alert.cause, one.alert.fingerprint, one.alert.status,
             one.alert.since.astimezone(UTC).isoformat(), one.alert.summary, at.isoformat())
            for one in taken
        ]  # fmt: skip
        with self._lock, self._transaction() as cursor:
            return [cursor.execute(_PUT, row).rowcount == 1 for row in rows]

    def waiting(self, most: int = 10_000) -> list[Group]:
        """The alerts nobody has dealt with, by plan, host and cause, in the order in which they came."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, plan, source, host, cause, fingerprint, status, since, summary FROM alerts"
                " WHERE handled = 0 ORDER BY id LIMIT ?",
                (most,),
            ).fetchall()
        groups: dict[tuple[str, str, str], list[tuple[int, Taken]]] = {}
        for number, plan, source, host, cause, fingerprint, status, since, summary in rows:
            alert = Alert(
                fingerprint=fingerprint, status=status, target=host, cause=cause, summary=summary,
                since=datetime.fromisoformat(since),
            )  # fmt: skip
            groups.setdefault((plan, host, cause), []).append((number, Taken(plan, source, host, alert)))
        return [
            Group(
                *key, tuple(number for number, _ in members),
                tuple(one for _, one in members if one.alert.status == "firing"),
                tuple(one for _, one in members if one.alert.status == "resolved"),
            )
            for key, members in groups.items()
        ]  # fmt: skip

    def handled(self, ids: Iterable[int]) -> None:
        """They were dealt with: they stay only so that they have no second effect."""
        with self._lock, self._transaction() as cursor:
            cursor.executemany("UPDATE alerts SET handled = 1 WHERE id = ?", [(number,) for number in ids])

    def refuse(self, plan: str, source: str, reason: str, at: datetime) -> None:
        """Note that a message was refused."""
        with self._lock, self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO refused VALUES (?,?,?,?)", (at.isoformat(), plan[:80], source[:80], reason[:300])
            )
            cursor.execute(
                "DELETE FROM refused WHERE rowid <= (SELECT max(rowid) FROM refused) - ?", (MOST_REFUSED,)
            )

    def refusals(self) -> list[tuple[str, str, str, str]]:
        """(moment, plan, source, reason) of the newest refusals, newest first."""
        with self._lock:
            return list(self._connection.execute("SELECT * FROM refused ORDER BY rowid DESC"))

    def forget(self, at: datetime) -> int:
        """Forget alerts that were dealt with long ago; returns how many."""
        with self._lock, self._transaction() as cursor:
            cursor.execute("DELETE FROM alerts WHERE handled = 1 AND taken < ?", ((at - KEPT).isoformat(),))
            return cursor.rowcount

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection, self.path)


class _Transaction:
    """`BEGIN IMMEDIATE` … `COMMIT`; what goes wrong leaves nothing behind and says what to do."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def __enter__(self) -> sqlite3.Cursor:
        self._do("BEGIN IMMEDIATE")
        return self._connection.cursor()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self._do("COMMIT")
        elif self._connection.in_transaction:  # a full disk has rolled it back already
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise _explained(self._path, error) from None

    def _do(self, line: str) -> None:
        try:
            self._connection.execute(line)
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise _explained(self._path, error) from None


def _explained(path: Path, error: sqlite3.Error) -> PreconditionFailed:
    return PreconditionFailed(
        f"alerts cannot be kept: {error}.", str(path), "see that the disk is not full and the file is ours"
    )
