"""Undoing what changed files: the snapshot's paths are put back bit for bit, only what differs is moved (N1, N2)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blocks.hosts.base import Connection
from checks.stat import collect
from model.assets import ServiceAsset
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Entry, FileType
from tasks import archive
from tasks.around import stopped
from tasks.filestate import difference, entries, nul_list
from tasks.performed import Performed
from tasks.placing import Step, attributes, flushes, meta, moment, place, put, symlink
from tasks.snapshot import SnapshotManifest, tar_options, verify_snapshot
from tasks.staging import Progress, Staging, ask, staging

_UNTAR = ("tar", "--extract", "--preserve-permissions", "--numeric-owner", "--file=-")
# A name and a size, then that many bytes, again and again: for hosts without tar.
_UNPACK = (
    'cd -- "$1" || exit 3; umask 077; while read -r name size; do head -c "$size" >"$name" || exit 3; done'
)
_PLAIN = "plain:"
_INODES = 'xargs -0 -r stat -c "%d:%i" --'


@dataclass(frozen=True)
class _Way:
    """What has to be put back.

    Attributes:
        content: paths whose bytes are pushed; links and folders are made on the host.
        dressed: paths whose mode, owner or time alone differ.
        links: path → the path it must be the same file as.
    """

    content: tuple[Entry, ...]
    dressed: tuple[Entry, ...]
    symlinks: tuple[Entry, ...]
    folders: tuple[Entry, ...]
    gone: tuple[Entry, ...]
    links: Mapping[str, str]

    @property
    def paths(self) -> list[str]:
        """Everything that will change."""
        groups = (self.content, self.dressed, self.symlinks, self.folders, self.gone)
        return [*(entry.path for group in groups for entry in group), *self.links]


def roll_back_files(
    connection: Connection,
    folder: Path,
    paths: Iterable[str] | None,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
    services: Mapping[str, ServiceAsset] | None = None,
) -> Performed:
    """Put paths back as they were when the snapshot was taken; again and again gives the same.

    Args:
        connection: the host.
        folder: the snapshot's folder.
        paths: which of its paths; None: all.
        job_prefix: start of the job's name.
        token: our fencing token.
        progress: told bytes.
        services: what stands still meanwhile.

    Raises:
        Damaged: the snapshot is not intact (nothing was touched), or the host is not as before afterwards.
        Transient: interrupted; calling again goes on.
    """
    manifest = verify_snapshot(folder)
    chosen, around = _chosen(manifest, None if paths is None else set(paths), connection.name)
    found, _end = archive.members(folder / manifest.archive)
    live = entries(connection, [entry.path for entry in (*chosen, *around)])
    way = _way(connection, manifest, chosen, live, found)
    steps_around = _around_first(around, live)
    late = [entry for entry in around if entry.type is FileType.DIRECTORY]
    times = [e for e in late if way.paths or live[e.path].mtime_ns != e.mtime_ns]
    if not way.paths and not times and not steps_around:
        return Performed(f"All {len(chosen)} paths are as before the recovery; nothing had to be put back.")
    with staging(connection, job_prefix, token) as stage, (folder / manifest.archive).open("rb") as file:
        aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
        staged = _push(stage, way.content, found, file, progress)
        steps = [
            Step("flush", stage.path),
            *steps_around,
            *(Step("folder", e.path) for e in way.folders if live[e.path].type is not FileType.DIRECTORY),
            *(step for entry in way.content for step in _put(entry, staged)),
            *(symlink(entry) for entry in way.symlinks),
            *(Step("hardlink", path, first) for path, first in way.links.items()),
            *(meta(entry) for entry in way.dressed),
            *attributes([(entry.path, entry) for entry in (*way.dressed, *_bare(way.content, staged))]),
            *(Step("gone", entry.path) for entry in sorted(way.gone, key=lambda e: e.path, reverse=True)),
            *(Step("prune", e.path) for e in reversed(around) if e.type is FileType.ABSENT),
            *attributes([(entry.path, entry) for entry in way.folders]),
            *(meta(entry) for entry in reversed(way.folders)),
            *(Step("time", e.path, c=moment(e.mtime_ns)) for e in reversed(times)),
            *flushes([*way.paths, *(f"{e.path}/." for e in times)]),
        ]
        with stopped(connection, services or {}, job_prefix, token):
            result = place(connection, f"{job_prefix}-undo", steps, token, aside=aside)
    _compare(connection, chosen)
    pushed = sum(entry.size for entry in way.content)
    kept = [line.split(" ", 2)[1] for line in result.text.splitlines() if line.startswith("aside ")]
    said = f" What had been made in folders that were not there before is kept in {aside}." if kept else ""
    return Performed(
        f"{len(set(way.paths))} of {len(chosen)} paths were put back as they were before the recovery.{said}",
        pushed,
    )


def _chosen(
    manifest: SnapshotManifest, paths: set[str] | None, where: str
) -> tuple[list[Entry], list[Entry]]:
    known = {entry.path for entry in manifest.entries}
    unknown = sorted((paths or set()) - known)
    if unknown:
        raise PreconditionFailed(
            f"{printable(unknown[0])} is not in the snapshot.",
            where,
            "undo only what the signed proposal touches",
        )
    chosen = [entry for entry in manifest.entries if paths is None or entry.path in paths]
    near = [
        entry
        for entry in manifest.around
        if any(one.path.startswith(f"{entry.path.removesuffix('/.').rstrip('/')}/") for one in chosen)
    ]
    return chosen, near


def _way(
    connection: Connection,
    manifest: SnapshotManifest,
    chosen: Sequence[Entry],
    live: Mapping[str, Entry],
    found: Mapping[str, archive.Member],
) -> _Way:
    names = {entry.path for entry in chosen}
    groups = [tuple(path for path in group if path in names) for group in manifest.hardlinks]
    parted = _parted(connection, [group for group in groups if group], chosen, live)
    different: dict[str, list[Entry]] = {
        kind: [] for kind in ("content", "dressed", "symlink", "folder", "gone")
    }
    links: dict[str, str] = {}
    for entry in chosen:
        now = live[entry.path]
        said = difference(entry, now)
        extended = entry.path in found and found[entry.path].extended
        if entry.attributes is not None and now.attributes is not None:
            extended = extended and found[entry.path].unseen
        group = next((group for group in parted if entry.path in group), None)
        if group is not None:
            if entry.path == group[0]:
                different["content"].append(entry)
            else:
                links[entry.path] = group[0]
        elif entry.type is FileType.DIRECTORY:
            if said or now.mtime_ns != entry.mtime_ns or extended:
                different["folder"].append(entry)
        elif said or (extended and entry.type is FileType.FILE):
            different[_kind(entry, said, extended, found)].append(entry)
    # A folder's time changes with whatever is put back in it.
    moved = [e.path for kind in ("content", "symlink", "gone") for e in different[kind]] + list(links)
    inside = {path.rpartition("/")[0] for path in moved}
    again = [e for e in chosen if e.type is FileType.DIRECTORY and e.path in inside]
    folders = {entry.path: entry for entry in [*different["folder"], *again]}
    return _Way(
        tuple(different["content"]), tuple(different["dressed"]), tuple(different["symlink"]),
        tuple(folders[path] for path in sorted(folders)), tuple(different["gone"]), links,
    )  # fmt: skip


def _kind(entry: Entry, said: str, extended: bool, found: Mapping[str, archive.Member]) -> str:
    if entry.type is FileType.ABSENT:
        return "gone"
    if entry.type is FileType.LINK:
        return "symlink"
    if entry.type is FileType.OTHER and entry.path not in found:
        return "dressed"  # a socket: only its server can make it again
    plain = not ({"content", "link"} & set(said.split(", "))) and not said.startswith("is ")
    return "dressed" if plain and not extended else "content"


def _parted(
    connection: Connection,
    groups: Sequence[tuple[str, ...]],
    chosen: Sequence[Entry],
    live: Mapping[str, Entry],
) -> list[tuple[str, ...]]:
    """Files, each with all its names, that are made anew: parted, changed, or one with what was another file."""
    was = {entry.path: entry for entry in chosen}
    parted = []
    for group in groups:
        there = [path for path in group if live[path].type is FileType.FILE]
        inodes = ask(connection, "sh", "-c", _INODES, stdin=nul_list(there)).text.split()
        changed = any("content" in difference(was[path], live[path]) for path in group)
        if len(group) > 1 and (len(there) < len(group) or len(set(inodes)) != 1 or changed):
            parted.append(group)
    done = {path for group in parted for path in group}
    of = {path: group for group in groups for path in group}
    keeps: dict[str, tuple[str, ...]] = {}
    for entry in chosen:
        path, now = entry.path, live[entry.path]
        if path in done or not entry.type is now.type is FileType.FILE:
            continue
        group = of.get(path, (path,))
        if keeps.setdefault(now.same_as or path, group) != group:  # it was a file of its own
            parted.append(group)
            done.update(group)
    return parted


def _around_first(around: Sequence[Entry], live: Mapping[str, Entry]) -> list[Step]:
    missing = [
        entry
        for entry in around
        if entry.type is FileType.DIRECTORY and live[entry.path].type is not FileType.DIRECTORY
    ]
    return [
        *(step for entry in missing for step in (Step("folder", entry.path), meta(entry))),
        *attributes([(entry.path, entry) for entry in missing]),
    ]


def _bare(content: Sequence[Entry], staged: Mapping[str, str]) -> list[Entry]:
    """Files that were pushed without tar, and so without their attributes."""
    return [e for e in content if e.type is FileType.FILE and staged[e.path].startswith(_PLAIN)]


def _put(entry: Entry, staged: Mapping[str, str]) -> Iterator[Step]:
    source = staged[entry.path]
    if source.startswith(_PLAIN):  # pushed without tar: its metadata comes before it is live
        source = source.removeprefix(_PLAIN)
        yield meta(entry.model_copy(update={"path": source}))
    yield put(entry.path, source)


def _push(
    stage: Staging,
    content: Sequence[Entry],
    found: Mapping[str, archive.Member],
    file: IO[bytes],
    progress: Progress,
) -> dict[str, str]:
    """Send the bytes into staging and have them hashed there; returns path → staged path."""
    if not content:
        return {}
    connection = stage.connection
    base = stage.folder("files")
    names = {str(number): entry for number, entry in enumerate(content)}
    total = sum(entry.size for entry in content)
    options = tar_options(connection)
    if options is None:
        source = _plain({name: found[entry.path] for name, entry in names.items()}, file)
        result = ask(
            connection, "sh", "-c", _UNPACK, "reinstate-unpack", base, timeout=7200.0,
            source=_counted(source, total, progress),
        )  # fmt: skip
    else:
        stream = archive.flat({name: found[entry.path] for name, entry in names.items()}, file)
        attributes = ("--xattrs-include=*",) if "--xattrs" in options else ()
        result = ask(
            connection, *_UNTAR, *options, *attributes, f"--directory={base}", timeout=7200.0,
            source=_counted(stream, total, progress),
        )  # fmt: skip
    if not result.ok:
        raise PreconditionFailed(
            f"the snapshot cannot be unpacked on the host: {result.tail(2)}.",
            connection.name,
            "free space in the state directory; nothing live was touched by this step",
        )
    facts = collect(connection, [f"{base}/{name}" for name in names])
    for name, entry in names.items():
        if entry.type is FileType.FILE and facts[f"{base}/{name}"].sha256 != entry.sha256:
            raise Transient(f"{printable(entry.path)} did not arrive whole.", connection.name, "run it again")
    stage.make_holes([f"files/{name}" for name, entry in names.items() if entry.sparse])
    mark = _PLAIN if options is None else ""
    return {entry.path: f"{mark}{base}/{name}" for name, entry in names.items()}


def _plain(chosen: Mapping[str, archive.Member], file: IO[bytes]) -> Iterator[bytes]:
    for name, member in chosen.items():
        if member.content < 0 and member.info.type != tarfile.REGTYPE:
            raise PreconditionFailed(
                "a special file cannot be put back without tar.",
                member.info.name,
                "repair tar on the host first",
            )
        yield f"{name} {member.size}\n".encode()
        yield from archive.content(member, file)


def _counted(stream: Iterator[bytes], total: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in stream:
        yield chunk
        done = min(total, done + len(chunk))
        progress(done, total)


def _compare(connection: Connection, chosen: Sequence[Entry]) -> None:
    after = entries(connection, [entry.path for entry in chosen])
    wrong = {entry.path: said for entry in chosen if (said := difference(entry, after[entry.path]))}
    if wrong:
        path, said = next(iter(wrong.items()))
        raise Damaged(
            f"{len(wrong)} paths are not as before the recovery, first {printable(path)}: {said}.",
            connection.name,
            "the snapshot is kept; see that nothing else writes there, then roll back again",
        )
