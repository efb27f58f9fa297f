"""Taking over a snapshot that the users' own backups made: read once, hashed, signed; then a point like any other.

A snapshot says whose it is and what it holds, and both must be right before a byte of it is read. Its hashes are those
of the backup as it is now: they prove that nothing changes from here on, not that it was whole when it was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from blocks.backups.base import BackupStore
from blocks.backups.engine import DESCRIPTOR, EngineStore, Snapshot
from blocks.backups.unpack import unpacking
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from checks.files import collect_tree, recorded
from checks.stat import list_tree
from model.assets import FilesAsset
from model.command import printable
from model.errors import BadInput, Damaged, PreconditionFailed, Refused
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from tasks.backup_files import point_id, relative
from tasks.staging import Progress, Staging, ask, staging

_KEPT = frozenset({FileType.FILE, FileType.DIRECTORY, FileType.LINK})


def adopt(
    connection: Connection, name: str, asset: FilesAsset, host: str, store: BackupStore, wanted: str,
    known: Sequence[str], progress: Progress,
) -> tuple[RecoveryPoint, str]:  # fmt: skip
    """Take over a snapshot of the asset's own host.

    Args:
        connection: the asset's host.
        name: of the asset in the plan.
        asset: the file set.
        host: name of the host in the plan.
        store: where its recovery points are.
        wanted: the tool's id of the snapshot, or its beginning; empty: the newest that is not taken over yet.
        known: the tool's ids of snapshots that are recovery points already.
        progress: told (bytes read, bytes in all).

    Returns:
        The recovery point, and what is to be said about it.

    Raises:
        Refused: it is another host's, of another path, or the tool is below its safe floor.
        BadInput: there is no such snapshot, or it is a recovery point already.
        Damaged: it cannot be read whole, or is empty.
        PreconditionFailed: tool, repository or room is missing. Unsupported: the tool cannot do it.
    """
    machine_id = prove(connection).machine_id
    if not isinstance(store, EngineStore):
        raise BadInput(
            f"{store.name} holds archives of our own only.", store.name,
            "name a source of kind restic, borg or tree as the asset's `backup`",
        )  # fmt: skip
    engine = store.engine
    engine.tool(connection)
    able = unpacking(engine, store.name)
    names = own_names(connection)
    snapshot = _choose(
        engine.snapshots(connection), wanted, known, store.name,
        lambda one: _refuse(able.described(connection, one), names, asset.path, store.name),
    )  # fmt: skip
    with staging(connection, f"adopt-{name}", 0) as place:
        _room(place, snapshot)
        path = able.unpack(connection, snapshot, asset.path, place.folder("content"), progress)
        entries = tuple(
            e for e in collect_tree(connection, path, asset.exclude, recorded(asset)) if e.type in _KEPT
        )
        if not snapshot.paths:
            _resembles(connection, asset, entries, snapshot, store.name)
    if not any(entry.type is not FileType.DIRECTORY for entry in entries):
        raise Damaged(
            f"snapshot {snapshot.id[:16]} holds no file of {asset.path}.", store.name, "name another snapshot"
        )
    taken = _whole_milliseconds(snapshot.taken_at)
    point = point_id(taken)
    manifest = Manifest(
        asset=name, point=point, format=engine.format, host=host, machine_id=machine_id, root=asset.path,
        taken_at=taken, object_key=f"{name}/{point}/{DESCRIPTOR}", object_sha256="0" * 64, object_bytes=0,
        entries=tuple(sorted(entries, key=lambda entry: entry.path)), adopted=True,
    )  # fmt: skip
    made = store.record(manifest, snapshot, engine.repository(connection))
    said = "" if snapshot.host else f" {engine.kind} records no host: that it is {host}'s is your word."
    return made, said


def own_names(connection: Connection) -> frozenset[str]:
    """The names a host goes by, as its own tools record them."""
    names = set()
    for words in (("uname", "-n"), ("hostname", "-f")):
        result = ask(connection, *words, timeout=20.0, limit=1024)
        if result.ok and (name := result.text.strip()):
            names.add(name)
    return frozenset(names)


def _choose(
    snapshots: Sequence[Snapshot],
    wanted: str,
    known: Sequence[str],
    source: str,
    admitted: Callable[[Snapshot], Snapshot],
) -> Snapshot:
    if wanted:
        found = [one for one in snapshots if one.id.startswith(wanted)]
        if len(found) != 1:
            said = f"{len(found)} snapshots begin with" if found else "there is no snapshot"
            raise BadInput(
                f"{said} {wanted[:80]!r}.", source, "give the id as the tool lists it, at full length"
            )
        if found[0].id in known:
            raise BadInput(
                f"snapshot {found[0].id[:16]} is a recovery point already.", source, "see `reinstate backups`"
            )
        return admitted(found[0])
    why: Refused | None = None
    for one in snapshots:
        if one.id in known:
            continue
        try:
            return admitted(one)
        except Refused as error:
            why = why or error
    if why is not None:
        raise why
    raise BadInput(
        "there is no snapshot that is not a recovery point already.",
        source,
        "take one with your own tool first",
    )


def _refuse(snapshot: Snapshot, names: frozenset[str], path: str, source: str) -> Snapshot:
    """Refuse a snapshot that is not what it is wanted for (G7); else return it."""
    name = snapshot.id[:16]
    if snapshot.host and snapshot.host not in names:
        raise Refused(
            f"snapshot {name} is of host {printable(snapshot.host)[:80]}, this one is "
            f"{printable(', '.join(sorted(names)))[:200]}.",
            source,
            "name a snapshot of this very host",
        )
    inside = any(path == held or path.startswith(f"{held.rstrip('/')}/") for held in snapshot.paths)
    if snapshot.paths and not inside:
        raise Refused(
            f"snapshot {name} holds {printable(', '.join(snapshot.paths))[:200]}, not {path}.",
            source,
            "name a snapshot that holds the asset's path",
        )
    if snapshot.error:
        raise Refused(
            f"the tool itself says that snapshot {name} is damaged.", source, "name another snapshot"
        )
    return snapshot


def _resembles(
    connection: Connection, asset: FilesAsset, entries: Sequence[Entry], snapshot: Snapshot, source: str
) -> None:
    """Where the tool does not say what a snapshot is of, something in it must be called as something that is there."""
    there = {relative(asset.path, path) for path in list_tree(connection, asset.path, asset.exclude)} - {"."}
    if there and not any(entry.path in there for entry in entries):
        raise Refused(
            f"nothing in snapshot {snapshot.id[:60]} is called as anything in {asset.path}.", source,
            "name a snapshot of that folder; its content must begin at the snapshot's top",
        )  # fmt: skip


def _room(place: Staging, snapshot: Snapshot) -> None:
    """Twice a tight disk would be a second damage: the content lies in our staging folder while it is hashed."""
    result = ask(place.connection, "stat", "-f", "-c", "%a %S", "--", place.path)
    fields = result.text.split()
    if result.ok and len(fields) == 2 and snapshot.bytes > int(fields[0]) * int(fields[1]) * 9 // 10:
        raise PreconditionFailed(
            f"{snapshot.bytes} bytes do not fit into {place.path}.", place.connection.name,
            "free room there, or set `state_dir` of the host to a larger disk",
        )  # fmt: skip


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
