"""Restoring files from a recovery point: staging → verify → swap, only what differs (G5)."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks.stat import collect
from model.assets import FilesAsset, ServiceAsset
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Refused
from model.manifest import FILE_FORMATS, Entry, Manifest, absolute
from model.proposal import RestoreFiles
from tasks import landing
from tasks.around import stopped
from tasks.attributes import dress_staged, dressed_at_once
from tasks.fetch import fetch_files
from tasks.performed import Performed
from tasks.placing import Step, attributes, flushes, moment, owner, place, put, symlink
from tasks.restore_work import RestoreWork, compare, restored
from tasks.staging import Progress, Staging, ask, staging

_DRESS = r"""
set -f
cd -- "$1" || exit 73
while read -r verb value names; do
    case $verb in
        owner) chown -- "$value" $names ;;
        mode) chmod -- "$value" $names ;;
        time) touch -d "@$value" -- $names ;;
        *) exit 2 ;;
    esac || exit 1
done
"""
_NAMES_PER_LINE = 500
_LOG = logging.getLogger("reinstate.restore")


def perform(
    connection: Connection,
    asset: FilesAsset,
    action: RestoreFiles,
    store: BackupStore,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
    services: Mapping[str, ServiceAsset] | None = None,
    machine_id: str = "",
    into: str = "",
) -> Performed:
    """Bring the files of a signed action back.

    Args:
        connection: the host.
        asset: the file set of the plan.
        action: which files, from which recovery point.
        store: where the point is.
        job_prefix: start of the job's name, `INCIDENT-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told (bytes fetched, bytes in all).
        services: what stands still while the files change places.
        machine_id: machine the backup must come from, for a cross-restore signed as such; default: this host.
        into: another folder to restore into, whose parent is there: a sandbox; default: where the files were.

    Raises:
        Damaged: backup or manifest is wrong, or a path leaves the root; nothing live was touched.
        Refused: a backup of another host or root. PreconditionFailed: the host cannot take it.
        Transient: interrupted; calling again goes on.
    """
    manifest = landing.proven_manifest(connection, store, action.point, action.asset, machine_id)
    where = f"{store.name}:{action.point.key}"
    if manifest.format not in FILE_FORMATS or not manifest.root == action.root == asset.path:
        raise Refused(
            f"this is a backup of {printable(manifest.root) or 'a database'}, not of {asset.path}.",
            where,
            "propose again with a recovery point of this path",
        )
    known = landing.judge(manifest, where)
    root = into or action.root
    wanted = landing.chosen(known, action.files, where)
    above = landing.folders_above(root, wanted)
    live = collect(connection, [*above, *(absolute(root, path) for path in wanted)], more=True)
    wanted |= landing.missing_folders(connection, root, known, above, live)
    targets = {absolute(root, path): _placed(root, e) for path, e in wanted.items()}
    landing.require_told_apart(connection, root, wanted)
    names = Counter(absolute(root, e.same_as or e.path) for e in known.values())
    work = compare(targets, live, names)
    if not work.paths:
        return Performed(
            f"All {len(action.files)} paths of {action.asset} are as in {action.point.id} already."
        )
    with staging(connection, job_prefix, token) as stage:
        _LOG.info(
            "%d files are fetched, %d linked, %d dressed.",
            len(work.content),
            len(work.hard),
            len(work.dressed),
        )
        stage.require_room(size_of(work.content.values()))
        staged, moved = _stage(stage, store, manifest, work.content, progress)
        aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
        with stopped(connection, services or {}, job_prefix, token):
            place(connection, f"{job_prefix}-swap", _steps(stage, work, staged), token, aside=aside)
    _require(connection, targets, work)
    return Performed(
        f"{len(action.files)} path{'s' if len(action.files) != 1 else ''} of {action.asset} restored from "
        f"{action.point.id}: {len(work.content)} files with {moved} bytes fetched, verified and put into place.",
        moved,
    )


def _placed(root: str, entry: Entry) -> Entry:
    """An entry whose other name is a path on the host."""
    return entry.model_copy(update={"same_as": absolute(root, entry.same_as)}) if entry.same_as else entry


def _stage(
    stage: Staging, store: BackupStore, manifest: Manifest, content: Mapping[str, Entry], progress: Progress
) -> tuple[dict[str, str], int]:
    """Fetch the files and give them mode, owner and time; returns path → name in the staging folder, and bytes."""
    names = {path: staged_name(path) for path in content}
    moved = fetch_files(stage, store, manifest, {names[path]: e for path, e in content.items()}, progress)
    stage.make_holes([names[path] for path, entry in content.items() if entry.sparse])
    if content and not dressed_at_once(stage, ((names[path], entry) for path, entry in content.items())):
        _dress(stage, names, content)
    return names, moved


def _dress(stage: Staging, names: Mapping[str, str], content: Mapping[str, Entry]) -> None:
    """Mode, owner, time and attributes, on a host without Python or where that failed; says why it cannot be.

    Raises:
        PreconditionFailed: the host does not let us; nothing live was touched.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for path, entry in content.items():
        # The order counts: a change of owner takes set-uid bits away.
        for verb, value in (
            ("owner", owner(entry)),
            ("mode", f"{entry.mode:05o}"),
            ("time", moment(entry.mtime_ns)),
        ):
            groups.setdefault((verb, value), []).append(names[path])
    lines = [
        f"{verb} {value} {' '.join(members[start : start + _NAMES_PER_LINE])}\n"
        for (verb, value), members in sorted(groups.items(), key=lambda item: "omt".index(item[0][0][0]))
        for start in range(0, len(members), _NAMES_PER_LINE)
    ]
    dressed = ask(
        stage.connection, "sh", "-c", _DRESS, "reinstate-dress", stage.path, stdin="".join(lines).encode(), timeout=3600
    )  # fmt: skip
    if not dressed.ok:
        raise PreconditionFailed(
            f"staged files cannot be given their owner, mode and time: {dressed.tail(2)}.",
            stage.connection.name,
            "log in as root or set `sudo: true` for this host; nothing live was touched",
        )
    dress_staged(
        stage.connection, ((f"{stage.path}/{names[path]}", entry) for path, entry in content.items())
    )


