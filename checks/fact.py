"""What one path of a host is, and what every collector demands of the command that found out."""

from __future__ import annotations

from typing import Literal, NamedTuple

from model.command import Result
from model.errors import PreconditionFailed, Transient
from model.manifest import Attribute, Entry, FileType

Digests = Literal["none", "md5", "sha256", "both"]


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

    def entry(self, path: str | None = None) -> Entry:
        """The fact as a manifest's entry, under another path if given."""
        return Entry(
            path=path or self.path, type=self.type, mode=self.mode, uid=self.uid, gid=self.gid,
            size=self.size if self.type is FileType.FILE else 0, mtime_ns=self.mtime_ns, sha256=self.sha256,
            link=self.link, capabilities=self.capabilities or "", sparse=self.sparse,
            attributes=None if self.attributes is None
            else tuple(Attribute(name=name, value=value) for name, value in self.attributes),
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
