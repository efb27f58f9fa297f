"""pgBackRest: whole PostgreSQL clusters with their WAL, kept by the tool; it runs on the host as the cluster's owner.

Its exit codes lie, so they are not believed (pgBackRest 2.45, measured): `backup` of a cluster with broken pages says 0
and only warns, so the set's own `error` flag is read; `verify` says 0 with `status: error`, so its text is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from blocks.backups.base import BackupStore
from blocks.backups.engine import Snapshot, ToolStore
from blocks.hosts.base import Connection
from model.backup_sources import PgBackRestSource
from model.canonical import Value
from model.command import Command, Result, printable
from model.errors import Damaged, PreconditionFailed, Refused, Transient

FLOOR = (2, 43)
"""Before 2.43 a differential or incremental backup could lack the reference to a file it needs (its release notes)."""

ASK_SECONDS = 300.0
WORK_SECONDS = 24 * 3600.0

_LOCKED = (50,)  # LockAcquireError: another backup or expire runs
_UNREACHABLE = (42, 49, 122, 124)  # host connect, protocol timeout, service errors
_FROM_ROOT = 'cd / && exec "$@"'  # the login's own folder is nothing the cluster's owner may read


class BackupSet(Snapshot):
    """One backup set, as `info` tells it.

    Attributes:
        kind: `full`, `diff` or `incr`.
        lsn_stop: place in the WAL from which the restored cluster is consistent.
        wal_start: first WAL segment it needs.
        wal_stop: last WAL segment it needs.
        damaged: files with broken pages, where asked for.
    """

    kind: str
    lsn_stop: str = ""
    wal_start: str = ""
    wal_stop: str = ""
    damaged: tuple[str, ...] = ()


class Stanza(Value):
    """What a repository holds of a cluster now.

    Attributes:
        system_id: of the cluster, as in its `pg_control`.
        wal_max: newest WAL segment in the archive.
        sets: newest first.
    """

    system_id: str = Field(pattern=r"^[0-9]{1,20}$")
    version: str
    wal_min: str = ""
    wal_max: str = ""
    sets: tuple[BackupSet, ...] = ()

    def find(self, label: str) -> BackupSet | None:
        """The set with this label."""
        return next((one for one in self.sets if one.id == label), None)

    def newest(self, before: datetime | None = None) -> BackupSet | None:
        """The newest set that knows of no damage and was complete by then."""
        return next(
            (one for one in self.sets if not one.error and (before is None or one.taken_at <= before)), None
        )


class PgBackRest:
    """The tool on the host, for one stanza. `user` is the owner of the cluster.

    All methods raise `Transient` when connection or repository cannot be reached.
    """

    kind = "pgbackrest"

    def __init__(self, name: str, source: PgBackRestSource) -> None:
        """Of the source with this name in the plan."""
        self.name, self.source = name, source

    def words(self, *words: str) -> tuple[str, ...]:
        """Its argument vector for this stanza."""
        return (
            "pgbackrest", f"--stanza={self.source.stanza}", f"--config={self.source.config}", "--log-level-file=off",
            *words,
        )  # fmt: skip

    def tool(self, connection: Connection, user: str) -> str:
        """The tool's version on the host.

        Raises:
            Refused: below the safe floor. PreconditionFailed: it is missing.
        """
        result = self._run(connection, user, ("pgbackrest", "version"), ASK_SECONDS)
        match = re.search(r"(\d+)\.(\d+)", result.text)
        if not result.ok or match is None:
            raise PreconditionFailed(
                f"pgBackRest does not run: {result.tail(2)}",
                connection.name,
                "install pgbackrest on the host",
            )
        if (int(match[1]), int(match[2])) < FLOOR:
            raise Refused(
                f"pgBackRest {match[0]} is below {FLOOR[0]}.{FLOOR[1]}: differential and incremental backups made "
                "by it may lack files.",
                connection.name,
                f"update pgbackrest to {FLOOR[0]}.{FLOOR[1]} or newer, then take a full backup",
            )
        return match[0]

    def stanza(self, connection: Connection, user: str, label: str = "") -> Stanza:
        """What the repository holds; with a label, only that set, and its damaged files.

        Raises:
            PreconditionFailed: there is no such stanza, or the repository refuses us.
        """
        words = ("--output=json", *((f"--set={label}",) if label else ()), "info")
        result = self._asked(connection, user, words, ASK_SECONDS)
        return read_info(result.text, self.source.stanza, f"{self.name} on {connection.name}")

    def verify(self, connection: Connection, user: str, label: str) -> str:
        """Have the tool read every file of the repository and check it, and say what it says of one set.

        Raises:
            Damaged: the set is gone or not valid, or WAL is missing or damaged.
        """
        result = self._asked(connection, user, ("--output=text", "--verbose", "verify"), WORK_SECONDS)
        return read_verify(result.text, label, f"{self.name} on {connection.name}")

    def back_up(self, connection: Connection, user: str, kind: str) -> BackupSet:
        """Take a backup.

        Raises:
            Damaged: the tool found broken pages: the set exists and is no recovery point.
        """
        before = {one.id for one in self.stanza(connection, user).sets}
        self._asked(connection, user, (f"--type={kind}", "backup"), WORK_SECONDS)
        fresh = [one for one in self.stanza(connection, user).sets if one.id not in before]
        where = f"{self.name} on {connection.name}"
        if not fresh:
            raise Damaged("the tool says it took a backup, and there is none.", where, "look at its log")
        if fresh[0].error:
            found = self.stanza(connection, user, fresh[0].id).find(fresh[0].id)
            files = ", ".join(printable(path) for path in (found.damaged if found else ())[:5])
            raise Damaged(
                f"the cluster has broken pages ({files or 'the tool names none'}): set {fresh[0].id} is no recovery "
                "point.",
                where,
                "run a recovery for this database; older recovery points are kept. Stop the backup schedule "
                "until then: its retention would expire them",
            )
        return fresh[0]

    def _asked(self, connection: Connection, user: str, words: tuple[str, ...], timeout: float) -> Result:
        result = self._run(connection, user, self.words(*words), timeout)
        if result.ok:
            return result
        where, said = f"{self.name} on {connection.name}", printable(result.tail(4))
        if result.status in (*_LOCKED, *_UNREACHABLE):
            raise Transient(f"pgBackRest could not work now: {said}", where, "it is tried again")
        raise PreconditionFailed(
            f"pgBackRest ended with {result.status}: {said}",
            where,
            f"try `{' '.join(self.words('check'))}` as {user} on the host",
        )

    def _run(self, connection: Connection, user: str, words: tuple[str, ...], timeout: float) -> Result:
        command = Command(
            ("sh", "-c", _FROM_ROOT, "reinstate-pgbackrest", *words), sudo=True, user=user, env={"LC_ALL": "C"},
            timeout=timeout,
        )  # fmt: skip
        result = connection.run(command, limit=64 << 20)
        if result.status is None:
            raise Transient("the connection was lost while pgBackRest ran.", connection.name, "run it again")
        return result


class PgBackRestStore(ToolStore):
    """Recovery points of clusters: our signed manifests, the bytes in the tool's repository.

    Args:
        name: of the source in the plan.
        catalogue: where the signed manifests are.
        tool: what keeps the bytes.
    """

    def __init__(self, name: str, catalogue: BackupStore, tool: PgBackRest) -> None:
        super().__init__(name, catalogue, tool.kind)
        self.tool: PgBackRest = tool


def read_info(text: str, stanza: str, where: str) -> Stanza:
    """What `info --output=json` says of a stanza.

    Raises:
        PreconditionFailed: it is not there, or the answer is not understood.
    """
    remedy = f"see `pgbackrest --stanza={stanza} info`; make the stanza with `stanza-create`"
    try:
        mine: list[dict[str, Any]] = [one for one in json.loads(text) if one["name"] == stanza]
        if not mine or not mine[0]["db"]:
            said = mine[0]["status"]["message"] if mine else "it is unknown"
            raise PreconditionFailed(f"the stanza {stanza} cannot be used: {printable(said)}.", where, remedy)
        whole, database = mine[0], mine[0]["db"][-1]
        archives = [one for one in whole["archive"] if one["database"]["id"] == database["id"]]
        sets = [_set(one) for one in whole["backup"] if one["database"]["id"] == database["id"]]
        return Stanza(
            system_id=str(database["system-id"]), version=database["version"],
            wal_min=(archives[-1].get("min") or "") if archives else "",
            wal_max=(archives[-1].get("max") or "") if archives else "",
            sets=tuple(sorted(sets, key=lambda one: one.taken_at, reverse=True)),
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError, ValidationError) as error:
        raise PreconditionFailed(
            f"the answer of `info` is not understood: {type(error).__name__}.", where, remedy
        ) from None


def _set(told: dict[str, Any]) -> BackupSet:
    return BackupSet(
        id=told["label"], taken_at=datetime.fromtimestamp(told["timestamp"]["stop"], UTC), kind=told["type"],
        bytes=told["info"]["size"], error=bool(told.get("error", False)), lsn_stop=told.get("lsn", {}).get("stop", ""),
        wal_start=told["archive"]["start"] or "", wal_stop=told["archive"]["stop"] or "",
        damaged=tuple(told.get("error-list") or ()),
    )  # fmt: skip


def read_verify(text: str, label: str, where: str) -> str:
    """What `verify --output=text --verbose` says of a set, as a sentence; its exit code says nothing.

    Raises:
        Damaged: the set is not named or not valid, or the archive has gaps or damage.
    """
    remedy = "use another recovery point; keep this one for the investigation"
    lines = [line.strip() for line in text.splitlines()]
    count = _counter(lines)
    mine = [number for number, line in enumerate(lines) if line.startswith(f"backup: {label}, ")]
    if not mine:
        raise Damaged(f"the repository's verification does not know the set {label}.", where, remedy)
    if ", status: valid," not in lines[mine[0]] or count(mine[0]):
        raise Damaged(f"the set is damaged: {printable(lines[mine[0]])}.", where, remedy)
    for number, line in enumerate(lines):
        if line.startswith("archiveId: ") and count(number):
            raise Damaged(
                f"WAL is missing or damaged: {printable(line)}, {printable(lines[number + 1])}.",
                where,
                remedy,
            )
    return f"Set {label} is valid: {lines[mine[0]].rpartition('total valid files: ')[2]} files read."


def _counter(lines: list[str]) -> Callable[[int], int]:
    def count(number: int) -> int:
        """Faults that the line below a heading counts."""
        below = lines[number + 1] if number + 1 < len(lines) else ""
        return (
            sum(int(found) for found in re.findall(r": (\d+)", below)) if below.startswith("missing: ") else 1
        )

    return count
