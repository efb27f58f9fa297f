"""Repairs of a host's own state that are one command each: making room, remounting, setting the clock right."""

from __future__ import annotations

import copy
import time

from blocks.hosts.base import Connection
from model.assets import SystemAsset
from model.canonical import now
from model.command import Command, printable
from model.errors import PreconditionFailed, Refused, ReinstateError
from model.manifest import FileType
from model.proposal import FreeSpace, RemountWritable, RestartTimeDaemon
from tasks.filestate import entries, nul_list
from tasks.performed import Performed
from tasks.staging import PLAIN, Progress, ask

PATIENCE = 90.0
"""Seconds until the clock must be right: a daemon asks several servers several times first."""

MEMORY_STATE = "/run/reinstate"
"""Where a job is kept when the disk has no room for it: in memory, gone with a reboot."""

_SECONDS = 120.0
_JOB_BYTES, _JOB_INODES = 256 << 10, 64

# Block size, free blocks and free inodes (plenty, where they are not counted) of where the state directory is.
_ROOM = r"""
d=$1; while [ ! -d "$d" ]; do d=${d%/*}; d=${d:-/}; done
set -- $(stat -f -c '%S %a %d %c' -- "$d") && [ "$4" -gt 0 ] || set -- "$1" "$2" 1000000
echo "$1 $2 $3"
"""


def free_space(
    connection: Connection, action: FreeSpace, *, job_prefix: str, token: int, progress: Progress
) -> Performed:
    """Remove exactly the files that were signed for.

    Raises:
        PreconditionFailed: one of them is not what was signed for; nothing was removed.
        ReinstateError: they cannot be removed.
    """
    wanted = {entry.path: entry for entry in action.files}
    live = entries(connection, wanted)
    for path, entry in wanted.items():
        if live[path].type is not FileType.ABSENT and (live[path].sha256, live[path].size) != (
            entry.sha256,
            entry.size,
        ):
            raise PreconditionFailed(
                f"{printable(path)} is not what the proposal was signed for.",
                connection.name,
                "propose again",
            )
    command = Command(
        ("xargs", "-0", "-r", "rm", "-f", "--"), stdin=nul_list(wanted), sudo=True, env=PLAIN, timeout=_SECONDS
    )  # fmt: skip
    result = _with_room(connection, token).job(f"{job_prefix}-room", command, token)
    left = [path for path, entry in entries(connection, wanted).items() if entry.type is not FileType.ABSENT]
    if left:
        raise ReinstateError(
            f"{printable(left[0])} cannot be removed: {result.tail(2) or 'it came back'}.",
            connection.name,
            "look at that file system: is it read-only?",
        )
    progress(1, 1)
    return Performed(f"{len(wanted)} files removed on {printable(action.mount)}: {action.frees} bytes.")


def _with_room(connection: Connection, token: int) -> Connection:
    """The connection itself; where its state directory has no room for a job, one whose jobs are kept in memory.

    What makes room must not need room. The fence on the disk counts all the same.

    Raises:
        Refused: fenced by a newer token.
    """
    state = connection.host.state_dir.rstrip("/")
    room = ask(connection, "sh", "-c", _ROOM, "reinstate-room", state, timeout=20.0).text.split()
    if len(room) != 3 or not all(word.isdigit() for word in room):
        return connection
    size, free, inodes = (int(word) for word in room)
    if size * free >= _JOB_BYTES and inodes >= _JOB_INODES:
        return connection
    fence = ask(connection, "cat", "--", f"{state}/fence", timeout=20.0).text.strip()
    if fence.isdigit() and int(fence) > token:
        raise Refused(
            f"a newer recovery holds this host (token {fence}, ours is {token}).",
            connection.name,
            "let it end, or find out who started it",
        )
    elsewhere = copy.copy(connection)
    elsewhere.host = connection.host.model_copy(update={"state_dir": MEMORY_STATE})
    return elsewhere


def remount(
    connection: Connection, action: RemountWritable, *, job_prefix: str, token: int, progress: Progress,
    writable: bool = True,
) -> Performed:  # fmt: skip
    """Mount it writable again, or, to undo it, read-only.

    Raises:
        ReinstateError: the kernel refuses.
    """
    word = "rw" if writable else "ro"
    command = Command(
        ("mount", "-o", f"remount,{word}", "--", action.mount), sudo=True, env=PLAIN, timeout=_SECONDS
    )
    result = connection.job(f"{job_prefix}-remount", command, token)
    if not result.ok:
        raise ReinstateError(
            f"{printable(action.mount)} cannot be mounted {'writable' if writable else 'read-only'}: "
            f"{result.tail(2)}.",
            connection.name,
            "read the kernel's log; copy what is on it before anything else",
        )
    progress(1, 1)
    return Performed(f"{printable(action.mount)} is {'writable' if writable else 'read-only'} again.")


def restart_time_daemon(
    connection: Connection, asset: SystemAsset, action: RestartTimeDaemon, *, job_prefix: str, token: int,
    progress: Progress,
) -> Performed:  # fmt: skip
    """Restart the daemon and wait until the host's clock agrees with ours.

    Raises:
        ReinstateError: it does not start, or the clock stays wrong.
    """
    command = Command(("systemctl", "restart", "--", action.unit), sudo=True, env=PLAIN, timeout=_SECONDS)
    result = connection.job(f"{job_prefix}-clock", command, token)
    if not result.ok:
        raise ReinstateError(
            f"{action.unit} does not start: {result.tail(3)}.", connection.name, "read its journal there"
        )
    begun = time.monotonic()
    while True:
        off = _off(connection)
        if abs(off) <= asset.clock_tolerance:
            break
        if time.monotonic() - begun > PATIENCE:
            raise ReinstateError(
                f"the clock is still {abs(off):.1f} s off after {PATIENCE:.0f} s.",
                connection.name,
                f"see which servers {action.unit} reaches, or set the clock by hand",
            )
        time.sleep(1)
    progress(1, 1)
    return Performed(f"{action.unit} was restarted; the clock is right to {asset.clock_tolerance:g} s.")


def _off(connection: Connection) -> float:
    sent = now().timestamp()
    said = ask(connection, "date", "+%s.%N", timeout=20.0).text.strip()
    received = now().timestamp()
    try:
        theirs = float(said)
    except ValueError:
        return float("inf")
    return theirs - received if theirs > received else min(0.0, theirs - sent)
