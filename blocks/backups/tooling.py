"""Running a backup tool on the host: secrets through its environment, exact lists on stdin, retries that end.

Nothing secret is in an argument: the first lines of standard input are variables, which the script exports and the
tool inherits; only the same user (and root) can read them there (G9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from blocks.hosts.base import OUTPUT_LIMIT, Connection
from model.command import Command, Result, printable
from model.errors import BadInput, Damaged, PreconditionFailed, Transient
from model.manifest import Entry

Lists = Literal["", "one", "some"]
"""Whether the rest of stdin is a NUL-separated list of further arguments, all for one call or split over some."""

PART = "fetched"
"""Folder in the staging folder that a tool restores into."""
GROUP = 256 << 20
"""Bytes fetched in one call of a tool at most, so that progress is seen."""
FILES = 20_000
"""Files fetched in one call of a tool at most."""
SLOWEST = 1 << 20
"""Bytes per second below which a call is given up at last."""

# restic tries a missing or cut pack again for a quarter of an hour; its first wait of two seconds or more ends it.
_RUN = r"""
umask 077
while IFS= read -r line && [ -n "$line" ]; do export "$line"; done
folder=$1; lists=$2; shift 2
cd -- "$folder" || exit 73
command -v "$1" >/dev/null 2>&1 || exit 127
inner='printf "reinstate-pid %s\n" "$$" >&2; exec "$0" "$@"'
exec 3>&1
{
    case $lists in
        one) xargs -0 -x -n 100000 -s 1900000 sh -c "$inner" "$@" ;;
        some) xargs -0 -s 1900000 sh -c "$inner" "$@" ;;
        *) sh -c "$inner" "$@" ;;
    esac
    printf '\nreinstate-status %s\n' "$?" >&2
} 2>&1 >&3 3>&- | {
    pid= status=1
    while IFS= read -r line; do
        case $line in
            '') ;;
            'reinstate-pid '*) pid=${line#* } ;;
            'reinstate-status '*) status=${line#* } ;;
            *' retrying after '[2-9].[0-9]*s:* | *' retrying after '[1-9][0-9].[0-9]*s:* | *' retrying after '*m*s:*)
                printf '%s\n' "$line" >&2
                [ -z "$pid" ] || kill "$pid" 2>/dev/null
                pid= ;;
            *) printf '%s\n' "$line" >&2 ;;
        esac
    done
    exit "$status"
}
"""
_CLEAR = 'cd -- "$1" || exit 73; chmod -R u+rwx -- "$2" 2>/dev/null; rm -rf -- "$2"; umask 077; mkdir -- "$2"'
# Nothing but files and folders may be there: no link can lead the moves out of it. Files that share an inode part.
_LAND = r"""
cd -- "$1" || exit 73
chmod -R u+rwx -- "$2" || exit 73
odd=$(find "$2" ! -type f ! -type d -print | head -n 1)
[ -z "$odd" ] || { printf '%s\n' "$odd" >&2; exit 70; }
find "$2" -type f -links +1 -exec sh -c '
    for file; do cp -- "$file" .unlink && mv -f -- .unlink "$file" || exit 74; done' apart {} + || exit 74
