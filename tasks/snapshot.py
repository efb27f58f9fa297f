"""The pre-recovery snapshot: everything the proposal touches, off the host, read back and hashed (G4, N1)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import AwareDatetime, Field, ValidationError

from blocks.durable import explained, make_folder, replace
from blocks.hosts.base import Connection
from model.canonical import HostText, Value, canonical_json, now
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Entry, FileType
from tasks import archive
from tasks.filestate import difference, entries, nul_list
from tasks.staging import Progress, ask, sha256_of

MANIFEST = "manifest.json"
ROUNDS = 4
"""How often a file that changes under our hands is read again."""

TAR_SECONDS = 7200.0
_REMEDY = "keep everything as it is; the host can be brought back only from another copy"
TAR = (
    *("tar", "--create", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--numeric-owner"),
    *("--no-recursion", "--null", "--no-unquote", "--directory=/", "--file=-"),
)
_OPTIONS = 'help=$(tar --help) || exit 1; for o; do case $help in *"$o"*) echo "$o" ;; esac; done'
_CAT = "xargs -0 -r cat --"


class SnapshotManifest(Value):
    """What a snapshot holds.

    Attributes:
        archive: name of the tar beside this manifest; a path that occurs twice counts the last time.
        entries: every path asked for, sorted; ABSENT where there was nothing. `offset` is that in the archive.
        around: folders that hold those paths (their times change) and missing folders above absent paths.
        hardlinks: groups of paths that were one file.
    """

    host: str
    taken_at: AwareDatetime
    archive: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    archive_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    archive_bytes: int = Field(ge=0)
    entries: tuple[Entry, ...]
    around: tuple[Entry, ...] = ()
    hardlinks: tuple[tuple[HostText, ...], ...] = ()


def take_snapshot(
    connection: Connection, paths: Sequence[str], folder: Path, progress: Progress
) -> SnapshotManifest:
    """Copy what is at the paths off the host, with all metadata, and prove the copy.

    Called again, it returns the snapshot that is there if the host still looks like it; an older one is set aside.

    Args:
        connection: the host.
        paths: absolute; folders without what is in them; absent ones are recorded as absent.
        folder: where `HOST.tar` and `manifest.json` go.
        progress: told bytes.

    Raises:
        Transient: the connection was lost, or a file kept changing.
        PreconditionFailed: a file cannot be read, or a disk is full. Damaged: the copy is not what the host sent.
    """
    make_folder(folder)
    wanted = sorted(dict.fromkeys(paths))
    facts, around = _look(connection, wanted)
    if (folder / MANIFEST).exists():
        old = verify_snapshot(folder)
        same = [entry.path for entry in old.entries] == wanted and not _changed(old.entries, facts)
        if same:
            return old
        _set_aside(folder, old)
    part = folder / f"{connection.name}.tar.part"
    with explained(part), part.open("w+b") as file:
        facts, found = _fill(connection, facts, file, part, progress)
    final = part.with_suffix("")
    with explained(final):
        part.rename(final)
    groups: dict[str, list[str]] = {}
    for path, member in found.items():
        if member.same_as and path in facts:
            groups.setdefault(member.same_as, [member.same_as]).append(path)
    manifest = SnapshotManifest(
        host=connection.name, taken_at=now(), archive=final.name, archive_sha256=sha256_of(final),
        archive_bytes=final.stat().st_size, around=tuple(around),
        entries=tuple(
            facts[path].model_copy(update={"offset": found[path].content}) if path in found else facts[path]
            for path in wanted
        ),
        hardlinks=tuple(tuple(group) for group in groups.values()),
    )  # fmt: skip
    replace(folder / MANIFEST, canonical_json(manifest), folder)
    progress(manifest.archive_bytes, manifest.archive_bytes)
    return manifest


def load_snapshot(folder: Path) -> SnapshotManifest:
    """The manifest of a snapshot, unverified.

    Raises:
        Damaged: it is missing or unreadable.
    """
    path = folder / MANIFEST
    try:
        return SnapshotManifest.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise Damaged(f"the snapshot's manifest cannot be read: {error}.", str(path), _REMEDY) from error


def verify_snapshot(folder: Path) -> SnapshotManifest:
    """Check a snapshot offline: the archive's hash, and every member against the manifest.

    Raises:
        Damaged: naming what is wrong.
    """
    manifest = load_snapshot(folder)
    path = folder / manifest.archive
    found, _end = archive.members(path)
    with path.open("rb") as file:
        for entry in manifest.entries:
            if entry.type is not FileType.ABSENT and not _no_member(entry, found):
                wrong = archive.differs(found.get(entry.path), entry, file)
                if wrong:
                    raise Damaged(f"{printable(entry.path)} {wrong} in the snapshot.", str(path), _REMEDY)
    if sha256_of(path) != manifest.archive_sha256:
        raise Damaged("the archive is not the one that was written.", str(path), _REMEDY)
    return manifest


def _no_member(entry: Entry, found: Mapping[str, archive.Member]) -> bool:
    return entry.type is FileType.OTHER and entry.path not in found  # sockets: their server makes them again


def _look(connection: Connection, wanted: Sequence[str]) -> tuple[dict[str, Entry], list[Entry]]:
    """Facts of the paths, and of the folders around them that will change or be made with them."""
    above = {str(parent) for path in wanted for parent in PurePosixPath(path).parents} - set(wanted)
    facts = entries(connection, [*wanted, *sorted(above)])
    around: dict[str, Entry] = {}
    linked: set[str] = set()
    for path in wanted:
        for parent in map(str, PurePosixPath(path).parents):
            if parent not in above:
                break
            if facts[parent].type is FileType.LINK:
                linked.add(f"{parent}/.")
            else:
                around[parent] = facts[parent]
            if facts[parent].type is not FileType.ABSENT:
                break
    around |= entries(connection, sorted(linked))
    return {path: facts[path] for path in wanted}, [around[path] for path in sorted(around)]


def _changed(was: Iterable[Entry], is_now: Mapping[str, Entry]) -> list[str]:
    return [entry.path for entry in was if difference(entry, is_now[entry.path])]


def _fill(
    connection: Connection, facts: dict[str, Entry], file: IO[bytes], path: Path, progress: Progress
) -> tuple[dict[str, Entry], dict[str, archive.Member]]:
    """Write members until every one equals what the host said; returns the facts that hold and the members."""
    options = tar_options(connection)
    todo = list(facts)
    total = sum(entry.size + 2048 for entry in facts.values())
    for _ in range(ROUNDS):
        chosen = [facts[name] for name in todo if facts[name].type is not FileType.ABSENT]
        if chosen and options is None:
            _stream_cat(connection, chosen, file)
        elif chosen:
            _stream_tar(
                connection, chosen, options or (), file, lambda done: progress(min(done, total), total)
            )
        archive.settle_on_disk(file)
        found, end = archive.members(path) if file.tell() else ({}, 0)
        file.seek(0)
        todo = [
            name for name in todo
            if facts[name].type is not FileType.ABSENT and not _no_member(facts[name], found)
            and archive.differs(found.get(name), facts[name], file)
        ]  # fmt: skip
        if not todo:
            return facts, found
        facts = facts | entries(connection, todo)
        file.seek(end)
        file.truncate()
    raise Transient(
        f"{printable(todo[0])} keeps changing while it is copied.",
        connection.name,
        "stop the program that writes it, or try again when it is quiet",
    )


def tar_options(connection: Connection) -> tuple[str, ...] | None:
    """Attribute options of the host's GNU tar; None when it has no working one."""
    answer = ask(connection, "sh", "-c", _OPTIONS, "reinstate-tar", "--xattrs", "--acls", "--no-unquote")
    words = answer.text.split()
    return tuple(word for word in words if word != "--no-unquote") if "--no-unquote" in words else None


