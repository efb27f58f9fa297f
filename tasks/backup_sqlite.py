"""Backing up a SQLite database: a copy of one moment by the backup API, checked on the host, then streamed away."""

from __future__ import annotations

import contextlib
import secrets as random
from collections.abc import Callable

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from checks.sqlite import SqliteFile, look, recorded
from checks.stat import collect
from model.assets import SqliteAsset
from model.canonical import now
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from tasks.backup_files import point_id
from tasks.passage import pass_into
from tasks.row_counts import refuse_loss
from tasks.staging import Progress, ask

SECONDS = 12 * 3600.0
_MAKE = 'umask 077; mkdir -p -- "$1"'


def back_up_sqlite(
    connection: Connection,
    name: str,
    asset: SqliteAsset,
    host: str,
    store: BackupStore,
    progress: Progress,
) -> RecoveryPoint:
    """Copy a database into the store; the recovery point exists once the copy was checked and read back.

    Args:
        connection: the asset's host.
        name: of the asset in the plan.
        asset: the database.
        host: name of the host in the plan.
        store: where to.
        progress: told (bytes stored, size of the database).

    Raises:
        Damaged: the database is damaged, or lost all its rows: nothing is published.
        PreconditionFailed: nothing on the host reads SQLite, or there is no room. Refused: the host is not the plan's.
        Transient: a connection was lost.
    """
    machine_id = prove(connection).machine_id
    where = f"{host}:{asset.path}"
    live = collect(connection, [asset.path], "none")[asset.path]
    if live.type is not FileType.FILE:
        raise Damaged(
            f"there is no database file there but {live.type}. No backup was made of it.", where,
            "run a recovery for this database; older recovery points are kept",
        )  # fmt: skip
    folder = f"{connection.host.state_dir.rstrip('/')}/sqlite-{random.token_hex(8)}"
    copy = f"{folder}/copy"
    ask(connection, "sh", "-c", _MAKE, "reinstate-make", folder)
    try:
        taken = now()
        try:
            SqliteFile(connection, asset.path).backup(copy)
        except PreconditionFailed as error:
            if "malformed" in error.what or "not a database" in error.what:
                raise _damaged(error.what, where) from error
            raise
        file = SqliteFile(connection, copy)
        data = look(file)
        if data.errors:
            raise _damaged(data.errors[0][1], where)
        tables = recorded(file, data)
        refuse_loss(store, name, tables, where)
        size = collect(connection, [copy], "none")[copy].size
        key = f"{name}/{point_id(taken)}/dump"
        sha256, count = pass_into(
            store,
            key,
            lambda offer: _stream(connection, copy, offer),
            lambda done: progress(min(done, size), size),
        )
        facts = collect(connection, [copy])[copy]
        if (facts.sha256, facts.size) != (sha256, count):
            raise Transient("the copy did not arrive whole.", where, "run it again")
    finally:
        with contextlib.suppress(Transient):  # what is left over is harmless
            ask(connection, "rm", "-rf", "--", folder)
    entry = Entry(
        path=".", type=FileType.FILE, mode=live.mode, uid=live.uid, gid=live.gid, size=count, mtime_ns=live.mtime_ns,
        sha256=sha256,
    )  # fmt: skip
    manifest = Manifest(
        asset=name, point=point_id(taken), format="sqlite", host=host, machine_id=machine_id, root=asset.path,
        taken_at=taken, object_key=key, object_sha256=sha256, object_bytes=count, tables=tables, entries=(entry,),
        version=data.version,
    )  # fmt: skip
    progress(size, size)
    return store.publish(manifest)


def _stream(connection: Connection, path: str, offer: Callable[[bytes], None]) -> None:
    result = ask(connection, "cat", "--", path, timeout=SECONDS, on_stdout=offer)
    if not result.ok:
        raise PreconditionFailed(
            f"the copy cannot be read: {result.tail(2)}.", connection.name, "look at the host's disk"
        )


def _damaged(why: str, where: str) -> Damaged:
    return Damaged(
        f"the database is damaged: {why}. No backup was made of it.",
        where,
        "run a recovery for this database; older recovery points are kept",
    )
