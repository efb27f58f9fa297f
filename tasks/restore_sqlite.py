"""Restoring a SQLite database: fetched, checked and counted beside, then renamed into place; the old one is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks.sqlite import SqliteFile, look, recorded
from checks.stat import collect
from model.assets import ServiceAsset, SqliteAsset
from model.command import Command
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError
from model.manifest import Entry, FileType, Manifest
from model.proposal import RestoreDatabase
from tasks import landing
from tasks.around import stopped
from tasks.fetch import fetch
from tasks.performed import Performed
from tasks.pieces import Piece
from tasks.row_counts import first_difference, refuse_shrunk, total
from tasks.staging import PLAIN, Progress, Staging, ask, staging

# The copy lies beside its place before anything changes, dressed and flushed.
_BESIDE = r"""
umask 077
cp -- "$1" "$2" && chown -- "$3" "$2" && chmod -- "$4" "$2" && sync -- "$2"
"""
# The path leads to the old file or to the new one at every moment; what SQLite keeps beside the old one goes with it,
# so that it is never applied to the new one.
_SWAP = r"""
path=$1 new=$2 kept=$3
[ -e "$new" ] || { [ -e "$path" ] && exit 0; exit 3; }
if [ -e "$path" ] && [ ! -e "$kept" ]; then ln -T -- "$path" "$kept" || cp -pT -- "$path" "$kept" || exit 3; fi
for part in -wal -shm -journal; do
    [ ! -e "$path$part" ] || mv -fT -- "$path$part" "$kept$part" || exit 3
done
mv -fT -- "$new" "$path" || exit 3
sync -f -- "$path" 2>/dev/null || sync
"""
_AWAY = r"""
path=$1 kept=$2
for part in -wal -shm -journal; do
    [ ! -e "$path$part" ] || mv -fT -- "$path$part" "$kept$part" || exit 3
done
[ ! -e "$path" ] || mv -fT -- "$path" "$kept"
sync -f -- "${path%/*}" 2>/dev/null || sync
"""
_HOLDERS = r"""
find /proc/[0-9]*/fd -lname "$1" -printf '%h\n' 2>/dev/null | while IFS=/ read -r _ _ pid _; do
    printf '%s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | head -c 80)"
done | sort -u
"""


@dataclass(frozen=True)
class _Paths:
    """The files of an effect; the same for all its attempts and its undo.

    Attributes:
        new: what will be renamed into place.
        damaged: what was there; kept until commit.
        undone: the restored one after an undo, with what was written to it meanwhile.
    """

    new: str
    damaged: str
    undone: str

    @classmethod
    def of(cls, path: str, job_prefix: str, action_id: str) -> _Paths:
        """The paths for an effect `INCIDENT-ACTION-ATTEMPT` or its undo `INCIDENT-undo-ACTION-ATTEMPT`."""
        incident = re.split(rf"-(?:undo-)?{re.escape(action_id)}(?:-|$)", job_prefix)[0]
        suffix = hashlib.sha256(f"{incident}/{action_id}".encode()).hexdigest()[:8]
        return cls(*(f"{path}.{what}-{suffix}" for what in ("new", "damaged", "restored")))


def perform(
    connection: Connection,
    asset: SqliteAsset,
    services: Mapping[str, ServiceAsset],
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
        services: what uses it; stopped while it is exchanged.
        action: from which recovery point.
        store: where the point is.
        job_prefix: start of the jobs' names, `INCIDENT-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told (bytes fetched, bytes in all).
        machine_id: machine the backup must come from, for a cross-restore signed as such; default: this host.

    Raises:
        Damaged: copy or manifest is wrong; the live database was not touched. Refused: another host's or path's
            backup, or one that holds no or too few rows.
        PreconditionFailed: somebody still has the file open. Transient: interrupted; calling again goes on.
    """
    manifest = landing.proven_manifest(connection, store, action.point, action.asset, machine_id)
    where = f"{store.name}:{action.point.key}"
    if manifest.format != "sqlite" or not manifest.root == action.database == asset.path:
        raise Refused(f"this is not a copy of {asset.path}.", where, "propose again")
    refuse_shrunk(store, action.point, manifest)
    paths = _Paths.of(asset.path, job_prefix, action.id)
    there = _there(connection, asset.path, paths)
    begun = paths.damaged in there or _was_absent(connection, paths)
    if begun and asset.path in there and paths.new not in there:
        return Performed(f"{asset.path} was restored from {action.point.id} already.")
    with staging(connection, job_prefix, token) as stage:
        moved = stage_copy(stage, store, manifest, progress)
        _run(
            connection, f"{job_prefix}-beside", _BESIDE,
            (staged_copy(stage), paths.new, *_dress(manifest, there.get(asset.path))), token,
        )  # fmt: skip
    if asset.path not in there and not begun:
        connection.write_file(_marker(connection, paths), b"")  # so that an undo knows
    with stopped(connection, services, job_prefix, token):
        _require_nobody(connection, asset)
        _run(connection, f"{job_prefix}-swap", _SWAP, (asset.path, paths.new, paths.damaged), token)
    kept = f"the damaged file is kept as {paths.damaged}" if asset.path in there else "there was none before"
    return Performed(
        f"{asset.path} restored from {action.point.id}: {len(manifest.tables)} tables with {total(manifest.tables)} "
        f"rows, checked before the swap; {kept}.",
        moved,
    )


