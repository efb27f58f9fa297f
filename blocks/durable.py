"""Durable small files: written whole and flushed to the disk, or not at all; and locks that die with their holder.

A file is written under a random name in a spool folder of the same file system, flushed, and then linked
(exclusive) or renamed (replacing) into place; the folder is flushed too. A process killed anywhere leaves at most a
file in the spool.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from model.errors import PreconditionFailed, Transient, Unsupported

SPOOL_AGE = 3600.0
"""Seconds after which a file in the spool belongs to nobody: its writer was killed."""

_REMEDIES = {
    errno.ENOSPC: "free space on that file system; nothing was half-written",
    errno.EDQUOT: "raise the quota; nothing was half-written",
    errno.EROFS: "mount the file system read-write (look at the kernel log first: a disk error may be the cause)",
    errno.EACCES: "run as the user who owns this folder, or set REINSTATE_HOME to a folder of yours",
    errno.EPERM: "run as the user who owns this folder, on a file system with hard links (ext4, xfs, btrfs, NFS)",
    errno.EIO: "the disk reports errors: move the folder to a healthy disk before going on",
}


@contextlib.contextmanager
def explained(where: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says what to do.

    Raises:
        PreconditionFailed: the disk is full, read-only, failing, or not ours.
        Unsupported: the file system cannot do what is needed (hard links, locks).
    """
    try:
        yield
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in {errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}:
            raise Unsupported(
                f"the file system cannot do it: {reason}.",
                where=str(where),
                remedy="put REINSTATE_HOME on a local file system (ext4, xfs, btrfs)",
            ) from error
        remedy = _REMEDIES.get(error.errno or 0, "look at this folder and its file system")
        raise PreconditionFailed(
            f"the file system refused: {reason}.", where=str(where), remedy=remedy
        ) from error


def create(path: Path, data: bytes, spool: Path) -> None:
    """Create a file that must not exist yet; of several racing writers exactly one succeeds.

    Args:
        path: where; its folder exists.
        data: the whole content.
        spool: a folder of the same file system.

    Raises:
        FileExistsError: another writer was first.
        PreconditionFailed: the file system refused; nothing was written.
    """
    with explained(path), _spooled(spool, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            if temporary.stat().st_nlink != 2:  # NFS: the link was made, only the answer was lost
                raise
        try:
            flush(path.parent)
        except OSError:  # not durable: what fails must not be there
            path.unlink(missing_ok=True)
            raise


def replace(path: Path, data: bytes, spool: Path, mode: int = 0o600) -> None:
    """Write a file, replacing what is there in one step.

    Raises:
        PreconditionFailed: the file system refused; the old content stands.
    """
    with explained(path), _spooled(spool, data) as temporary:
        temporary.chmod(mode)
        temporary.replace(path)
        flush(path.parent)


@contextlib.contextmanager
def _spooled(spool: Path, data: bytes) -> Iterator[Path]:
    temporary = spool / secrets.token_hex(12)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def flush(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> Path:
    """Create a folder and its missing parents, each with mode 700, durable.

    Raises:
        PreconditionFailed: the file system refused, or a file stands in the way.
    """
    if not path.is_dir():
        with explained(path):
            missing = [path, *path.parents]
            missing = missing[: next(n for n, folder in enumerate(missing) if folder.exists())]
            for folder in reversed(missing):
                with contextlib.suppress(FileExistsError):  # made by another process meanwhile
                    folder.mkdir(mode=0o700)
                flush(folder.parent)
        if not path.is_dir():
            raise PreconditionFailed("is not a folder.", where=str(path), remedy="move that file away")
    return path


def read(path: Path) -> bytes | None:
    """A file's content; None when there is none."""
    try:
        with explained(path):
            return path.read_bytes()
    except FileNotFoundError:
        return None


def sweep(spool: Path) -> None:
    """Remove what killed writers left in the spool."""
    limit = time.time() - SPOOL_AGE
    for leftover in spool.iterdir():
        with contextlib.suppress(OSError):  # another process sweeps too
            if leftover.stat().st_mtime < limit:
                leftover.unlink()


@contextlib.contextmanager
def locked(path: Path, patience: float = 20.0) -> Iterator[None]:
    """Hold an exclusive lock between processes and threads; the kernel releases it when its holder dies.

    Args:
        path: the lock file; created when missing, never removed.
        patience: seconds to wait; 0: only when it is free now.

    Raises:
        Transient: another process held it all that time.
        PreconditionFailed: the lock file cannot be made.
    """
    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        pause = 0.0005
        while not _try_lock(descriptor, path):
            if time.monotonic() >= deadline:
                raise Transient(
                    f"another process holds it for more than {patience:g} s.",
                    where=str(path),
                    remedy="try again; a stopped process of reinstate (state T in ps) may hold it",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    with explained(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
