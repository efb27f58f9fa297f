"""Moving what belongs to nobody into quarantine on the host: nothing runs it there, nothing of it is lost.

The undo is the same move backwards, so that a folder comes back whole, with whatever was in it.
"""

from __future__ import annotations

from blocks.hosts.base import Connection
from model.assets import AssetBase
from model.command import Command, printable
from model.errors import ReinstateError
from model.proposal import SetAside
from tasks.performed import Performed
from tasks.staging import PLAIN, Progress

SECONDS = 3600.0

# Numbers name what lies in quarantine, in the order of the proposal; a move that was made is not made again, and what
# the undo of another action put back already is not put back twice.
_SCRIPT = r"""
set -u
way=$1 folder=$2; shift 2
umask 077; mkdir -p -- "$folder" || exit 3
number=0
for path; do
    number=$((number + 1)) there=$folder/$number
    if [ "$way" = back ]; then a=$there b=$path; else a=$path b=$there; fi
    if [ -e "$a" ] || [ -L "$a" ]; then
        if [ "$way" = back ] && cmp -s -- "$a" "$b"; then rm -f -- "$a" || exit 5; continue; fi
        if [ -e "$b" ] || [ -L "$b" ]; then echo "$b: something is there already" >&2; exit 4; fi
        mv -T -- "$a" "$b" || exit 5
    elif ! { [ -e "$b" ] || [ -L "$b" ]; }; then
        [ "$way" = back ] || { echo "$a: is gone" >&2; exit 6; }
    fi
    sync -f -- "${path%/*}/" "$folder" 2>/dev/null || sync
done
"""


def perform(
    connection: Connection,
    asset: AssetBase,  # noqa: ARG001 - all performers are called alike
    action: SetAside,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Move each path into quarantine.

    Raises:
        ReinstateError: a path cannot be moved; those before it are in quarantine.
    """
    folder = _move(connection, action, "away", job_prefix, token)
    progress(1, 1)
    count = len(action.paths)
    return Performed(f"{count} path{'s' if count != 1 else ''} moved into quarantine, {folder}.")


def undo(
    connection: Connection, action: SetAside, *, job_prefix: str, token: int, progress: Progress
) -> Performed:
    """Move everything back to where it was.

    Raises:
        ReinstateError: something else lies there by now.
    """
    _move(connection, action, "back", job_prefix, token)
    progress(1, 1)
    return Performed("Everything is back from quarantine.")


def quarantine(connection: Connection, job_prefix: str) -> str:
    """The folder on the host, the same for an action, its attempts and its undo."""
    action = job_prefix.rpartition("-")[0].replace("-undo-", "-")
    return f"{connection.host.state_dir.rstrip('/')}/quarantine/{action}"


def _move(connection: Connection, action: SetAside, way: str, job_prefix: str, token: int) -> str:
    folder = quarantine(connection, job_prefix)
    command = Command(
        ("sh", "-c", _SCRIPT, "reinstate-set-aside", way, folder, *action.paths),
        sudo=True,
        env=PLAIN,
        timeout=SECONDS,
    )
    result = connection.job(f"{job_prefix}-{way}", command, token)
    if not result.ok:
        raise ReinstateError(
            f"{printable(action.paths[0])} could not be moved {way}: {result.tail(2)}.",
            connection.name,
            "look at that path on the host; what was moved already is kept",
        )
    return folder
