"""A damaged dpkg status file made whole from what is left of it, its newest whole copy, and dpkg's own log. Read-only.

Entries that are whole in the damaged file are the newest truth there is. Those it lost come from `status-old` or the
copies of dpkg-db-backup(1) in /var/backups; what dpkg.log says was installed since that copy was made stands there as
`reinstreq`, which is dpkg's own word for "must be installed again". What nobody knows any more is named.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from blocks.hosts.base import Connection
from checks import dpkg
from checks.dpkg import Database
from checks.stat import collect
from model.assets import DpkgAsset
from model.command import Command
from model.errors import PreconditionFailed
from model.manifest import FileType

LIMIT = 64 << 20
_ROTATED = tuple(f"/var/backups/dpkg.status.{n}{'.gz' if n else ''}" for n in range(8))
_EVENT = re.compile(r"(\S+ \S+) status (\S+) ([^\s:]+)(?::(\S+))? (\S+)$")
_DATE = (
    'LC_ALL=C; export LC_ALL; root=$1; shift; for t; do date -d "@$t" "+%Y-%m-%d %H:%M:%S" || exit 1; done'
)

Key = tuple[str, str]
"""Package and architecture."""


@dataclass(frozen=True)
class Mended:
    """A damaged status file made whole.

    Attributes:
        status: its text as it should be.
        base: the copy that was used; empty when what is left suffices.
        restored: packages whose entries came from the copy.
        again: packages installed since that copy, to be installed again.
        lost: packages whose files are listed and whose entry nobody has.
    """

    status: str
    base: str = ""
    restored: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the file as it will be written."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self.status.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Read:
    """A database, and how to mend it where it is damaged (None: it is whole, or no copy is)."""

    database: Database
    mended: Mended | None = None


def read(connection: Connection, asset: DpkgAsset) -> Read:
    """The database of a host; a damaged one as it was, so that everything else can be examined and repaired by it.

    Raises:
        Transient: the connection was lost. PreconditionFailed: see `dpkg.read`.
    """
    raw = dpkg.read_raw(connection, asset)
    database = dpkg.parse(raw, connection.name)
    if not database.torn and not database.lost:
        return Read(database)
    mended = mend(connection, asset, dpkg.status_of(raw), database)
    if mended is None:
        return Read(database)
    whole = dpkg.parse(raw, connection.name, mended.status)
    why = database.torn or f"no entry for {', '.join(database.lost[:5])}"
    return Read(replace(whole, torn=why, lost=mended.lost), mended)


def mend(connection: Connection, asset: DpkgAsset, status: str, database: Database) -> Mended | None:
    """Make a status file whole; None when no copy of it is whole."""
    root = asset.root.rstrip("/")
    names = [f"{root}/var/lib/dpkg/status-old", *(f"{root}{name}" for name in _ROTATED)]
    facts = collect(connection, names, "none")
    there = [facts[name] for name in names if facts[name].type is FileType.FILE]
    for fact in sorted(there, key=lambda fact: -fact.mtime_ns):
        text = _text(connection, fact.path)
        if text.strip() and not dpkg.tear(text):
            events = _events(connection, root, fact.mtime_ns)
            merged = merge(status, text, events, database.lost)
            return replace(merged, base=fact.path)
    return None


def merge(status: str, copy: str, events: Mapping[Key, tuple[str, str]], lists: Sequence[str] = ()) -> Mended:
    """Put entries together.

    Args:
        status: the damaged file.
        copy: a whole one.
        events: last state and version of what dpkg did since, by package and architecture.
        lists: stems of file lists whose package the damaged file does not know.
    """
    kept, old = dict(_entries(status)), dict(_entries(copy))
    result: dict[Key, str] = {}
    restored, again = [], []
    for key in dict.fromkeys((*old, *kept, *events)):
        if key in kept:
            result[key] = kept[key]
            continue
        entry, state, version = old.get(key), *events.get(key, ("", ""))
        if state in {"not-installed", "config-files"} and not _listed(key, lists):
            continue
        if entry is not None and (not state or version == _field(entry, "Version")):
            result[key] = _settled(entry) if state == "installed" else entry
            restored.append(key[0])
        elif state:
            result[key] = _to_reinstall(entry, key, version)
            again.append(key[0])
    known = {name for name, _ in result} | {f"{name}:{arch}" for name, arch in result}
    lost = tuple(stem for stem in lists if stem not in known)
    text = "".join(f"{entry}\n\n" for entry in result.values())
    return Mended(text, "", tuple(restored), tuple(again), lost)


def _entries(text: str) -> Iterator[tuple[Key, str]]:
    blocks = text.split("\n\n")
    for number, block in enumerate(blocks):
        whole = number < len(blocks) - 1  # behind the last blank line stands what was cut off
        if whole and block.strip() and not dpkg.damaged_entry(block):
            entry = block.strip("\n")
            yield (_field(entry, "Package"), _field(entry, "Architecture")), entry


def _field(entry: str, name: str) -> str:
    return next((line[len(name) + 2 :] for line in entry.split("\n") if line.startswith(f"{name}: ")), "")


def _listed(key: Key, lists: Sequence[str]) -> bool:
    return key[0] in lists or f"{key[0]}:{key[1]}" in lists


def _settled(entry: str) -> str:
    """Dpkg's log says that it was installed wholly since the copy was made."""
    want = _field(entry, "Status").split()[0]
    lines = [line for line in entry.split("\n") if not line.startswith(("Triggers-", "Config-Version:"))]
    return "\n".join(f"Status: {want} ok installed" if line.startswith("Status:") else line for line in lines)


def _to_reinstall(entry: str | None, key: Key, version: str) -> str:
    name, architecture = key
    fields = {"Package": name, "Status": "install reinstreq half-installed", "Architecture": architecture}
    if entry is None:
        head = "\n".join(f"{field}: {value}" for field, value in fields.items())
        return f"{head}\nVersion: {version}\nMaintainer: unknown\nDescription: to be installed again"
    lines = [line for line in _settled(entry).split("\n") if not line.startswith("Status:")]
    lines = [f"Version: {version}" if line.startswith("Version:") else line for line in lines]
    return "\n".join([lines[0], f"Status: {fields['Status']}", *lines[1:]])


def _text(connection: Connection, path: str) -> str:
    try:
        data = connection.read_file(path, LIMIT)
        if path.endswith(".gz"):
            data = gzip.decompress(data)
    except (PreconditionFailed, OSError, EOFError, zlib.error):
        return ""
    return data.replace(b"\0", b"\x01").decode("utf-8", "surrogateescape")


def _events(connection: Connection, root: str, since_ns: int) -> dict[Key, tuple[str, str]]:
    """The last state of each package dpkg worked on since a moment, from its log, which has the host's local time."""
    moment = connection.run(
        Command(("sh", "-c", _DATE, "reinstate-date", root, str(since_ns // 1_000_000_000)), sudo=True)
    ).text.strip()
    found: dict[Key, tuple[str, str]] = {}
    for name in ("dpkg.log.1", "dpkg.log"):
        for line in _text(connection, f"{root}/var/log/{name}").split("\n"):
            match = _EVENT.match(line)
            if match and moment and match[1] > moment:
                found[match[3], match[4] or ""] = (match[2], "" if match[5] == "<none>" else match[5])
    return found
