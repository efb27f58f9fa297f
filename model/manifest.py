"""Manifests: what a set of files or a dump is, hash by hash, kept apart from the bytes themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from model.canonical import HostText, Value


class FileType(StrEnum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"
    ABSENT = "absent"


def _named(path: str) -> str:
    if not path:
        raise ValueError("a path is not empty")
    return path


ACL = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
"""Attributes that are access control lists."""


def _attribute(name: str) -> str:
    if "\0" in name or len(name) > 255 or not (name in ACL or (name.startswith("user.") and name != "user.")):
        raise ValueError("an attribute is `user.*` or an access control list")
    return name


def absolute(root: str, path: str) -> str:
    """Where a path of a manifest lies on the host; `.` is the root itself."""
    return root if path == "." else f"{root.rstrip('/')}/{path}"


class Attribute(Value):
    """An extended attribute: of a user, or an access control list as the kernel keeps it.

    Attributes:
        value: in hex.
    """

    name: Annotated[HostText, AfterValidator(_attribute)]
    value: str = Field(default="", pattern=r"^([0-9a-f]{2})*$", max_length=131072)


class Entry(Value):
    """One path.

    Attributes:
        path: absolute on the host (snapshots, metadata), or relative to the set's root (backups). Bytes that are
            not UTF-8 are kept as surrogate escapes.
        mode: permission bits, 0o7777 at most.
        mtime_ns: modification time in nanoseconds since the epoch.
        sha256: of the content; empty for anything but a file.
        xxh128: XXH3 with 128 bits of the content, for checks that are to be fast; left out when it was not taken.
        link: target of a symbolic link.
        capabilities: of a file, the attribute `security.capability` in hex; left out of JSON when there are none.
        offset: byte offset of the content inside the archive; -1 when unknown.
        attributes: extended attributes and access control lists, sorted; None, and left out of JSON, when the host
            could not be asked or was not: then nothing is said about them, nor about hard links.
        same_as: path of the first of several hard links to one file, sorted by path; left out where this is the first
            or only name.
        sparse: it has holes; left out when it has none.
    """

    path: Annotated[HostText, AfterValidator(_named)]
    type: FileType
    mode: int = Field(default=0, ge=0, le=0o7777)
    uid: int = Field(default=0, ge=0)
    gid: int = Field(default=0, ge=0)
    size: int = Field(default=0, ge=0)
    mtime_ns: int = 0
    sha256: str = Field(default="", pattern=r"^$|^[0-9a-f]{64}$")
    xxh128: str = Field(default="", pattern=r"^$|^[0-9a-f]{32}$", exclude_if=lambda hexes: not hexes)
    link: HostText = ""
    capabilities: str = Field(
        default="", pattern=r"^$|^([0-9a-f]{2}){1,64}$", exclude_if=lambda hexes: not hexes
    )
    offset: int = -1
    attributes: tuple[Attribute, ...] | None = Field(default=None, exclude_if=lambda named: named is None)
    same_as: HostText = Field(default="", exclude_if=lambda text: not text)
    sparse: bool = Field(default=False, exclude_if=lambda holes: not holes)


class TableCount(Value):
    """Rows of a table when the dump was taken.

    Attributes:
        checksum: of all its rows, as its engine makes it (`CHECKSUM TABLE`, or SHA-256 over ordered rows); empty where
            none was taken. Left out of JSON then.
        orphans: rows that refer to rows that are not there.
    """

    table: str
    rows: int = Field(ge=0)
    checksum: str = Field(default="", exclude_if=lambda text: not text)
    orphans: int = Field(default=0, ge=0, exclude_if=lambda count: not count)


class RecoveryPoint(Value):
    """One backup of one asset.

    Attributes:
        id: `YYYYMMDDTHHMMSSZ`, sorts by time.
        source: name of the backup source in the plan.
        key: object key or path of the archive or dump, relative to the source's prefix.
        sha256: hash of that object.
        bytes: its size.
        manifest_sha256: hash of the manifest's canonical JSON.
    """

    id: str = Field(pattern=r"^[0-9]{8}T[0-9]{6}Z$")
    asset: str
    source: str
    taken_at: AwareDatetime
    key: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


ManifestFormat = Literal[
    "tar",
    "pg_dump-custom",
    "restic",
    "borg",
    "tree",
    "s3-tree",
    "pgbackrest",
    "mariadb-dump",
    "mariabackup",
    "sqlite",
]
"""How the bytes of a recovery point are kept: `tar` (uncompressed, members addressable by offset), a dump or copy of a
database in one object, or a snapshot of a backup tool."""

FILE_FORMATS: frozenset[ManifestFormat] = frozenset({"tar", "restic", "borg", "tree", "s3-tree"})
"""Formats that hold files one by one."""


MOST_PATHS = 2_000_000
"""Paths of one file set at most: what holds more is refused, not held in memory."""


class Manifest(Value):
    """What a backup holds and where it came from; signed, and stored beside the object under `.manifest.json`.

    Attributes:
        format: how the bytes are kept; see `ManifestFormat`.
        machine_id: of the host it was taken from; a restore elsewhere needs its own sign-off (G7).
        entries: the files, sorted by path; empty for a dump.
        tables: row counts for a dump.
        version: server version for a dump.
        snapshot: the backup tool's own name of the snapshot, where a tool keeps the bytes.
        repository: the tool's own id of the repository.
        position: where a backup of a data directory ends in the server's logs: `lsn NUMBER`, then, where the server
            writes a binary log, `binlog PATH NUMBER`.
        adopted: the hashes are of the backup as it was when it was taken over, not of the live tree.
    """

    asset: str
    point: str
    format: ManifestFormat
    host: str
    machine_id: str
    root: str = ""
    taken_at: AwareDatetime
    object_key: str
    object_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    object_bytes: int = Field(ge=0)
    entries: tuple[Entry, ...] = ()
    tables: tuple[TableCount, ...] = ()
    version: str = ""
    snapshot: str = Field(default="", exclude_if=lambda text: not text)
    repository: str = Field(default="", exclude_if=lambda text: not text)
    position: str = Field(default="", exclude_if=lambda text: not text)
    adopted: bool = Field(default=False, exclude_if=lambda adopted: not adopted)

    @property
    def kept_by_tool(self) -> bool:
        """Whether a backup tool on the host keeps the bytes, and not a store of ours."""
        return bool(self.snapshot)


class SignedManifest(Value):
    """A manifest with our Ed25519 signature over its canonical JSON."""

    manifest: Manifest
    key_id: str
    signature: str
