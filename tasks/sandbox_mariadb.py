"""MariaDB in a sandbox: a dump in a database of its own, a data directory on a private server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.mariadb import MariadbTools, identifier
from model.assets import MariadbAsset
from model.errors import PreconditionFailed
from model.manifest import Manifest
from tasks import mariabackup_beside, restore_mariadb
from tasks.database_swap import Names
from tasks.exchange import Layout
from tasks.mariadb_swap import MariadbEffect
from tasks.rehearsal import Rehearsal
from tasks.sandbox_copy import Copy, dropped
from tasks.staging import Progress, staging


@contextmanager
def mariadb_copy(
    connection: Connection, asset: MariadbAsset, store: BackupStore, manifest: Manifest, secrets: Secrets,
    trial: str, progress: Progress,
) -> Iterator[Copy]:  # fmt: skip
    """A dump, loaded into a database of its own beside the live one."""
    names = Names.of(asset.database, trial, "trial")
    with MariadbTools(connection, asset, secrets) as tools, staging(connection, trial, 0) as stage:
        effect = MariadbEffect(tools, names, trial, 0)

        def spoil() -> None:
            table = next(count.table for count in manifest.tables if count.rows)
            _delete_one(tools, names.fresh, table)

        with dropped(effect):
            moved = restore_mariadb.fetch_dump(stage, store, manifest, progress)
            restore_mariadb.restore_beside(effect, manifest, f"{stage.path}/dump")
            yield Copy(
                asset.model_copy(update={"database": names.fresh, "host": connection.name}), moved,
                lambda: restore_mariadb.require_counts(effect, manifest), spoil,
            )  # fmt: skip


def _delete_one(tools: MariadbTools, database: str, table: str) -> None:
    place = f"{identifier(database)}.{identifier(table)}"
    row = f"SET SESSION foreign_key_checks = 0; DELETE FROM {place} LIMIT 1;\n"  # noqa: S608 - quoted
    if not tools.script(row).ok:
        raise PreconditionFailed(
            "the copy cannot be changed.", f"{tools.connection.name}:{database}", "give the database user DELETE"
        )  # fmt: skip


@contextmanager
def data_directory_copy(
    connection: Rehearsal, asset: MariadbAsset, store: BackupStore, manifest: Manifest, secrets: Secrets, trial: str,
    progress: Progress,
) -> Iterator[Copy]:  # fmt: skip
    """Beside the data directory, on a private server."""
    layout, where = (
        Layout.of(asset.data_directory or manifest.root, trial),
        f"{store.name}:{manifest.object_key}",
    )
    steady = next((c.table for c in manifest.tables if c.rows and c.checksum), "")
    try:
        mariabackup_beside.remove(connection, layout)  # what a run that was killed left there
        owner, moved = mariabackup_beside.lay(
            connection, asset, store, manifest, layout, connection.plainly, 0, progress
        )
        with mariabackup_beside.private_server(connection, asset, secrets, layout, owner, where) as tools:

            def require() -> None:
                mariabackup_beside.require_whole(tools, manifest, where)

            spoil = (lambda: _delete_one(tools, asset.database, steady)) if steady else None
            yield Copy(tools.asset, moved, require, spoil)
    finally:
        mariabackup_beside.remove(connection, layout)