def _stream_tar(
    connection: Connection,
    chosen: Sequence[Entry],
    options: tuple[str, ...],
    file: IO[bytes],
    told: Callable[[int], None],
) -> None:
    start = file.tell()

    def write(chunk: bytes) -> None:
        file.write(chunk)
        told(file.tell() - start)

    names = nul_list(entry.path.lstrip("/") or "." for entry in chosen)
    result = ask(
        connection, *TAR, *options, "--files-from=-", stdin=names, timeout=TAR_SECONDS, on_stdout=write
    )
    if result.status not in {0, 1, 2}:  # 1 and 2: files changed or vanished; the comparison names them
        raise PreconditionFailed(
            f"tar failed: {result.tail(2)}.", connection.name, "look at tar on the host; nothing was changed"
        )
    file.flush()


def _stream_cat(connection: Connection, chosen: Sequence[Entry], file: IO[bytes]) -> None:
    files = [entry for entry in chosen if entry.type is FileType.FILE]
    with tempfile.TemporaryFile() as contents:

        def write(chunk: bytes) -> None:
            contents.write(chunk)

        names = nul_list(entry.path for entry in files)
        ask(connection, "sh", "-c", _CAT, stdin=names, timeout=TAR_SECONDS, on_stdout=write)
        if contents.tell() != sum(entry.size for entry in files):
            raise Transient("files changed while they were copied.", connection.name, "run it again")
        contents.seek(0)
        archive.build(file, (e for e in chosen if e.type is not FileType.OTHER), contents)


def _set_aside(folder: Path, old: SnapshotManifest) -> None:
    """Move an earlier snapshot out of the way; the manifest first, so that a crash never leaves a wrong pair."""
    mark = f"superseded-{old.taken_at:%Y%m%dT%H%M%S}"
    with explained(folder):
        (folder / MANIFEST).rename(folder / f"{mark}.json")
        (folder / old.archive).rename(folder / f"{mark}.tar")
