"""Restoring a database from a dump: into a new database, counted, then renamed into place; the damaged one is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping

from blocks.backups.base import BackupStore
from blocks.hosts import elevate
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.postgres import Tools, client_version
from model.assets import PostgresAsset
from model.command import Command
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError, Transient
from model.manifest import Manifest
from model.proposal import RestoreDatabase
from tasks import landing
from tasks.backup_database import COUNTS, read_counts
from tasks.database_swap import SECONDS, DatabaseEffect, Names
from tasks.fetch import fetch
from tasks.performed import Performed
from tasks.pieces import Piece
from tasks.row_counts import refuse_shrunk
from tasks.staging import Progress, staging

SAFE_CLIENTS: Mapping[int, int] = {14: 25, 15: 20, 16: 16, 17: 12, 18: 7}
"""Major version → first minor version whose pg_restore does not run code hidden in a dump."""

_FROM_FILE = 'dump=$1; shift; exec "$@" <"$dump"'
_ROLE = re.compile(r'role "([^"]+)" does not exist')


def client_is_safe(version: tuple[int, int], ours: bool) -> bool:
    """Whether a pg_restore of this version may read a dump.

    Below the safe minor versions a hostile dump runs code on the client (guarantees.md, 4); a dump that we made, as its
    manifest's signature proves, is not hostile.

    Args:
        version: major and minor version of pg_restore.
        ours: the dump's manifest carries our signature and the dump its hash.
    """
    major, minor = version
    return ours or major > max(SAFE_CLIENTS) or minor >= SAFE_CLIENTS.get(major, 1 << 30)


def perform(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreDatabase,
    store: BackupStore,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
    machine_id: str = "",
) -> Performed:
    """Restore the database of a signed action.

    Args:
        connection: the host.
        asset: the database of the plan.
        secrets: resolver of the plan's references (the password).
        action: which database, from which recovery point.
        store: where the point is.
        job_prefix: start of the jobs' names, `INCIDENT-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told (bytes fetched, bytes in all).
        machine_id: machine the backup must come from, for a cross-restore signed as such; default: this host.

    Raises:
        Damaged: dump or manifest is wrong, or the restored rows are not those of the manifest; the live database was
            not touched. Refused: another host's backup, or a client that must not read it.
        PreconditionFailed: roles or tools are missing. Transient: interrupted; calling again goes on.
    """
    manifest = landing.proven_manifest(connection, store, action.point, action.asset, machine_id)
    where = f"{store.name}:{action.point.key}"
    if manifest.format != "pg_dump-custom" or action.database != asset.database:
        raise Refused(f"this is not a dump of {asset.database}.", where, "propose again")
    refuse_shrunk(store, action.point, manifest)
    names = Names.of(asset.database, job_prefix, action.id)
    with Tools(connection, asset, secrets) as tools:
        effect = DatabaseEffect(tools, names, job_prefix, token)
        version = client_version(tools, "pg_restore")
        if not client_is_safe(version, ours=True):  # the store verified signature and place of the manifest
            raise Refused(
                f"pg_restore {version[0]}.{version[1]} must not read this dump.", where, "update it"
            )
        there = tools.databases()
        if names.damaged in there and names.fresh not in there:
            return Performed(f"{names.live} was restored from {action.point.id} already.")
        moved = 0
        if names.damaged not in there:
            moved = restore_beside(effect, store, manifest, progress)
        _swap(effect, tools.databases())
    rows = sum(count.rows for count in manifest.tables)
    return Performed(
        f"{names.live} restored from {action.point.id}: {len(manifest.tables)} tables with {rows} rows, counted before "
        f"the swap; the damaged database is kept as {names.damaged}.",
        moved,
    )


def restore_beside(effect: DatabaseEffect, store: BackupStore, manifest: Manifest, progress: Progress) -> int:
    """Fetch a dump, load it into the fresh database and count its rows; returns the bytes moved.

    Raises:
        Damaged: the dump is not what its manifest says. PreconditionFailed: roles are missing.
    """
    names, connection = effect.names, effect.tools.connection
    with staging(connection, effect.prefix, effect.token) as stage:
        piece = Piece("dump", "the dump", 0, manifest.object_bytes, manifest.object_sha256)
        moved = fetch(stage, store, manifest.object_key, manifest.object_bytes, [piece], progress)
        effect.create()
        try:
            _load(effect, f"{stage.path}/dump")
            require_counts(effect, manifest)
        except Transient:
            raise
        except ReinstateError:
            effect.drop("discard", names.fresh)
            raise
    return moved


def _load(effect: DatabaseEffect, dump: str) -> None:
    connection, fresh = effect.tools.connection, effect.names.fresh
    command = effect.tools.command("pg_restore", "--exit-on-error", database=fresh, timeout=SECONDS)
    keeper = elevate.keeper(connection.host)
    words = (*(elevate.prefix(connection.host, keeper, command.user) if command.user else ()), *command.argv)
    load = Command(
        ("sh", "-c", _FROM_FILE, "reinstate-load", dump, *words), sudo=True, env=command.env, timeout=SECONDS
    )
    result = connection.job(f"{effect.prefix}-load", load, effect.token)
    missing = _ROLE.search(result.stderr.decode("utf-8", "replace"))
    if missing is not None:
        raise PreconditionFailed(
            f"the role {missing[1]} owns objects of the dump and does not exist on this server.",
            effect.where,
            f"create the role {missing[1]} (a dump of one database holds no roles), then run it again",
        )
    if not result.ok:
        raise ReinstateError(
            f"the dump could not be loaded: {result.tail(3)}.", effect.where,
            "look at the server's log (disk full, extension missing); the live database was not touched",
        )  # fmt: skip
    effect.job(
        "analyze", effect.script("ANALYZE;", database=fresh), "the planner's statistics could not be made",
        "look at the server's log; the live database was not touched",
    )  # fmt: skip


def require_counts(effect: DatabaseEffect, manifest: Manifest) -> None:
    """The rows of the fresh database against the manifest's.

    Raises:
        Damaged: naming the first table that differs.
    """
    result = effect.tools.psql(COUNTS, database=effect.names.fresh, timeout=SECONDS)
    if result.status is None or result.status == 2:
        raise Transient("the connection was lost while rows were counted.", effect.where, "run it again")
    found = read_counts(result.check(effect.where, "look at the server's log"))
    wanted = {count.table: count.rows for count in manifest.tables}
    for table in sorted({*found, *wanted}):
        if found.get(table) != wanted.get(table):
            raise Damaged(
                f"table {table} has {found.get(table, 'no')} rows after loading, the manifest says "
                f"{wanted.get(table, 'none')}; the live database was not touched.",
                effect.where,
                "use another recovery point; keep this one for the investigation",
            )
    if not wanted:
        raise Damaged("the manifest names no table.", effect.where, "use another recovery point")


def _marker(effect: DatabaseEffect) -> str:
    return f"{effect.tools.connection.host.state_dir.rstrip('/')}/{effect.names.damaged}.was-absent"


def _swap(effect: DatabaseEffect, there: set[str]) -> None:
    names = effect.names
    if names.live in there and names.damaged in there:
        raise PreconditionFailed(
            f"{names.live}, {names.fresh} and {names.damaged} are all there: somebody made {names.live} anew.",
            effect.where,
            "decide by hand which one is right, and rename the other",
        )
    if names.live not in there and names.damaged not in there:
        effect.tools.connection.write_file(_marker(effect), b"")  # so that an undo knows
    effect.rename("swap", names.live, names.fresh, names.damaged if names.live in there else "")


def undo(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreDatabase,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Rename the databases back; what was restored stays beside it, with anything written to it since.

    Args:
        connection: the host.
        asset: the database of the plan.
        secrets: resolver of the plan's references.
        action: the action to undo.
        job_prefix: start of the jobs' names, `INCIDENT-undo-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told once, at the end.

    Raises:
        ReinstateError: a rename failed; nothing was changed then.
    """
    names = Names.of(asset.database, job_prefix, action.id)
    with Tools(connection, asset, secrets) as tools:
        effect = DatabaseEffect(tools, names, job_prefix, token)
        there = tools.databases()
        sentence = f"{names.live} was not replaced; nothing had to be renamed back."
        if names.damaged in there:
            keep = names.undone if names.live in there else ""
            effect.rename("rename", names.live, names.damaged, keep)
            sentence = f"{names.live} is again what it was before the recovery."
            if keep:
                sentence += f" The restored database is kept as {keep}."
        elif names.live in there and names.fresh not in there and _was_absent(effect):
            effect.rename("rename", names.undone, names.live, "")
            sentence = (
                f"{names.live} is absent again, as before; the restored database is kept as {names.undone}."
            )
        elif names.fresh in there:
            effect.drop("discard", names.fresh)
    progress(1, 1)
    return Performed(sentence)


def _was_absent(effect: DatabaseEffect) -> bool:
    try:
        effect.tools.connection.read_file(_marker(effect), limit=1)
    except PreconditionFailed:
        return False
    return True


def forget(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreDatabase,
    *,
    job_prefix: str,
    token: int,
) -> Performed:
    """After commit and retention: drop the damaged database that was kept."""
    names = Names.of(asset.database, job_prefix, action.id)
    with Tools(connection, asset, secrets) as tools:
        DatabaseEffect(tools, names, job_prefix, token).drop("forget", names.damaged)
    return Performed(f"{names.damaged} was dropped.")
