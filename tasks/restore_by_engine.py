"""Restoring and undoing a MariaDB or SQLite database of a plan: each by its own engine's way."""

from __future__ import annotations

from collections.abc import Callable

from blocks.hosts.base import Connection
from model.assets import MariadbAsset, SqliteAsset
from model.errors import Unsupported
from model.proposal import RestoreCluster, RestoreDatabase
from tasks import restore_mariabackup, restore_mariadb, restore_sqlite
from tasks.performed import Performed
from tasks.work import Work

Progress = Callable[[int, int], None]


def perform(
    work: Work,
    connection: Connection,
    action: RestoreDatabase | RestoreCluster,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Restore the database of a signed action; see the engines' modules for what is raised."""
    store, secrets = work.file.backups()[action.point.source], work.file.secrets
    match action, work.plan.assets[action.asset]:
        case RestoreCluster(), MariadbAsset() as asset:
            return restore_mariabackup.perform(
                connection, asset, secrets, action, store, work.plan.services, job_prefix=job_prefix, token=token,
                progress=progress,
            )  # fmt: skip
        case RestoreDatabase(), MariadbAsset() as asset:
            return restore_mariadb.perform(
                connection,
                asset,
                secrets,
                action,
                store,
                job_prefix=job_prefix,
                token=token,
                progress=progress,
            )
        case RestoreDatabase(), SqliteAsset() as file:
            return restore_sqlite.perform(
                connection, file, work.plan.used_by(file), action, store, job_prefix=job_prefix, token=token,
                progress=progress,
            )  # fmt: skip
        case _, other:
            raise Unsupported(f"{action.asset} is of kind {other.kind}.", action.host, "propose again")


def undo(
    work: Work,
    connection: Connection,
    action: RestoreDatabase | RestoreCluster,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Bring back what was there before."""
    secrets = work.file.secrets
    match action, work.plan.assets[action.asset]:
        case RestoreCluster(), MariadbAsset() as asset:
            return restore_mariabackup.undo(
                connection, asset, secrets, action, work.plan.services, job_prefix=job_prefix, token=token,
                progress=progress,
            )  # fmt: skip
        case RestoreDatabase(), MariadbAsset() as asset:
            return restore_mariadb.undo(
                connection, asset, secrets, action, job_prefix=job_prefix, token=token, progress=progress
            )
        case RestoreDatabase(), SqliteAsset() as file:
            return restore_sqlite.undo(
                connection, file, work.plan.used_by(file), action, job_prefix=job_prefix, token=token,
                progress=progress,
            )  # fmt: skip
        case _, other:
            raise Unsupported(f"{action.asset} is of kind {other.kind}.", action.host, "propose again")
