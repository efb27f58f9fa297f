"""What a host's own state was while it was healthy, kept as a baseline's entries like that of packages.

Unit files, links and drop-ins are entries under their own path. Pseudo entries hold the rest, by the word before the
colon: `content:SHA256` (text of a small unit file), `active:UNIT`, `user:NAME`, `group:NAME`, `mount:PATH` (writable),
`boot:PATH` (size), and `system:1`, which says that a baseline was recorded at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from model.manifest import Entry, FileType

UNIT_FOLDERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
"""Where people change units; those of packages are the packages' own."""

RUNTIME = "/run/systemd/system"
"""Where `systemctl mask --runtime` links."""

NOTHING = "/dev/null"
_MARK = "system:1"


@dataclass(frozen=True)
class HostState:
    """The recorded state of one host.

    Attributes:
        units: what lies in the unit folders, by path.
        contents: text of unit files, by SHA-256.
        active: units that ran.
        users: uid by name; `groups` likewise.
        mounts: mount points that could be written.
        boot: size of kernels and initial RAM disks, by path.
    """

    units: Mapping[str, Entry] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    active: frozenset[str] = frozenset()
    users: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    mounts: frozenset[str] = frozenset()
    boot: Mapping[str, int] = field(default_factory=dict)

    def entries(self) -> tuple[Entry, ...]:
        """As a baseline keeps it, sorted by path."""
        return tuple(sorted((*self.units.values(), *self._pseudo()), key=lambda entry: entry.path))

    def _pseudo(self) -> Iterator[Entry]:
        yield Entry(path=_MARK, type=FileType.OTHER)
        for sha256, text in self.contents.items():
            yield Entry(path=f"content:{sha256}", type=FileType.OTHER, sha256=sha256, link=text)
        for unit in self.active:
            yield Entry(path=f"active:{unit}", type=FileType.OTHER)
        for word, known in (("user", self.users), ("group", self.groups)):
            for name, number in known.items():
                yield Entry(path=f"{word}:{name}", type=FileType.OTHER, uid=number)
        for mount in self.mounts:
            yield Entry(path=f"mount:{mount}", type=FileType.OTHER)
        for path, size in self.boot.items():
            yield Entry(path=f"boot:{path}", type=FileType.OTHER, size=size)


def host_state(baseline: Iterable[Entry]) -> HostState | None:
    """The state a baseline holds; None when it was never recorded."""
    parts: dict[str, dict[str, Entry]] = {}
    units: dict[str, Entry] = {}
    for entry in baseline:
        if entry.path.startswith("/"):
            units[entry.path] = entry
        else:
            word, _, name = entry.path.partition(":")
            parts.setdefault(word, {})[name] = entry
    if "system" not in parts:
        return None
    return HostState(
        units=units,
        contents={name: e.link for name, e in parts.get("content", {}).items() if sha256_of(e.link) == name},
        active=frozenset(parts.get("active", {})),
        users={name: e.uid for name, e in parts.get("user", {}).items()},
        groups={name: e.uid for name, e in parts.get("group", {}).items()},
        mounts=frozenset(parts.get("mount", {})),
        boot={name: e.size for name, e in parts.get("boot", {}).items()},
    )


def sha256_of(text: str) -> str:
    """SHA-256 of a text as it lies on the host."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def masks(entry: Entry | None) -> bool:
    """Whether this makes a unit impossible to start: a link to nothing, or an empty file (systemd.unit(5))."""
    if entry is None:
        return False
    if entry.type is FileType.LINK:
        return entry.link == NOTHING
    return entry.type is FileType.FILE and entry.size == 0 and not entry.path.endswith(".conf")


def unit_of(path: str) -> str:
    """The unit a path in a unit folder is about: itself, or what its `.d`, `.wants` or `.requires` folder names."""
    for folder in (*UNIT_FOLDERS, RUNTIME):
        if path.startswith(f"{folder}/"):
            first, _, rest = path[len(folder) + 1 :].partition("/")
            if not rest:
                return first
            # An enablement link is about the unit that is wanted, a drop-in about the unit of its folder.
            return rest if first.endswith((".wants", ".requires", ".upholds")) else first.removesuffix(".d")
    return ""