def _there(connection: Connection, path: str, paths: _Paths) -> dict[str, Entry]:
    names = [path, paths.new, paths.damaged, paths.undone]
    found = collect(connection, names, "none")
    return {
        name: Entry(path=name, type=FileType.FILE, mode=found[name].mode, uid=found[name].uid, gid=found[name].gid)
        for name in names
        if found[name].type is not FileType.ABSENT
    }  # fmt: skip


def stage_copy(stage: Staging, store: BackupStore, manifest: Manifest, progress: Progress) -> int:
    """Fetch the copy, and have SQLite check it and count its rows before it is near its place; returns the bytes moved.

    Raises:
        Damaged: it is not what the manifest says.
    """
    piece = Piece("database", "the database", 0, manifest.object_bytes, manifest.object_sha256)
    moved = fetch(stage, store, manifest.object_key, manifest.object_bytes, [piece], progress)
    require_counts(
        SqliteFile(stage.connection, staged_copy(stage)), manifest, f"{store.name}:{manifest.object_key}"
    )
    stage.verify(staged_copy(stage), manifest.object_sha256)
    return moved


def staged_copy(stage: Staging) -> str:
    """Where the copy is."""
    return f"{stage.path}/database"


def require_counts(file: SqliteFile, manifest: Manifest, where: str) -> None:
    """SQLite's own checks, rows and checksums of a file against the manifest's.

    Raises:
        Damaged: naming what differs first.
    """
    data = look(file)
    counts = recorded(file, data)
    differs = data.errors[0][1] if data.errors else first_difference(
        manifest.tables, {c.table: c.rows for c in counts}, {c.table: c.checksum for c in counts}
    )  # fmt: skip
    if differs:
        raise Damaged(
            f"{differs}; the live database was not touched.", where,
            "use another recovery point; keep this one for the investigation",
        )  # fmt: skip


def _dress(manifest: Manifest, live: Entry | None) -> tuple[str, str]:
    """Owner and mode: of the file that is there, else as they were when it was backed up."""
    entry = live or next(iter(manifest.entries), None)
    if entry is None:
        raise Damaged("the manifest does not say whose the file is.", manifest.object_key, "use another one")
    return f"{entry.uid}:{entry.gid}", f"{entry.mode:05o}"


def _require_nobody(connection: Connection, asset: SqliteAsset) -> None:
    """Nobody may go on writing to a file that is no longer there."""
    pattern = re.sub(r"([\\*?\[\]])", r"\\\1", asset.path)
    holders = ask(connection, "sh", "-c", _HOLDERS, "reinstate-holders", pattern).text.splitlines()
    if holders:
        raise PreconditionFailed(
            f"process {holders[0].strip()} still has {asset.path} open.",
            connection.name,
            "name the service that uses it under `services` of the asset, or stop it by hand; the live database was "
            "not touched",
        )


def _run(connection: Connection, name: str, script: str, words: tuple[str, ...], token: int) -> None:
    command = Command(("sh", "-c", script, "reinstate-sqlite", *words), sudo=True, env=PLAIN, timeout=3600.0)
    result = connection.job(name, command, token)
    if not result.ok:
        raise ReinstateError(
            f"the database file could not be put into place: {result.tail(3)}.",
            f"{connection.name}:{words[0]}",
            "look at that folder (full disk, read-only mount), then run it again",
        )


def _marker(connection: Connection, paths: _Paths) -> str:
    name = hashlib.sha256(paths.damaged.encode()).hexdigest()[:16]
    return f"{connection.host.state_dir.rstrip('/')}/set-aside/sqlite-{name}.was-absent"


def _was_absent(connection: Connection, paths: _Paths) -> bool:
    try:
        connection.read_file(_marker(connection, paths), limit=1)
    except PreconditionFailed:
        return False
    return True


def undo(
    connection: Connection,
    asset: SqliteAsset,
    services: Mapping[str, ServiceAsset],
    action: RestoreDatabase,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Put the file back that was there; the restored one stays beside it, with anything written to it since."""
    paths = _Paths.of(asset.path, job_prefix, action.id)
    there = _there(connection, asset.path, paths)
    sentence = f"{asset.path} was not replaced; nothing had to be put back."
    absent = _was_absent(connection, paths) and asset.path in there and paths.new not in there
    swapped = paths.damaged in there and paths.new not in there
    if swapped or absent:
        with stopped(connection, services, job_prefix, token):
            _require_nobody(connection, asset)
            # An attempt that was cut between the two steps has put the restored one away already.
            if asset.path in there and paths.undone not in there:
                _run(connection, f"{job_prefix}-away", _AWAY, (asset.path, paths.undone), token)
            if swapped:
                _run(connection, f"{job_prefix}-back", _AWAY, (paths.damaged, asset.path), token)
        sentence = (
            f"{asset.path} is {'again what it was before the recovery' if swapped else 'absent again, as before'}; "
            f"the restored one is kept as {paths.undone}."
        )
    elif paths.new in there:
        _run(connection, f"{job_prefix}-discard", 'rm -f -- "$1"', (paths.new,), token)
        if paths.damaged in there:  # only linked so far
            _run(connection, f"{job_prefix}-back", _AWAY, (paths.damaged, asset.path), token)
    progress(1, 1)
    return Performed(sentence)
