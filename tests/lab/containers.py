"""What the kernel knows about a container, found by its root directory, and ending it for certain.

Supervisors die, process ids are recorded wrong, a container may reboot itself: so nothing here relies on a remembered
process id. A process belongs to a container when its root directory is the container's root directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab import cgroups
from tests.lab.base import LabError, run

_PROC = Path("/proc")
_END_SECONDS = 15.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until a condition holds.

    Args:
        condition: Asked again and again; must be cheap.
        what: What is being waited for, for the message.
        seconds: Longest wait.

    Raises:
        LabError: The condition did not come to hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"gave up after {seconds:g} s waiting for {what}")
        # The kernel offers no event for what is awaited here.
        time.sleep(0.01)


def members(root: Path) -> list[int]:
    """Return the processes of this machine whose root directory is `root`."""
    try:
        wanted = root.stat()
    except FileNotFoundError:
        return []
    found = []
    for pid in _all_processes():
        try:
            actual = (_PROC / str(pid) / "root").stat()
        except OSError:  # ended meanwhile, a zombie, or a kernel thread
            continue
        if (actual.st_dev, actual.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(pid)
    return found


def init_of(root: Path) -> int | None:
    """Return the process that is number 1 inside the container with this root, or None when there is none."""
    depth = len(_namespace_ids(os.getpid())) + 1
    for pid in members(root):
        ids = _namespace_ids(pid)
        if len(ids) == depth and ids[-1] == 1:
            return pid
    return None


def supervisors(root: Path) -> list[int]:
    """Return the `systemd-nspawn` processes that were started for this root."""
    found = []
    for pid in _all_processes():
        try:
            words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"systemd-nspawn") and f"--directory={root}".encode() in words:
            found.append(pid)
    return found


def end(root: Path) -> None:
    """End every process of a container, as if its power was cut, and remove its control groups.

    The order matters: killing the supervisor first leaves the container running as an orphan. Number 1 goes first, the
    kernel then takes the rest of its process namespace along, and the supervisor leaves by itself.

    Raises:
        LabError: Something survived.
    """

    def gone() -> bool:
        pid = init_of(root)
        if pid is not None:
            _kill(pid)
            return False
        for other in members(root):
            _kill(other)
        return not members(root)

    wait_until(gone, f"the processes of {root.parent.name} to end", _END_SECONDS)
    patience = time.monotonic() + 3

    def unsupervised() -> bool:
        left = supervisors(root)
        if time.monotonic() > patience:
            for pid in left:
                _kill(pid)
        return not left

    wait_until(unsupervised, f"the supervisor of {root.parent.name} to end", _END_SECONDS)

    def ungrouped() -> bool:
        cgroups.remove(root.parent.name)
        return not cgroups.left(root.parent.name)

    wait_until(ungrouped, f"the control groups of {root.parent.name} to go", _END_SECONDS)


def mount_overlay(lower: list[Path], upper: Path, work: Path, root: Path) -> None:
    """Mount a writable clone of read-only layers (topmost layer first) at `root`."""
    for directory in (upper, work, root):
        directory.mkdir(parents=True)
    layers = ":".join(str(layer) for layer in lower)
    # volatile: a clone is thrown away, so nothing needs to reach the disk when a database inside asks for it.
    options = f"lowerdir={layers},upperdir={upper},workdir={work},volatile"
    run(["mount", "-t", "overlay", "overlay", "-o", options, root])


def unmount(root: Path) -> None:
    """Unmount a clone; does nothing when it is not mounted."""
    deadline = time.monotonic() + 10
    while is_mounted(root):
        try:
            run(["umount", root])
        except LabError:  # a process that was just killed may still hold it
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted exactly at this path."""
    return any(line.split()[4] == str(path) for line in (_PROC / "self/mountinfo").read_text().splitlines())


def _all_processes() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())


def _namespace_ids(pid: int) -> list[int]:
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return [int(word) for word in line.split()[1:]]
    return []


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
