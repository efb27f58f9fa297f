"""Backing up a set of files: one tar, streamed from the host into the store, every member hashed as it passes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath

from blocks.backups.base import BackupStore
from blocks.backups.engine import DESCRIPTOR, EngineStore
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from checks.files import recorded
from checks.stat import list_tree
from model.assets import FilesAsset
from model.canonical import now
from model.command import Command, printable
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from tasks.filestate import entries
from tasks.passage import pass_into
from tasks.staging import PLAIN, Progress
from tasks.tarstream import BLOCK, TarIndex

ROUNDS = 4
"""How often a file that changes under our hands is read again."""

SECONDS = 6 * 3600.0
_TAR = (
    *(
        "tar",
        "--create",
        "--file=-",
        "--format=gnu",
        "--numeric-owner",
        "--no-recursion",
    ),
    *("--directory=/", "--null", "--no-unquote", "--files-from=-"),
)
_KEPT = frozenset({FileType.FILE, FileType.DIRECTORY, FileType.LINK})
Sink = Callable[[bytes], None]
_LOG = logging.getLogger("reinstate.backups")


def point_id(moment: datetime) -> str:
    """The id of a recovery point taken at a moment (UTC)."""
    return f"{moment:%Y%m%dT%H%M%SZ}"


def relative(root: str, path: str) -> str:
    """A path below the root as a backup names it; the root itself is `.`."""
    return path[len(root.rstrip("/")) + 1 :] or "."


def back_up_files(
    connection: Connection, name: str, asset: FilesAsset, host: str, store: BackupStore, progress: Progress
) -> RecoveryPoint:
    """Back up a file set; the recovery point exists once every byte of it was read back and its manifest signed.

    Args:
        connection: the asset's host.
        name: of the asset in the plan.
        asset: what to back up.
        host: name of the host in the plan.
        store: where to.
        progress: told (bytes stored, bytes in all).

    Raises:
        Transient: files kept changing while they were read (they are named), or a connection broke off.
        PreconditionFailed: there is nothing to back up, or a file cannot be read.
        Refused: the host is not the plan's. Damaged: the store does not give back what it was given.
    """
    machine_id = prove(connection).machine_id
    found = _look(connection, name, asset)
    if isinstance(store, EngineStore):
        return _by_tool(connection, name, asset, host, machine_id, store, found, progress)
    taken = now()
    key = f"{name}/{point_id(taken)}/archive.tar"
    index = TarIndex(f"{connection.name}:{asset.path}")
    total = sum(entry.size for entry in found.values())
    sha256, size = pass_into(
        store,
        key,
        lambda offer: _read(connection, found, index, offer),
        lambda done: progress(min(done, total), total),
    )
    manifest = Manifest(
        asset=name, point=point_id(taken), format="tar", host=host, machine_id=machine_id,
        root=asset.path, taken_at=taken, object_key=key, object_sha256=sha256, object_bytes=size,
        entries=tuple(
            sorted(
                (
                    entry.model_copy(
                        update={
                            "path": relative(asset.path, entry.path),
                            "same_as": relative(asset.path, entry.same_as) if entry.same_as else "",
                            "offset": index.members[_member(entry.path)].offset,
                        }
                    )
                    for entry in found.values()
                ),
                key=lambda entry: entry.path,
            )
        ),
    )  # fmt: skip
    progress(total, total)
    return store.publish(manifest)


def _look(connection: Connection, name: str, asset: FilesAsset) -> dict[str, Entry]:
    """What there is to back up, by absolute path, hashed."""
    paths = list_tree(connection, asset.path, asset.exclude)
    found = {
        path: entry
        for path, entry in entries(connection, paths, recorded(asset)).items()
        if entry.type in _KEPT
    }
    if not any(entry.type is not FileType.DIRECTORY for entry in found.values()):
        raise PreconditionFailed(
            f"there is no file in {asset.path}: an empty backup is not a backup.",
            connection.name,
            "correct the asset's path or its `exclude`",
        )
    if all(entry.attributes is None for entry in found.values()):
        _LOG.warning(
            "%s: extended attributes, access control lists and hard links are not recorded: the host has no working "
            "python3.", name,
        )  # fmt: skip
    if len(found) < len(paths):
        _LOG.warning("%s: %d sockets, pipes or devices are not backed up.", name, len(paths) - len(found))
    return found


def _by_tool(
    connection: Connection, name: str, asset: FilesAsset, host: str, machine_id: str, store: EngineStore,
    found: dict[str, Entry], progress: Progress,
) -> RecoveryPoint:  # fmt: skip
    """A snapshot by the backup tool on the host, with a manifest that is true of it: nothing changed meanwhile."""
    engine = store.engine
    engine.tool(connection)
    for _ in range(ROUNDS):
        taken = now()
        left_out = _left_out(connection, asset, found)
        snapshot = engine.back_up(connection, asset, f"{name}/{point_id(taken)}", found, left_out, progress)
        after = _look(connection, name, asset)
        if after == found:
            break
        found = after
    else:
        raise Transient(
            f"files of {name} keep changing while they are backed up.", connection.name,
            "run it again, or leave out with `exclude` what always changes",
        )  # fmt: skip
    manifest = Manifest(
        asset=name, point=point_id(taken), format=engine.format, host=host, machine_id=machine_id, root=asset.path,
        taken_at=taken, object_key=f"{name}/{point_id(taken)}/{DESCRIPTOR}", object_sha256="0" * 64, object_bytes=0,
        entries=tuple(
            sorted(
                (
                    e.model_copy(
                        update={
                            "path": relative(asset.path, e.path),
                            "same_as": relative(asset.path, e.same_as) if e.same_as else "",
                        }
                    )
                    for e in found.values()
                ),
                key=lambda entry: entry.path,
            )
        ),
    ).model_copy(update={"snapshot": snapshot.id, "repository": engine.repository(connection)})  # fmt: skip
    engine.verify(connection, manifest, progress, content=False)
    return store.record(manifest, snapshot, manifest.repository)


def _left_out(connection: Connection, asset: FilesAsset, found: Mapping[str, Entry]) -> list[str]:
    """Paths that are not backed up, the topmost of each; sockets, pipes and devices with them."""
    every = list_tree(connection, asset.path)
    return [path for path in every if path not in found and str(PurePosixPath(path).parent) in found]


def _member(path: str) -> str:
    return path.lstrip("/") or "."


def _read(connection: Connection, found: dict[str, Entry], index: TarIndex, offer: Sink) -> None:
    """Stream the tar of what was found until each member is what was hashed; `found` is brought up to date."""
    wanted = sorted(found)
    for _ in range(ROUNDS):
        _tar(connection, wanted, index, offer)
        wanted = [path for path in wanted if _differs(found[path], index)]
        if not wanted:
            offer(bytes(2 * BLOCK))
            return
        for path, entry in entries(connection, wanted).items():
            if entry.type in _KEPT:
                found[path] = entry
            else:
                del found[path]
        wanted = [path for path in wanted if path in found and _differs(found[path], index)]
        if not wanted:
            offer(bytes(2 * BLOCK))
            return
    raise Transient(
        f"{printable(wanted[0])} keeps changing while it is read"
        f"{f', and {len(wanted) - 1} more' if len(wanted) > 1 else ''}.",
        index.where,
        "stop its service for the backup, or leave it out with `exclude`",
    )


def _tar(connection: Connection, wanted: Sequence[str], index: TarIndex, offer: Sink) -> None:
    names = b"".join(b"./" + _member(path).encode("utf-8", "surrogateescape") + b"\0" for path in wanted)
    command = Command(_TAR, stdin=names, sudo=True, env=PLAIN, timeout=SECONDS)
    result = connection.run(command, on_stdout=lambda chunk: offer(index.feed(chunk)))
    if result.status is None:
        raise Transient("the connection was lost while files were read.", connection.name, "run it again")
    missing = any(_member(path) not in index.members for path in wanted)
    if result.status not in {0, 1} and not missing:  # 1: a file changed meanwhile; every hash is compared
        raise ReinstateError(
            f"tar ended with {result.status}: {result.tail(3)}.",
            connection.name,
            "look at that path on the host",
        )
    index.finish()


def _differs(entry: Entry, index: TarIndex) -> bool:
    member = index.members.get(_member(entry.path))
    return member is None or (member.type, member.size, member.sha256, member.link) != (
        entry.type, entry.size, entry.sha256, entry.link,
    )  # fmt: skip