xargs -0 -r -x -n 400 -s 1900000 sh -c '
    while [ $# -gt 1 ]; do
        if [ -f "$0/$1" ]; then mv -f -- "$0/$1" "$2" || exit 74; else printf "%s\0" "$2"; fi
        shift 2
    done' "$2" || exit 74
chmod -R u+rwx -- "$2"; rm -rf -- "$2"
"""


def run(
    connection: Connection,
    *argv: str,
    secrets: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    folder: str = "/",
    lists: Lists = "",
    rest: bytes = b"",
    timeout: float = 300.0,
    limit: int = OUTPUT_LIMIT,
    on_stdout: Callable[[bytes], None] | None = None,
) -> Result:
    """Run a tool as root (or the login) and return its result, whatever it is.

    Args:
        connection: the host.
        argv: the tool and its arguments.
        secrets: variables nobody else may see.
        env: other variables.
        folder: where it runs.
        lists: what `rest` is.
        rest: the tool's standard input, or further arguments.
        timeout: in seconds.
        limit: bytes of output kept.
        on_stdout: receives its output.

    Raises:
        Transient: the connection was lost, or the time is up.
        PreconditionFailed: the tool is not installed, or the folder is not there.
        BadInput: a secret with a line break.
    """
    values = dict(secrets or {})
    if any("\n" in value for value in values.values()):
        raise BadInput("a secret holds a line break.", connection.name, "correct the secret the plan names")
    head = "".join(f"{name}={value}\n" for name, value in values.items()) + "\n"
    result = connection.run(
        Command(
            ("sh", "-c", _RUN, "reinstate-tool", folder, lists, *argv),
            stdin=head.encode("utf-8", "surrogateescape") + rest, sudo=True, env={"LC_ALL": "C", **(env or {})},
            timeout=timeout,
        ),
        limit=limit, on_stdout=on_stdout,
    )  # fmt: skip
    if result.status is None:
        raise Transient(f"the connection was lost while {argv[0]} ran.", connection.name, "run it again")
    if result.status == 127:
        raise PreconditionFailed(
            f"{argv[0]} is not installed on the host.", connection.name, f"install {argv[0]} there"
        )
    if lists == "one" and b"xargs: " in result.stderr and b"too long" in result.stderr:
        raise PreconditionFailed(
            f"{len(rest)} bytes of names are more than {argv[0]} can be given at once.",
            connection.name,
            "leave out whole folders with `exclude`, not single files in them",
        )
    if result.status == 73:
        raise PreconditionFailed(
            f"{folder} cannot be entered: {result.tail(1)}.",
            connection.name,
            "look at that folder on the host",
        )
    return result


def asked(connection: Connection, script: str, *args: str, stdin: bytes, timeout: float = 600.0) -> bytes:
    """What a constant script prints.

    Raises:
        Transient: the connection was lost.
    """
    result = connection.run(
        Command(
            ("sh", "-c", script, "reinstate-ask", *args), stdin=stdin, sudo=True, env={"LC_ALL": "C"}, timeout=timeout
        ),
        limit=256 << 20,
    )  # fmt: skip
    if result.status is None:
        raise Transient("the connection was lost.", connection.name, "run it again")
    return result.stdout


def words(texts: Sequence[str]) -> bytes:
    """Arguments as `lists` takes them."""
    return b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in texts)


def groups(files: Mapping[str, Entry]) -> list[dict[str, Entry]]:
    """Files in portions that one call of a tool fetches."""
    found: list[dict[str, Entry]] = []
    held = 0
    for name, entry in files.items():
        if not found or held + entry.size > GROUP or len(found[-1]) == FILES:
            found.append({})
            held = 0
        found[-1][name] = entry
        held += entry.size
    return found


def clear(connection: Connection, folder: str) -> str:
    """Make an empty folder for a tool to restore into, in our staging folder, and return its path.

    Raises:
        PreconditionFailed: the host cannot write there.
    """
    made = _ask(connection, _CLEAR, folder)
    if not made.ok:
        raise _unwritable(connection, made)
    return f"{folder}/{PART}"


def land(connection: Connection, folder: str, files: Mapping[str, str], where: str) -> list[str]:
    """Move what a tool restored below `PART` to the names it is wanted under.

    Args:
        connection: the host.
        folder: our staging folder.
        files: name there → path below `PART`.
        where: repository and snapshot, for messages.

    Returns:
        Names that are not there.

    Raises:
        Damaged: the tool restored something that is neither file nor folder.
        PreconditionFailed: the host cannot write there.
    """
    pairs = [text for name, path in files.items() for text in (path.lstrip("/"), name)]
    moved = _ask(connection, _LAND, folder, words(pairs))
    if moved.status == 70:
        raise Damaged(
            f"the snapshot holds something that is neither file nor folder at {moved.tail(1)}.",
            where,
            "use another recovery point; keep this one for the investigation",
        )
    if not moved.ok:
        raise _unwritable(connection, moved)
    return [name.decode("utf-8", "surrogateescape") for name in moved.stdout.split(b"\0") if name]


def lost(names: Sequence[str], files: Mapping[str, Entry], said: str, where: str) -> Damaged:
    """The error for files a tool did not bring."""
    more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
    return Damaged(
        f"{printable(files[names[0]].path)}{more} cannot be read from the snapshot{f': {said}' if said else ''}.",
        where,
        "use another recovery point; keep this one for the investigation",
    )


def seconds(size: int) -> float:
    """How long a transfer may take."""
    return 900.0 + size / SLOWEST


def _ask(connection: Connection, script: str, folder: str, stdin: bytes = b"") -> Result:
    result = connection.run(
        Command(
            ("sh", "-c", script, "reinstate-land", folder, PART), stdin=stdin, sudo=True, env={"LC_ALL": "C"},
            timeout=3600.0,
        )
    )  # fmt: skip
    if result.status is None:
        raise Transient("the connection was lost.", connection.name, "run it again")
    return result


def _unwritable(connection: Connection, result: Result) -> PreconditionFailed:
    return PreconditionFailed(
        f"the staging folder cannot be written: {result.tail(2)}.",
        connection.name,
        "free space in the state directory; nothing live was touched",
    )
