"""Judging a backup's manifest before one byte of it lands: hostile input until proven otherwise (G5, G7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks.stat import collect
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Refused
from model.manifest import Entry, FileType, Manifest, RecoveryPoint

_REMEDY = "use another recovery point; keep this one for the investigation"
_KEPT = frozenset({FileType.FILE, FileType.DIRECTORY, FileType.LINK})


def proven_manifest(
    connection: Connection, store: BackupStore, point: RecoveryPoint, asset: str, machine_id: str = ""
) -> Manifest:
    """The manifest of the point that was signed for, of this very asset and machine.

    Args:
        connection: the host to restore to.
        store: where the point is.
        point: from the signed proposal.
        asset: name of the asset to restore.
        machine_id: machine the backup must come from, for a cross-restore signed as such; default: this host.

    Raises:
        Damaged: missing, altered or replaced. Refused: it is another asset's or another host's.
    """
    manifest = store.manifest(point)
    where = f"{store.name}:{point.key}"
    if manifest.asset != asset:
        raise Refused(f"this is a backup of {manifest.asset}, not of {asset}.", where, "propose again")
    expected = machine_id or connection.host.machine_id
    if manifest.machine_id != expected:
        raise Refused(
            f"this backup was taken from machine {manifest.machine_id} ({printable(manifest.host)}), not from "
            f"{expected}.",
            where,
            "choose a recovery point of this host; restoring another host's backup needs its own sign-off",
        )
    return manifest


def target(root: str, path: str) -> str:
    """Where a path of a backup lies on the host."""
    return root if path == "." else f"{root.rstrip('/')}/{path}"


def judge(manifest: Manifest, where: str) -> dict[str, Entry]:
    """The entries by path, when all of them can only land at or below the root.

    Raises:
        Damaged: a path is absolute, leaves the root, passes through a link, occurs twice, or has no place in the
            archive.
    """
    entries: dict[str, Entry] = {}
    for entry in manifest.entries:
        path = entry.path
        if path != "." and ("\0" in path or any(part in {"", ".", ".."} for part in path.split("/"))):
            raise Damaged(
                f"the manifest holds the path {printable(path)!r}, which leaves its root.", where, _REMEDY
            )
        if path in entries:
            raise Damaged(f"the manifest holds {printable(path)!r} twice.", where, _REMEDY)
        if entry.type not in _KEPT:
            raise Damaged(f"{printable(path)!r} is neither file, directory nor link.", where, _REMEDY)
        held = manifest.format == "tar" and entry.type is FileType.FILE
        if held and not 0 <= entry.offset <= manifest.object_bytes - entry.size:
            raise Damaged(f"{printable(path)!r} lies outside of the archive.", where, _REMEDY)
        entries[path] = entry
    for path in entries:
        for above in ancestors(path):
            if above in entries and entries[above].type is not FileType.DIRECTORY:
                raise Damaged(
                    f"{printable(path)!r} lies below {printable(above)!r}, which is a {entries[above].type}.",
                    where,
                    _REMEDY,
                )
    return entries


def ancestors(path: str) -> list[str]:
    """The directories above a path of a backup, topmost first; the root is `.`."""
    if path == ".":
        return []
    parts = path.split("/")[:-1]
    return [".", *("/".join(parts[: count + 1]) for count in range(len(parts)))]


def chosen(known: Mapping[str, Entry], files: Iterable[Entry], where: str) -> dict[str, Entry]:
    """The manifest's entries for the files of a signed action, when they are the same (G6).

    Raises:
        Damaged: the action names a file the manifest does not hold, or holds differently.
    """
    found = {}
    for entry in files:
        ours = known.get(entry.path)
        if ours is None or ours.model_copy(update={"offset": entry.offset}) != entry:
            raise Damaged(
                f"{printable(entry.path)!r} of the proposal is not in the manifest as it was signed for.",
                where,
                "propose again",
            )
        found[entry.path] = ours
    return found


def missing_folders(
    connection: Connection, root: str, known: Mapping[str, Entry], wanted: Mapping[str, Entry]
) -> dict[str, Entry]:
    """Directories above the wanted paths that are not there; refuses those that are something else.

    Raises:
        Damaged: a path would pass through a link or a file of the live tree.
        PreconditionFailed: a missing directory is not in the backup either.
    """
    above = {folder for path in wanted for folder in ancestors(path) if folder not in wanted}
    facts = collect(connection, [target(root, path) for path in sorted(above)], "none")
    missing: dict[str, Entry] = {}
    for path in sorted(above):
        live = facts[target(root, path)]
        if live.type is FileType.ABSENT:
            if path not in known:
                raise PreconditionFailed(
                    f"the directory {printable(live.path)} is not there, and not in the backup.",
                    connection.name,
                    "make it by hand, then run it again",
                )
            missing[path] = known[path]
        elif live.type is not FileType.DIRECTORY:
            raise Damaged(
                f"{printable(live.path)} is a {live.type} now: restoring through it would leave {printable(root)}.",
                connection.name,
                "find out who put it there; remove it by hand, then propose again",
            )
    return missing
