"""Putting staged files into place by one job: content, links, folders, metadata, absence; each path in one rename."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from blocks.hosts.base import Connection
from model.command import Command, Result
from model.errors import ReinstateError
from model.manifest import Entry
from tasks.attributes import SHELL, lines
from tasks.staging import PLAIN

PLACE_SECONDS = 3600.0
MANY, AT_ONCE = 8, 2000
"""Files from which on they are renamed together, and how many at a time."""

# Five lines for each step: what, path, and three values whose meaning depends on it. Backslash and newline are octal
# escapes. Where the staging lies on another mount, `put` brings a file next to its place first, so that the live path
# changes in one step there, too. What stands in the way and cannot be removed without loss is set aside. Programs are
# started only where the shell has no word of its own: thousands of files are put back one by one.
_SCRIPT = (
    SHELL
    + r"""
set -u
aside=$1 count=0 fast= seen= here= there= near=
fail() { printf '%s: %s\n' "$1" "$path" >&2; exit 3; }
plain() {
    case $1 in *\\*) REPLY=$(printf '%bx' "$1"); REPLY=${REPLY%x} ;; *) REPLY=$1 ;; esac
}
folder() { [ -d "$1" ] && [ ! -L "$1" ]; }
clear_folder() {
    if ! folder "$1" || rmdir -- "$1" 2>/dev/null; then return 0; fi
    count=$((count + 1))
    mkdir -p -- "$aside" && mv -T -- "$1" "$aside/$count" && printf 'aside %s %s\n' "$aside/$count" "$1"
}
clear_part() {
    if [ -e "$part" ] || [ -L "$part" ]; then rm -rf -- "$part"; fi
}
# one_mount: whether the staged file and its place lie on one mount (a bind mount counts as another).
one_mount() {
    if [ "$here" != "${path%/*}" ] || [ "$there" != "${a%/*}" ]; then
        here=${path%/*} there=${a%/*} near=
        mounts=$(stat -c %m -- "${here:-/}" "$there") || return 1
        [ "${mounts%%
*}" != "${mounts##*
}" ] || near=yes
    fi
    [ -n "$near" ]
}
# Many files change their places within milliseconds; what cannot be renamed like this stays, and is dealt with singly.
renamed() {
    printf '%s' "$1" | python3 -I -S -c '
import os, stat, sys
for record in sys.stdin.read().split(";"):
    if record:
        path, staged = map(bytes.fromhex, record.split(" "))
        try:
            folder = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            folder = False
        try:
            if not folder:
                os.rename(staged, path)
        except OSError:
            pass
' 2>/dev/null
}
# Each file system once, whichever of the folders, a line each, lie on it.
flush() {
    devices=$(IFS='
'; set -f; stat -c '%d %n' -- $1)
    while read -r device near; do
        [ -n "$device" ] || continue
        case " $seen " in *" $device "*) continue ;; esac
        seen="$seen $device"; sync -f -- "$near" 2>/dev/null || sync
    done <<END
$devices
END
}
settle() { clear_folder "$path" && mv -fT -- "$part" "$path"; }
dress() {
    chown -h -- "$2" "$1" || return 1
    if [ ! -L "$1" ]; then chmod -- "$3" "$1" || return 1; fi
    [ -z "$4" ] || touch -h -d "@$4" -- "$1"
}
# Whichever of the two is there; the kernel drops capabilities whenever an owner is set.
capabilities() {
    python3 -I -S -c 'import os, sys
os.setxattr(os.fsencode(sys.argv[1]), b"security.capability", bytes.fromhex(sys.argv[2]), follow_symlinks=False)
' "$1" "$2" 2>/dev/null || setfattr -h -n security.capability -v "0x$2" -- "$1"
}
while IFS= read -r step && IFS= read -r path && IFS= read -r a && IFS= read -r b && IFS= read -r c; do
    plain "$path"; path=$REPLY
    plain "$a"; a=$REPLY
    part=${path%/*}/.reinstate-part
    case $step in
        puts) renamed "$a" && fast=1 || fast= ;;
        put) if [ -n "$fast" ] && [ ! -e "$a" ]; then continue; fi
            if one_mount; then clear_folder "$path" && mv -fT -- "$a" "$path"
            else clear_part && mv -fT -- "$a" "$part" && settle; fi || fail 'cannot be put into place' ;;
        symlink) clear_part && ln -s -- "$a" "$part" && dress "$part" "$b" 0 "$c" && settle ||
            fail 'cannot be linked' ;;
        hardlink) clear_part && ln -- "$a" "$part" && settle || fail 'cannot be linked' ;;
        folder) if ! folder "$path"; then rm -f -- "$path" && mkdir -p -- "$path" || fail 'cannot be made'; fi ;;
        gone) if folder "$path"; then clear_folder "$path" || fail 'cannot be set aside'
            else rm -f -- "$path" || fail 'cannot be removed'; fi ;;
        prune) rmdir -- "$path" 2>/dev/null || : ;;
        meta) dress "$path" "$a" "$b" "$c" || fail 'cannot be given its mode, owner and time' ;;
        own) if [ -L "$path" ]; then fail 'became a symbolic link'; fi
            dress "$path" "$a" "$b" "$c" || fail 'cannot be given its mode and owner' ;;
        cap) capabilities "$path" "$a" || fail 'cannot be given its capabilities (python3 or setfattr is needed)' ;;
        attrs) plain "$b"; attributes "$a" "$REPLY" ||
            fail 'cannot be given its extended attributes (python3 or setfattr is needed)' ;;
        time) touch -d "@$c" -- "$path" || fail 'cannot be given its time' ;;
        flush) sync ;;
        flushes) flush "$a" ;;
        *) fail "unknown step $step" ;;
    esac
done
"""
)


@dataclass(frozen=True)
class Step:
    """One step of the job; made by the functions below."""

    kind: Literal[
        "puts",
        "put",
        "flushes",
        "symlink",
        "hardlink",
        "folder",
        "gone",
        "prune",
        "meta",
        "own",
        "cap",
        "attrs",
        "time",
        "flush",
    ]
    path: str
    a: str = ""
    b: str = ""
    c: str = ""

    def lines(self) -> bytes:
        """The five lines the script reads."""
        return b"".join(
            field.encode("utf-8", "surrogateescape").replace(b"\\", rb"\0134").replace(b"\n", rb"\0012")
            + b"\n"
            for field in (self.kind, self.path, self.a, self.b, self.c)
        )


def put(path: str, staged: str) -> Step:
    """A staged file, which carries its own metadata, replaces `path`."""
    return Step("put", path, staged)


def symlink(entry: Entry) -> Step:
    """A symbolic link with owner and time."""
    return Step("symlink", entry.path, entry.link, owner(entry), moment(entry.mtime_ns))


def meta(entry: Entry) -> Step:
    """Mode, owner and time of what is at the path."""
    return Step("meta", entry.path, owner(entry), f"{entry.mode:05o}", moment(entry.mtime_ns))


def attributes(entries: Sequence[tuple[str, Entry]]) -> list[Step]:
    """Extended attributes of what is at the paths, as far as the entries know them; after mode and owner."""
    known = [(path, entry) for path, entry in entries if entry.attributes is not None]
    return [
        Step("attrs", known[0][0] if len(known) == 1 else f"{len(known)} paths", words, dump)
        for words, dump in lines(known)
    ]


def owner(entry: Entry) -> str:
    """`uid:gid` as chown takes it."""
    return f"{entry.uid}:{entry.gid}"


def moment(mtime_ns: int) -> str:
    """Seconds with nine decimals as `touch -d @` takes them."""
    seconds, fraction = divmod(abs(mtime_ns), 1_000_000_000)
    return f"{'-' if mtime_ns < 0 else ''}{seconds}.{fraction:09d}"


def flushes(paths: Iterable[str]) -> list[Step]:
    """Make the file systems that hold these paths durable."""
    return [Step("flush", path) for path in dict.fromkeys(path.rpartition("/")[0] or "/" for path in paths)]


def place(connection: Connection, name: str, steps: Sequence[Step], token: int, *, aside: str) -> Result:
    """Run the steps as one named job.

    Args:
        connection: the host.
        name: the job's name.
        steps: in order.
        token: our fencing token.
        aside: folder on the host for what stood in the way.

    Raises:
        ReinstateError: a step failed; those before it are done, and the same steps may be run again by a new job.
    """
    steps = list(_together(steps))
    command = Command(
        ("sh", "-c", _SCRIPT, "reinstate-place", aside),
        stdin=b"".join(step.lines() for step in steps), sudo=True, env=PLAIN, timeout=PLACE_SECONDS,
    )  # fmt: skip
    result = connection.job(name, command, token)
    if not result.ok:
        raise ReinstateError(
            f"files could not be put into place: {result.tail(3)}.",
            connection.name,
            "look at that path on the host (immutable flag, read-only mount, full disk), then run it again",
        )
    return result


def _together(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps, with one before each row of many `put` that does them all at once where that is possible.

    A row of `flush` becomes one step, too; a path with a newline stays alone, and costs flushing everything.
    """
    for kind, row in itertools.groupby(steps, lambda step: step.kind):
        some = list(row)
        if kind == "flush":
            plain = [step.path for step in some if "\n" not in step.path]
            for start in range(0, len(plain), AT_ONCE):
                folders = plain[start : start + AT_ONCE]
                yield Step("flushes", f"{len(folders)} folders", "\n".join(folders))
            some = [step for step in some if "\n" in step.path]
        for start in range(0, len(some) if kind == "put" and len(some) >= MANY else 0, AT_ONCE):
            part = some[start : start + AT_ONCE]
            words = "".join(f"{_hex(step.path)} {_hex(step.a)};" for step in part)
            yield Step("puts", f"{len(part)} files", words)
        yield from some


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").hex()
