"""What a file is: everything about it that a repair has to bring back."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file as it was seen; two equal facts mean that nothing distinguishes the files but their times.

    Attributes:
        kind: `file`, `directory`, `link` or `other`.
        mode: Permission bits, set-id bits included.
        uid: Owner.
        gid: Group.
        content: SHA-256 of a file, target of a link, empty for the rest.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    content: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file of this machine without following a link."""
        status = path.lstat()
        kind, content = "other", ""
        if stat.S_ISLNK(status.st_mode):
            kind, content = "link", str(path.readlink())
        elif stat.S_ISDIR(status.st_mode):
            kind = "directory"
        elif stat.S_ISREG(status.st_mode):
            kind, content = "file", hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, content)


def facts_below(directory: Path) -> dict[str, FileFacts]:
    """Return the facts of everything below a directory, by path relative to it."""
    return {str(path.relative_to(directory)): FileFacts.of(path) for path in sorted(directory.rglob("*"))}


def filler(seed: str, size: int) -> bytes:
    """Return bytes that look random and are the same for the same seed, everywhere and for ever."""
    return hashlib.shake_256(seed.encode()).digest(size)
