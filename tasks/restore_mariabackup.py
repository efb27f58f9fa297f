"""Restoring a MariaDB server's data directory from mariabackup: beside the live one, proven there, then exchanged.

The server goes on serving, as far as it does, until the restored data is whole; then it and its users stop, the two
folders change places by renaming, and they start again. The damaged directory stays, untouched, until commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.mariadb import MariadbTools
from model.assets import MariadbAsset, ServiceAsset
from model.errors import Refused, ReinstateError, Transient
from model.proposal import RestoreCluster
from tasks import mariabackup_scripts as scripts
from tasks.exchange import Exchange, layout_of, users_of
from tasks.landing import proven_manifest
from tasks.mariabackup_beside import lay, private_server, require_whole
from tasks.mariabackup_tool import script
from tasks.performed import Performed
from tasks.row_counts import refuse_shrunk
from tasks.staging import Progress


@dataclass(frozen=True)
class DataDirectory(Exchange):
    """One effect on a server's data directory."""

    asset: MariadbAsset
    secrets: Secrets

    def answers(self) -> None:
        """Ask the server something."""
        with MariadbTools(self.connection, self.asset, self.secrets) as tools:
            tools.rows("SELECT JSON_OBJECT('one', 1)")

    def discard(self, name: str) -> None:
        """Remove what was laid beside the live directory."""
        self.job(name, script(scripts.END, self.layout.new, self.layout.private))


def _effect(
    connection: Connection, asset: MariadbAsset, secrets: Secrets, services: Mapping[str, ServiceAsset],
    action: RestoreCluster, job_prefix: str, token: int,
) -> DataDirectory:  # fmt: skip
    layout = layout_of(asset, job_prefix, action.id)
    if action.data_directory != layout.live:
        raise Refused("the action is about another data directory.", connection.name, "propose again")
    return DataDirectory(
        connection, layout, services[asset.service or ""], users_of(asset, services), job_prefix, token, "", "mysql",
        "data directory", asset, secrets,
    )  # fmt: skip


def perform(
    connection: Connection,
    asset: MariadbAsset,
    secrets: Secrets,
    action: RestoreCluster,
    store: BackupStore,
    services: Mapping[str, ServiceAsset],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Restore the data directory of a signed action.

    Args:
        connection: the host.
        asset: the database of the plan.
        secrets: resolver of the plan's references (the password).
        action: which folder, from which recovery point.
        store: where the point is.
        services: service assets of the plan by name.
        job_prefix: start of the jobs' names, `INCIDENT-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told (bytes fetched, bytes in all).

    Raises:
        Damaged: the backup is not whole; the live directory is in its place and serves as before.
        Refused: another host's backup, one that lost its rows, or tools that do not fit. Unsupported: data elsewhere.
        PreconditionFailed: no room, tools missing. Transient: interrupted; calling again goes on.
    """
    effect = _effect(connection, asset, secrets, services, action, job_prefix, token)
    # Exchanged, or in the middle of it: what was laid there was found whole before.
    if effect.there()["aside"]:
        return effect.serve(asset.database, action.point.id, "", 0)
    manifest = proven_manifest(connection, store, action.point, action.asset)
    refuse_shrunk(store, action.point, manifest)
    where = f"{store.name}:{action.point.key}"
    stopped = False
    try:
        owner, moved = lay(connection, asset, store, manifest, effect.layout, effect.job, token, progress)
        with private_server(connection, asset, secrets, effect.layout, owner, where) as tools:
            proof = require_whole(tools, manifest, where)
        stopped = True
        effect.stop()
        return effect.serve(asset.database, action.point.id, proof, moved)
    except Transient:
        raise
    except ReinstateError:
        if not effect.there()["aside"]:
            effect.discard("discard")
            if stopped:
                effect.start("again")
        raise


def undo(
    connection: Connection,
    asset: MariadbAsset,
    secrets: Secrets,
    action: RestoreCluster,
    services: Mapping[str, ServiceAsset],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Put the data directory back that was there before, bit for bit; what was restored stays beside it.

    Raises:
        ReinstateError: a rename failed.
    """
    return _effect(connection, asset, secrets, services, action, job_prefix, token).undo(progress)
