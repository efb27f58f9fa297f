"""Backing up a PostgreSQL cluster: pgBackRest takes it, our signed manifest says what it is and what rows it held."""

from __future__ import annotations

from datetime import timedelta

from blocks.backups.pgbackrest import PgBackRest, PgBackRestStore, Stanza
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.secrets import Secrets
from checks.postgres import Tools
from model.assets import PostgresAsset
from model.canonical import now
from model.errors import Damaged, PreconditionFailed, Refused, Transient
from model.manifest import Manifest, RecoveryPoint, TableCount
from tasks.backup_database import COUNTS, SECONDS, read_counts
from tasks.backup_files import point_id
from tasks.row_counts import refuse_loss
from tasks.staging import Progress

_SYSTEM = "SELECT system_identifier::text AS id, current_setting('server_version') AS version FROM pg_control_system()"
_ARCHIVING = """
SELECT current_setting('archive_mode') AS mode, last_failed_wal AS failed,
       last_failed_time > coalesce(last_archived_time, '-infinity') AS failing
FROM pg_stat_archiver
"""


def back_up_cluster(
    connection: Connection,
    name: str,
    asset: PostgresAsset,
    host: str,
    store: PgBackRestStore,
    secrets: Secrets,
    progress: Progress,
) -> RecoveryPoint:
    """Take a backup of the cluster a database is in; the recovery point exists once the tool knows of no damage in it.

    Args:
        connection: the asset's host.
        name: of the asset in the plan.
        asset: the database.
        host: name of the host in the plan.
        store: where to.
        secrets: resolver of the plan's references (the password).
        progress: told (steps done, steps).

    Raises:
        Damaged: pages are broken, or all rows are gone: there is no recovery point.
        Refused: the tool is too old, or the stanza is another cluster's. PreconditionFailed: WAL is not archived.
        Transient: connection or repository was lost.
    """
    machine_id, user, tool = prove(connection).machine_id, asset.os_user, store.tool
    where = f"{host}:{asset.database}"
    tool.tool(connection, user)
    with Tools(connection, asset, secrets) as tools:
        (live,) = tools.rows(_SYSTEM)
        require_archiving(tools, where)
        stanza = tool.stanza(connection, user)
        require_same(stanza, live["id"], where)
        tables = _count(tools, where)
    refuse_loss(store, name, tables, where)
    progress(1, 3)
    made = tool.back_up(connection, user, _kind(tool, stanza))
    progress(2, 3)
    point = point_id(made.taken_at)
    manifest = Manifest(
        asset=name, point=point, format="pgbackrest", host=host, machine_id=machine_id, root=asset.data_directory or "",
        taken_at=made.taken_at, object_key=f"{name}/{point}/pending", object_sha256="0" * 64, object_bytes=0,
        tables=tables, version=live["version"],
    )  # fmt: skip
    recorded = store.record(manifest, made, repository(tool, stanza))
    progress(3, 3)
    return recorded


def repository(tool: PgBackRest, stanza: Stanza) -> str:
    """What tells this repository's cluster from every other: stanza and system identifier."""
    return f"{tool.source.stanza}/{stanza.system_id}"


def require_same(stanza: Stanza, system_id: str, where: str) -> None:
    """Refuse the repository of another cluster (G7)."""
    if stanza.system_id != system_id:
        raise Refused(
            f"the stanza holds cluster {stanza.system_id}, this server is cluster {system_id}.", where,
            "name this cluster's own stanza in the plan; after an upgrade run `pgbackrest stanza-upgrade`",
        )  # fmt: skip


def require_archiving(tools: Tools, where: str) -> None:
    """A backup without its WAL cannot be restored, let alone to a point in time."""
    (row,) = tools.rows(_ARCHIVING)
    if row["mode"] == "off":
        raise PreconditionFailed(
            "the server archives no WAL (`archive_mode` is off): a backup would be no recovery point.", where,
            "set archive_mode = on and archive_command = 'pgbackrest --stanza=… archive-push %p', restart the server",
        )  # fmt: skip
    if row["failing"]:
        raise PreconditionFailed(
            f"archiving of WAL fails since {row['failed']}.", where,
            "look at the server's log; nothing after the last archived segment can be recovered",
        )  # fmt: skip


def _kind(tool: PgBackRest, stanza: Stanza) -> str:
    fulls = [one.taken_at for one in stanza.sets if one.kind == "full" and not one.error]
    due = not fulls or now() - fulls[0] >= timedelta(seconds=tool.source.full_every)
    # After a set with broken pages nothing may build on it: an incremental one would refer to its files.
    return "full" if due or (stanza.sets and stanza.sets[0].error) else "incr"


def _count(tools: Tools, where: str) -> tuple[TableCount, ...]:
    result = tools.psql(f"SET row_security = off;\n{COUNTS}", timeout=SECONDS)
    if result.status == 2:
        raise Transient("the server went away while rows were counted.", where, "run it again")
    if not result.ok:
        raise Damaged(
            f"the database cannot be read: {result.tail(3)}. No backup was made of it.",
            where,
            "run a recovery for this database; older recovery points are kept",
        )
    return tuple(TableCount(table=table, rows=rows) for table, rows in sorted(read_counts(result).items()))
