"""Setting aside what belongs to nobody: moved into a quarantine on the host, with its path, and kept there."""

from __future__ import annotations

from blocks.hosts.base import Connection
from model.assets import AssetBase
from model.command import Command, printable
from model.errors import ReinstateError
from model.proposal import SetAside
from tasks.filestate import nul_list
from tasks.performed import Performed
from tasks.staging import PLAIN, Progress, ask

ASIDE_SECONDS = 1800.0
_STAT = 'exec xargs -0 -r -n 1 sh -c \'if [ -e "$0" ] || [ -L "$0" ]; then printf "%s\\0" "$0"; fi\''

# One path: its place in the quarantine keeps the whole path, so that a person sees where it came from. What is gone
# already was moved by an attempt before this one, or by somebody else: either way it is out of the way.
_MOVE = r"""
to=$1$2
if [ ! -e "$2" ] && [ ! -L "$2" ]; then exit 0; fi
mkdir -p -- "${to%/*}" && mv -T -- "$2" "$to" && exit 0
printf '%s cannot be set aside\n' "$2" >&2; exit 3
"""
_ALL = 'umask 077; mkdir -p -- "$1" && exec xargs -0 -r -n 1 sh -c "$2" reinstate-set-aside "$1"'


def perform(
    connection: Connection,
    asset: AssetBase,  # noqa: ARG001 - all performers are called alike
    action: SetAside,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Move every path of the action into `STATE_DIR/set-aside/JOB/PATH`.

    Raises:
        Transient: the connection was lost; calling again goes on.
        ReinstateError: something could not be moved, or is there again.
    """
    place = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
    command = Command(
        ("sh", "-c", _ALL, "reinstate-set-aside", place, _MOVE),
        stdin=nul_list(action.files), sudo=True, env=PLAIN, timeout=ASIDE_SECONDS,
    )  # fmt: skip
    result = connection.job(f"{job_prefix}-aside", command, token)
    if not result.ok:
        raise ReinstateError(
            f"what belongs to nobody could not be set aside: {result.tail(3)}.", connection.name,
            "look at that path on the host (immutable flag, read-only mount, full disk), then run it again",
        )  # fmt: skip
    there = ask(connection, "sh", "-c", _STAT, stdin=nul_list(action.files)).stdout.split(b"\0")
    if left := [path for path in there if path]:
        first = printable(left[0].decode("utf-8", "replace"))
        raise ReinstateError(
            f"{first} is there again after it was set aside.", connection.name,
            "find out which program makes it, stop that, then run it again",
        )  # fmt: skip
    progress(1, 1)
    count = len(action.files)
    return Performed(f"{count} path{'s' if count != 1 else ''} set aside below {place}; nothing was deleted.")
