"""Extended attributes, access control lists and capabilities set on the host: by its Python, else by setfattr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from blocks.hosts.base import Connection
from model.errors import PreconditionFailed
from model.manifest import Entry
from tasks.staging import Staging, ask

CAPABILITY = "security.capability"
_AT_ONCE = 200
"""Paths in one line of the script."""

# Standard input of the program: `PATH NAME:VALUE …;` again and again, all in hex. It sets these attributes and takes
# away all others that a manifest would name. setfattr gets the same as a dump of getfattr; it takes nothing away.
SHELL = r"""
attributes() {
    printf '%s' "$1" | python3 -I -S -c '
import os, sys
def ours(name):
    known = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
    return name.startswith("user.") or name in known
for record in sys.stdin.read().split(";"):
    if record:
        path, *words = record.split(" ")
        path = bytes.fromhex(path)
        wanted = {os.fsdecode(bytes.fromhex(n)): bytes.fromhex(v) for n, v in (word.split(":") for word in words)}
        try:
            there = [name for name in os.listxattr(path, follow_symlinks=False) if ours(name)]
        except OSError:
            there = []
        for name in there:
            if name not in wanted:
                os.removexattr(path, name, follow_symlinks=False)
        for name, value in wanted.items():
            if name not in there or os.getxattr(path, name, follow_symlinks=False) != value:
                os.setxattr(path, name, value, follow_symlinks=False)
' && return 0
    case $2 in *=0x*) printf '%s' "$2" | setfattr -h --restore=- ;; esac
}
"""
_STAGED = (
    SHELL
    + r"""
while IFS= read -r words && IFS= read -r dump; do
    attributes "$words" "$(printf '%b' "$dump")" || exit 1
done
"""
)
# Standard input: a line `NAME UID GID MODE MTIME [NAME:VALUE …]` for each file of the folder; attributes are in hex.
# The order counts: a change of owner takes set-uid bits and capabilities away.
_AT_ONCE_DRESSED = """
import os, sys
os.chdir(sys.argv[1])
for line in sys.stdin:
    name, uid, gid, mode, time, *words = line.split()
    os.chown(name, int(uid), int(gid))
    os.chmod(name, int(mode, 8))
    for word in words:
        attribute, value = map(bytes.fromhex, word.split(":"))
        os.setxattr(name, attribute, value)
    os.utime(name, ns=(int(time), int(time)))
"""
_REMEDY = (
    "install python3-minimal (or `attr`) on the host, or mount the file system with extended attributes and access "
    "control lists"
)


def worn(entry: Entry) -> dict[str, str]:
    """Attributes an entry says a path has, capabilities among them; values in hex."""
    named = {one.name: one.value for one in entry.attributes or ()}
    return {**named, CAPABILITY: entry.capabilities} if entry.capabilities else named


def lines(entries: Sequence[tuple[str, Entry]]) -> Iterator[tuple[str, str]]:
    """For some paths at a time: what the program reads, and what setfattr reads (newlines as they are)."""
    for start in range(0, len(entries), _AT_ONCE):
        part = entries[start : start + _AT_ONCE]
        yield "".join(map(_record, part)), "".join(map(_dump, part))


def _record(pair: tuple[str, Entry]) -> str:
    path, entry = pair
    words = [f"{_hex(name)}:{value}" for name, value in sorted(worn(entry).items())]
    return " ".join([_hex(path), *words]) + ";"


def _dump(pair: tuple[str, Entry]) -> str:
    path, entry = pair
    named = "".join(f"{_escaped(name)}=0x{value}\n" for name, value in sorted(worn(entry).items()))
    return f"# file: {_escaped(path)}\n{named}\n" if named else ""


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").hex()


def _escaped(text: str) -> str:
    """A name as getfattr writes it: what is not plain is octal."""
    plain = b"/._-+,@%^~"
    return "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or byte in plain) else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def dressed_at_once(stage: Staging, files: Iterable[tuple[str, Entry]]) -> bool:
    """Give staged files mode, owner, time and attributes by one program; thousands take a fraction of a second.

    Args:
        stage: our folder on the host.
        files: name in the folder, and what it shall be.

    Returns:
        Whether all are; otherwise it has to be done, or explained, by the host's own tools.
    """
    text = "".join(
        " ".join(
            (
                name,
                f"{entry.uid} {entry.gid} {entry.mode:o} {entry.mtime_ns}",
                *(f"{_hex(key)}:{value}" for key, value in sorted(worn(entry).items())),
            )
        )
        + "\n"
        for name, entry in files
    )
    words = ("python3", "-I", "-S", "-c", _AT_ONCE_DRESSED, stage.path)
    return ask(stage.connection, *words, stdin=text.encode(), timeout=3600.0).ok


def dress_staged(connection: Connection, files: Iterable[tuple[str, Entry]]) -> None:
    """Give staged files the attributes of their entries; those without any need nothing.

    Raises:
        PreconditionFailed: the host cannot set them; nothing live was touched.
    """
    wanted = [(path, entry) for path, entry in files if worn(entry)]
    if not wanted:
        return
    text = "".join(
        words + "\n" + dump.replace("\\", "\\0134").replace("\n", "\\0012") + "\n"
        for words, dump in lines(wanted)
    )
    done = ask(connection, "sh", "-c", _STAGED, "reinstate-attributes", stdin=text.encode(), timeout=3600.0)
    if not done.ok:
        raise PreconditionFailed(
            f"extended attributes of {len(wanted)} staged files cannot be set: {done.tail(2) or 'no tool for it'}.",
            connection.name,
            _REMEDY + "; nothing live was touched",
        )