def size_of(entries: Iterable[Entry]) -> int:
    """Bytes of all of them."""
    return sum(entry.size for entry in entries)


def staged_name(path: str) -> str:
    """The name a file has in staging, the same ones after an interruption."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _steps(stage: Staging, work: RestoreWork, staged: Mapping[str, str]) -> list[Step]:
    return [
        Step("flush", f"{stage.path}/."),
        *(Step("folder", path) for path in work.made),
        *(put(path, f"{stage.path}/{staged[path]}") for path in work.content),
        *(Step("hardlink", path, first) for path, first in work.hard.items()),
        *(symlink(entry.model_copy(update={"path": path})) for path, entry in work.links.items()),
        *(_own(path, entry, moment(entry.mtime_ns)) for path, entry in work.dressed.items()),
        *(_own(path, entry, "") for path, entry in work.folders.items()),
        *(_own(path, entry, moment(entry.mtime_ns)) for path, entry in reversed(work.made.items())),
        *attributes([*work.dressed.items(), *work.folders.items(), *work.made.items()]),
        *flushes(work.paths),
    ]


def _own(path: str, entry: Entry, time: str) -> Step:
    return Step("own", path, owner(entry), f"{entry.mode:05o}", time)


def _require(connection: Connection, targets: Mapping[str, Entry], work: RestoreWork) -> None:
    """The swap did what it said (N7)."""
    live = collect(connection, list(targets), "none", more=True)
    for path, entry in targets.items():
        first = live[work.hard[path]] if path in work.hard else None
        if not restored(entry, live[path], first):
            raise Damaged(
                f"{printable(path)} is not as restored: something else changes it.",
                connection.name,
                "stop what writes there, then run it again",
            )
