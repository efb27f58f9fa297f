"""Judging a backup's manifest before one byte of it lands: hostile input until proven otherwise (G5, G7)."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks.stat import Fact, collect
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Refused
from model.manifest import MOST_PATHS, Entry, FileType, Manifest, RecoveryPoint, absolute

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
    expected = machine_id or connection.host.recorded_as
    if manifest.machine_id != expected:
        raise Refused(
            f"this backup was taken from machine {manifest.machine_id} ({printable(manifest.host)}), not from "
            f"{expected}.",
            where,
            "choose a recovery point of this host; restoring another host's backup needs its own sign-off",
        )
    return manifest


def judge(manifest: Manifest, where: str) -> dict[str, Entry]:
    """The entries by path, when all of them can only land at or below the root.

    Raises:
        Damaged: a path is absolute, leaves the root, passes through a link, occurs twice, has no place in the archive,
            shares its bytes with another, or is a hard link to something else than an equal file; or they are too many.
    """
    entries: dict[str, Entry] = {}
    if len(manifest.entries) > MOST_PATHS:
        raise Damaged(
            f"the manifest holds {len(manifest.entries):,} paths, more than we keep.", where, _REMEDY
        )
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
    seen: set[str] = set()
    for path in entries:
        folder = path.rpartition("/")[0]
        if path == "." or folder in seen:  # and so is all above it
            continue
        seen.add(folder)
        for above in ancestors(path):
            if above in entries and entries[above].type is not FileType.DIRECTORY:
                raise Damaged(
                    f"{printable(path)!r} lies below {printable(above)!r}, which is a {entries[above].type}.",
                    where,
                    _REMEDY,
                )
    _judge_hard_links(entries, where)
    if manifest.format == "tar":
        _judge_places(entries, where)
    return entries


def _judge_hard_links(entries: Mapping[str, Entry], where: str) -> None:
    """A hard link leads to a file of the manifest that comes before it, and is equal to it."""
    for path, entry in entries.items():
        if not entry.same_as:
            continue
        first = entries.get(entry.same_as)
        plain = {"path": path, "same_as": entry.same_as, "offset": entry.offset}
        if (
            first is None
            or (first.type, entry.type) != (FileType.FILE, FileType.FILE)
            or first.same_as
            or entry.same_as >= path
            or first.model_copy(update=plain) != entry
        ):
            raise Damaged(
                f"{printable(path)!r} is a hard link to {printable(entry.same_as)!r}, which the manifest does not "
                "hold as the same file.", where, _REMEDY,
            )  # fmt: skip


def _judge_places(entries: Mapping[str, Entry], where: str) -> None:
    """No two files have the same bytes of the archive: it cannot grow while it is unpacked."""
    end, before = 0, ""
    for entry in sorted(entries.values(), key=lambda entry: entry.offset):
        if entry.type is FileType.FILE and not entry.same_as and entry.size:
            if entry.offset < end:
                raise Damaged(
                    f"{printable(entry.path)!r} and {printable(before)!r} overlap in the archive.",
                    where,
                    _REMEDY,
                )
            end, before = entry.offset + entry.size, entry.path


def require_told_apart(connection: Connection, root: str, paths: Iterable[str]) -> None:
    """Refuse names that differ only in case, or in how accents are written, where the host's file system mixes them up.

    Raises:
        PreconditionFailed: two of the paths would be one file there.
    """
    seen: dict[str, str] = {}
    clashes: list[tuple[str, str]] = []
    for path in sorted(paths):
        other = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            clashes.append((other, path))
    if not clashes:
        return
    asked = {clash: _respelt(connection, root, clash[1]) for clash in clashes[:100]}
    facts = collect(connection, {path for pair in asked.values() for path in pair}, "none", more=True)
    for clash, (folder, respelt) in asked.items():
        if folder != respelt and facts[folder].file is not None and facts[folder].file == facts[respelt].file:
            raise PreconditionFailed(
                f"{printable(clash[0])!r} and {printable(clash[1])!r} are the same name to the file system of "
                f"{printable(folder)}: one would overwrite the other.",
                connection.name,
                "mount a file system there that tells upper and lower case apart",
            )


def _respelt(connection: Connection, root: str, path: str) -> tuple[str, str]:
    """The nearest folder above a path that is there, and the same with its name in the other case."""
    above = [absolute(root, one) for one in reversed(ancestors(path))]
    facts = collect(connection, above, "none")
    folder = next((one for one in above if facts[one].type is FileType.DIRECTORY), root)
    parent, _, name = folder.rpartition("/")
    return folder, f"{parent}/{name.swapcase()}"


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


def folders_above(root: str, wanted: Collection[str]) -> dict[str, str]:
    """Path on the host → path in the backup of every directory above the wanted paths that is not wanted itself."""
    above = sorted({folder for path in wanted for folder in ancestors(path) if folder not in wanted})
    return {absolute(root, path): path for path in above}


def missing_folders(
    connection: Connection, root: str, known: Mapping[str, Entry], above: Mapping[str, str], facts: Mapping[str, Fact]
) -> dict[str, Entry]:  # fmt: skip
    """Directories above the wanted paths that are not there; refuses those that are something else.

    Args:
        connection: the host, for its name.
        root: of the file set.
        known: the manifest's entries.
        above: from `folders_above`.
        facts: what is there now.

    Raises:
        Damaged: a path would pass through a link or a file of the live tree.
        PreconditionFailed: a missing directory is not in the backup either.
    """
    missing: dict[str, Entry] = {}
    for place, path in above.items():
        live = facts[place]
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
