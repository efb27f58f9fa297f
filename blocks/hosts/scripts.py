"""The constant shell scripts that run on hosts, and what the ways they fail mean to a person."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from model.command import Arg, Command, Masked, Result
from model.errors import PreconditionFailed, Transient

_NO_ROOM = (b"No space left on device", b"Disk quota exceeded")

READ = """
[ -e "$1" ] || exit 44
[ -f "$1" ] || exit 45
exec head -c "$2" -- "$1"
"""
"""Arguments: path, most bytes."""

WRITE = """
umask 077
folder=${1%/*} new=$1.new.$$
mkdir -p -- "$folder" || exit 73
trap 'rm -f -- "$new"' EXIT
cat >"$new" && chmod -- "$3" "$new" || exit 73
[ "$(wc -c <"$new")" -eq "$2" ] || exit 74
sync -- "$new" 2>/dev/null || sync
mv -f -- "$new" "$1" || exit 73
sync -- "$folder" 2>/dev/null || sync
"""
"""Arguments: path, bytes, mode. An upload cut short is not renamed into place."""

IDENTITY = """
machine= role=
{ read -r machine <"$1"; } || [ -n "$machine" ] || exit 44
if [ -e "$2" ]; then { read -r role <"$2"; } || [ -n "$role" ] || exit 45; fi
printf '%s\\n%s\\n' "$machine" "$role"
"""
"""Arguments: machine-id file, role file. Only what is built into sh: the host may have lost its tools."""


@cache
def load(*names: str) -> str:
    """The scripts beside this module, joined, without comments."""
    text = "".join(files("blocks.hosts").joinpath(name).read_text(encoding="utf-8") for name in names)
    return "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("#"))


def script(text: str, *args: Arg, stdin: bytes | None = None, timeout: float = 60.0) -> Command:
    """A command that runs a constant script as the owner of the state directory; its messages are not translated."""
    return Command(
        ("sh", "-c", Masked(text), "reinstate", *args),
        stdin=stdin,
        sudo=True,
        env={"LC_ALL": "C"},
        timeout=timeout,
    )


def explain(result: Result, what: str, where: str, path: str) -> Result:
    """Return the result of one of our own scripts when it succeeded.

    Args:
        result: how the script ended.
        what: what it was to do, as in `could not …`.
        where: the host.
        path: what it worked on.

    Raises:
        Transient: the connection was lost.
        PreconditionFailed: the host's disk is full, or it refused in another way.
    """
    if result.ok:
        return result
    if result.status is None:
        raise Transient(
            f"the connection was lost; it is not known whether the host could {what}.",
            where,
            "The step is tried again.",
        )
    if any(sign in result.stderr for sign in _NO_ROOM):
        raise PreconditionFailed(
            f"could not {what}: the file system of {path} is full.",
            where,
            f"Free space or inodes for {path} on the host (`df {path}`, `df -i {path}`), then run this again.",
        )
    raise PreconditionFailed(
        f"could not {what}: {result.tail() or f'exit status {result.status}'}.",
        where,
        f"See that {path} is writable for the login (or root, with `sudo: true`) and that the host's sh and coreutils "
        "work, then run this again.",
    )
