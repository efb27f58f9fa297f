"""What one path of a host is, and what every collector demands of the command that found out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Literal, NamedTuple

from model.command import Result
from model.errors import PreconditionFailed, Transient
from model.manifest import Attribute, Entry, FileType

Digests = Literal["none", "md5", "sha256", "both", "xxh128", "sha256+xxh128"]
"""`both`: MD5 and SHA-256. A host without libxxhash answers with SHA-256 where XXH3 was asked for."""


class Fact(NamedTuple):
    """What one path is now. `error` says why it could not be looked at or read; then the rest may be empty.

    A tuple, because a host has tens of thousands of them. `capabilities` are the file's, in hex as the kernel keeps
    them; None: this host could not be asked.
    """

    path: str
    type: FileType
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: str = ""
    md5: str = ""
    sha256: str = ""
    capabilities: str | None = None
    error: str = ""
    attributes: tuple[tuple[str, str], ...] | None = None
    file: tuple[int, int] | None = None
    names: int = 0
    sparse: bool = False
    ctime_ns: int = 0
    xxh128: str = ""

    def entry(self, path: str | None = None) -> Entry:
        """The fact as a manifest's entry, under another path if given."""
        return Entry(
            path=path or self.path, type=self.type, mode=self.mode, uid=self.uid, gid=self.gid,
            size=self.size if self.type is FileType.FILE else 0, mtime_ns=self.mtime_ns, sha256=self.sha256,
            xxh128=self.xxh128, link=self.link, capabilities=self.capabilities or "", sparse=self.sparse,
            attributes=None if self.attributes is None
            else tuple(Attribute(name=name, value=value) for name, value in self.attributes),
        )  # fmt: skip


class Facts(Mapping[str, Fact]):
    """Facts by path; of a path that is as an entry says, the fact is made when somebody asks for it."""

    def __init__(self, looked: Mapping[str, Fact], same: Mapping[str, Entry]) -> None:
        """Each path stands in one of the two."""
        self.looked = looked
        self.same = same

    def __getitem__(self, path: str) -> Fact:
        """The fact of a path."""
        fact = self.looked.get(path)
        return fact if fact is not None else _as_expected(self.same[path])

    def __contains__(self, path: object) -> bool:
        """Whether the path was looked at."""
        return path in self.looked or path in self.same

    def __iter__(self) -> Iterator[str]:
        """First those that are not as expected."""
        return chain(self.looked, self.same)

    def __len__(self) -> int:
        """How many paths were looked at."""
        return len(self.looked) + len(self.same)


def _as_expected(entry: Entry) -> Fact:
    return Fact(
        entry.path, entry.type, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, entry.link, "",
        entry.sha256, entry.capabilities,
    )  # fmt: skip


def require(result: Result, where: str, what: str) -> None:
    """Raise unless a collector's command did its work.

    Raises:
        Transient: the connection was lost. PreconditionFailed: a tool is missing or damaged.
    """
    if result.status is None:
        raise Transient(f"the connection was lost while {what}.", where, "run it again")
    if not result.ok:
        raise PreconditionFailed(
            f"{what} failed with status {result.status}: {result.tail(3) or 'no message'}.",
            where,
            "one of these tools is missing or damaged on the host: restore it by hand, then examine again",
        )
