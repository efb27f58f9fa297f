"""Snapshot archives on the orchestrator: one uncompressed tar, written from a stream, read back from disk, hashed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from model.errors import Damaged
from model.manifest import Entry, FileType
from tasks.staging import CHUNK

BLOCK = 512
_REMEDY = "keep everything as it is and look for another copy; do not repair from this one"


@dataclass(frozen=True)
class Member:
    """The last member of a path in the archive.

    Attributes:
        info: its header.
        content: offset of its bytes; that of the first name for a hard link; -1 for what has none.
        size: number of bytes.
        same_as: the path it is a hard link of; empty when it is none.
    """

    info: tarfile.TarInfo
    content: int
    size: int
    same_as: str = ""

    @property
    def extended(self) -> bool:
        """Whether it has extended attributes or access control lists."""
        return any(key.startswith(("SCHILY.xattr.", "SCHILY.acl.")) for key in self.info.pax_headers)

    @property
    def unseen(self) -> bool:
        """Whether it has attributes that an entry does not name (those of security modules, `trusted.*`)."""
        named = ("SCHILY.xattr.user.", "SCHILY.xattr.system.posix_acl_", "SCHILY.xattr.security.capability")
        keys = (key for key in self.info.pax_headers if key.startswith("SCHILY.xattr."))
        return not all(key.startswith(named) for key in keys)

    @property
    def mtime_ns(self) -> int:
        """Exact modification time."""
        text = self.info.pax_headers.get("mtime", str(int(self.info.mtime)))
        whole, _, fraction = text.lstrip("-").partition(".")
        value = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or "0")
        return -value if text.startswith("-") else value


def members(path: Path) -> tuple[dict[str, Member], int]:
    """Every path of an archive with its newest member, and the offset behind the last one.

    Raises:
        Damaged: it is no tar archive, or cut off.
    """
    found: dict[str, Member] = {}
    end = 0
    with _reading(path):
        if path.stat().st_size == 0:  # nothing was there to keep
            return found, end
    with _reading(path), tarfile.open(path, "r:", errorlevel=2) as archive:
        for info in archive:
            name = absolute(info.name)
            if info.islnk():
                first = found[absolute(info.linkname)]
                found[name] = Member(
                    info, first.content, first.size, first.same_as or absolute(info.linkname)
                )
            elif info.isreg():
                found[name] = Member(info, info.offset_data, info.size)
            else:
                found[name] = Member(info, -1, 0)
            end = info.offset_data + (-(-info.size // BLOCK) * BLOCK if info.isreg() else 0)
    if end > path.stat().st_size:
        raise Damaged("the archive is cut off.", str(path), _REMEDY)
    return found, end


def absolute(name: str) -> str:
    """The path of a member's name: archives are written relative to `/`."""
    return "/" + name.removeprefix("./").strip("/") if name != "." else "/"


def differs(member: Member | None, entry: Entry, file: IO[bytes]) -> str:
    """What of a member is not as the host said; empty when all is. Reads the content."""
    if member is None:
        return "is missing"
    info, kinds = (
        member.info,
        {FileType.DIRECTORY: tarfile.TarInfo.isdir, FileType.LINK: tarfile.TarInfo.issym},
    )
    if entry.type is FileType.FILE:
        right = member.content >= 0
    elif entry.type in kinds:
        right = kinds[entry.type](info)
    else:
        right = not (info.isdir() or info.issym() or member.content >= 0)
    if not right:
        return "is of another type"
    if entry.type is FileType.LINK:
        return "" if info.linkname == entry.link else "links elsewhere"
    if (info.mode & 0o7777, info.uid, info.gid) != (entry.mode, entry.uid, entry.gid):
        return "has another mode or owner"
    if entry.type is FileType.FILE:
        if member.mtime_ns != entry.mtime_ns or member.size != entry.size:
            return "has another time or size"
        if content_hash(member, file) != entry.sha256:
            return "has another content"
    return ""


def content_hash(member: Member, file: IO[bytes]) -> str:
    """SHA-256 of a member's content."""
    hasher = hashlib.sha256()
    for chunk in content(member, file):
        hasher.update(chunk)
    return hasher.hexdigest()


def content(member: Member, file: IO[bytes]) -> Iterator[bytes]:
    """A member's content in pieces.

    Raises:
        Damaged: the archive is cut off.
    """
    file.seek(member.content)
    left = member.size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise Damaged("the archive is cut off.", str(file.name), _REMEDY)
        left -= len(chunk)
        yield chunk


def flat(chosen: Mapping[str, Member], file: IO[bytes]) -> Iterator[bytes]:
    """A tar stream of chosen members under the given flat names, metadata and attributes as they were.

    Flat names: no member can land inside what another one made (links, `..`), whatever the archive holds.
    """
    for name, member in chosen.items():
        info = tarfile.TarInfo(name)
        info.type = tarfile.REGTYPE if member.content >= 0 else member.info.type
        for field in ("mode", "uid", "gid", "mtime", "devmajor", "devminor"):
            setattr(info, field, getattr(member.info, field))
        info.size = member.size
        info.pax_headers = {
            key: value
            for key, value in member.info.pax_headers.items()
            if key == "mtime" or key.startswith(("SCHILY.xattr.", "SCHILY.acl."))
        }
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if member.content >= 0:
            yield from content(member, file)
            yield bytes(-member.size % BLOCK)
    yield bytes(2 * BLOCK)


def build(file: IO[bytes], entries: Iterator[Entry], source: IO[bytes]) -> None:
    """Write members for entries whose contents follow each other in `source`; for hosts without tar."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path.lstrip("/") or ".")
            info.mode, info.uid, info.gid, info.size = entry.mode, entry.uid, entry.gid, entry.size
            info.mtime = entry.mtime_ns // 1_000_000_000
            whole, fraction = divmod(entry.mtime_ns, 1_000_000_000)
            info.pax_headers = {"mtime": f"{whole}.{fraction:09d}"} if entry.mtime_ns >= 0 else {}
            if entry.type is FileType.LINK:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
            elif entry.type is FileType.DIRECTORY:
                info.type = tarfile.DIRTYPE
            archive.addfile(info, source if entry.type is FileType.FILE else io.BytesIO())


def settle_on_disk(file: IO[bytes]) -> None:
    """Flush a file, and drop it from the cache, so that reading it back reads the disk."""
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Damaged("the archive is missing.", str(path), _REMEDY) from error
    except (tarfile.TarError, KeyError, ValueError, EOFError) as error:
        raise Damaged(f"the archive cannot be read: {error}.", str(path), _REMEDY) from error
