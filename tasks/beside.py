"""The moment before a mistake, beside production: a private server of the cluster's owner, and what it tells of now.

Nothing live is changed: the server beside reads the keys and hashes of the live rows, and compares them itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.postgres import Tools
from model.assets import PostgresAsset
from model.command import Command, Result
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.manifest import RecoveryPoint
from model.mistake import TableDifference
from tasks import cluster_scripts as scripts
from tasks import rows_sql
from tasks.cluster_layout import (
    control_facts,
    lay,
    proven_set,
    require_laid,
    require_room,
    script,
)
from tasks.exchange import Layout, ask
from tasks.restore_cluster import NOT_WHOLE
from tasks.rows_sql import SETTINGS, Table

Step = Callable[[str, Command], Result]
"""Runs a named command on the host: as a job in an effect, plainly while people only look."""

_LOG = logging.getLogger("reinstate.beside")


class Target(Protocol):
    """Where a recovery ends: a mistake's last good moment, or the end of the backup itself."""

    @property
    def when(self) -> str:
        """The moment, for people."""
        ...

    @property
    def settings(self) -> tuple[str, ...]:
        """Lines of PostgreSQL's configuration."""
        ...


@dataclass(frozen=True)
class EndOfBackup:
    """The first consistent state: what the set holds, and nothing that only its WAL would bring."""

    when: str = "the end of the backup"
    settings: tuple[str, ...] = ("recovery_target = 'immediate'",)


@dataclass(frozen=True)
class Beside:
    """Two servers, side by side, both reached by their owner over their sockets.

    Attributes:
        point: that the server beside was restored from.
        live: tools of the live database.
        then: tools of the database as it was.
        status: a file for the status of what is piped.
    """

    point: RecoveryPoint
    live: Tools
    then: Tools
    status: str

    def tables(self) -> list[tuple[Table, str]]:
        """Every table of then, and why it is not compared; empty when it is."""
        now = {table.title: table for table in map(Table.of, self.live.rows(rows_sql.TABLES))}
        found = []
        for table in map(Table.of, self.then.rows(rows_sql.TABLES)):
            today = now.get(table.title)
            why = ""
            if today is None:
                why = "the table is gone: bring it back by hand with pg_dump from a restore to that moment"
            elif (today.columns, today.key) != (table.columns, table.key):
                why = "its columns were changed since"
            elif not table.key:
                why = "it has no primary key"
            found.append((table, why))
        return found

    def compare(self, number: int, table: Table) -> TableDifference:
        """Then against now, counted on the server beside."""
        made, out, into = rows_sql.live_keys(table, number)
        self.then.psql(SETTINGS + made).check(self.then.connection.name, "look at the host's disk")
        self.pipe(self.live, out, self.then, into)
        (row,) = self.then.rows(rows_sql.difference(table, number), timeout=4 * 3600.0)
        return TableDifference(table=table.title, **row)

    def pipe(self, source: Tools, out: str, target: Tools, into: str) -> None:
        """Rows from one server to the other, on the host.

        Raises:
            PreconditionFailed: one of them broke off. Transient: the connection was lost.
        """
        result = ask(source.connection, self.pipe_command(source, out, target, into))
        if not result.ok:
            raise PreconditionFailed(
                f"rows could not be compared: {result.tail(3)}",
                source.connection.name,
                "look at both servers' logs",
            )

    def pipe_command(self, source: Tools, out: str, target: Tools, into: str) -> Command:
        """The command of `pipe`."""
        asset = source.asset
        return script(
            scripts.PIPE, asset, asset.bin_dir, source.asset.server, str(source.asset.port), target.asset.server,
            str(target.asset.port), asset.database, self.status, out, into,
        )  # fmt: skip


def socket_of(connection: Connection, asset: PostgresAsset) -> PostgresAsset:
    """The asset as its cluster's owner reaches it, by peer authentication over the socket, as pgBackRest does.

    Raises:
        PreconditionFailed: the server does not run.
    """
    result = ask(connection, script(scripts.SOCKET, asset, asset.data_directory or ""))
    lines = result.text.split("\n")
    if not result.ok or len(lines) < 2 or not lines[0].isdigit() or not lines[1].startswith("/"):
        raise PreconditionFailed(
            "the server does not run, or has no socket: the rows of now cannot be compared.",
            f"{connection.name}:{asset.data_directory}",
            "start the server (with a socket directory), then propose again",
        )
    return asset.model_copy(
        update={"server": lines[1], "port": int(lines[0]), "user": asset.os_user, "password": None}
    )


@contextmanager
def beside(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    store: PgBackRestStore,
    points: Sequence[RecoveryPoint],
    target: Target,
    layout: Layout,
    step: Step,
) -> Iterator[Beside]:
    """Restore a cluster to a moment beside the live one; it is gone again afterwards.

    Args:
        connection: the host.
        asset: the database.
        secrets: resolver of the plan's references.
        store: where the points are.
        points: tried in this order.
        target: where recovery ends.
        layout: folders of this effect.
        step: how commands are run.

    Raises:
        Damaged: no point reaches the moment. PreconditionFailed: no room, or the live server does not run.
        Transient: interrupted; what is beside stays for the next try.
    """
    live = socket_of(connection, asset)
    require_room(connection, asset)
    timeline = control_facts(connection, asset).get("Latest checkpoint's TimeLineID", "")
    end = script(scripts.END, asset, layout.new, layout.private)
    wrong: list[str] = []
    try:
        for number, point in enumerate(points):
            try:
                _open(connection, asset, store, point, target, layout, timeline, step, number)
            except Damaged as error:
                _LOG.warning("%s", error)
                wrong.append(error.what)
                continue
            then = live.model_copy(update={"server": layout.private, "port": 5432})
            with Tools(connection, live, secrets) as one, Tools(connection, then, secrets) as other:
                yield Beside(point, one, other, f"{layout.private}/status")
            step("end", end)
            return
        raise Damaged(
            f"no recovery point reaches {target.when}: {' '.join(wrong) or 'there is none'}", connection.name,
            "name another moment; nothing was changed",
        )  # fmt: skip
    except Transient:
        raise
    except ReinstateError:
        step("end", end)
        raise


def _open(
    connection: Connection, asset: PostgresAsset, store: PgBackRestStore, point: RecoveryPoint, target: Target,
    layout: Layout, timeline: str, step: Step, number: int,
) -> None:  # fmt: skip
    manifest = proven_set(connection, asset, store, point, point.asset)
    require_laid(
        step(f"lay-{number}", lay(asset, store.tool, layout, manifest.snapshot)), store, manifest.snapshot
    )
    command = script(
        scripts.BESIDE, asset, layout.live, layout.new, layout.private, asset.bin_dir,
        timeline if timeline.isdigit() else "latest", *target.settings,
    )  # fmt: skip
    result = step(f"beside-{number}", command)
    if result.status == NOT_WHOLE:
        raise Damaged(
            f"set {manifest.snapshot} does not reach {target.when}: {result.tail(3)}.", connection.name
        )
    if not result.ok:
        raise PreconditionFailed(
            f"the moment before could not be restored: {result.tail(3)}.", connection.name, "look at the host"
        )
