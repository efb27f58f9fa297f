"""Facts about paths with sh, find, xargs and md5sum/sha256sum: for hosts whose Python is missing or damaged.

`openssl` is used for hashing where it works, because the coreutils of Debian 12 hash three times slower. Every tool is
tried on a known answer first: on a damaged host a tool that lies is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from blocks.hosts.base import Connection
from checks.fact import Digests, Fact, require
from model.command import Command, printable
from model.errors import PreconditionFailed, Transient
from model.manifest import FileType

MAX_BATCH = 2000
"""Paths per batch at most: starting a tool costs as much as hashing a hundred small files."""

# One batch of paths, as arguments after the digests wanted and whether openssl works. Records end in NUL:
# `S<type>\t<mode>\t<uid>\t<gid>\t<size>\t<mtime>\t<path>` and the link's target; `M<count of absent paths>`;
# `E<reason>` and the path; a hash as `<hex> [ *]<path>`. A tool that dies makes xargs stop (255).
_BATCH = r"""
want=$1 fast=$2; shift 2
if [ -n "$d" ]; then exec >"$d/$$" || exit 255; fi
{ errs=$(find "$@" -maxdepth 0 -printf 'S%y\t%m\t%U\t%G\t%s\t%T@\t%p\0%l\0' 2>&1 >&3); rc=$?; } 3>&1
[ "$rc" -le 1 ] || exit 255
if [ -n "$errs" ]; then
    gone=': (No such file or directory|Not a directory)$'
    if printf '%s\n' "$errs" | grep -Eqv "$gone"; then
        n=0
        for p; do
            why=$(find "$p" -maxdepth 0 2>&1 >/dev/null) && continue
            case $why in
                *': No such file or directory'|*': Not a directory') n=$((n + 1)) ;;
                *) printf 'E%s\0%s\0' "${why##*: }" "$p" ;;
            esac
        done
    else
        n=$(printf '%s\n' "$errs" | grep -c .)
    fi
    printf 'M%s\0' "$n"
elif [ "$rc" -ne 0 ]; then exit 255
fi
odd='*[\\
]*'
for a in $want; do
    case $fast in
        *"$a"*)
            find "$@" -maxdepth 0 -type f ! -path "$odd" -print0 2>/dev/null |
                xargs -0 -r -s 1000000 openssl dgst -r "-$a" 2>/dev/null | tr '\n' '\0'
            find "$@" -maxdepth 0 -type f -path "$odd" -print0 2>/dev/null | xargs -0 -r "${a}sum" -z -- 2>/dev/null ;;
        *)  find "$@" -maxdepth 0 -type f -print0 2>/dev/null | xargs -0 -r "${a}sum" -z -- 2>/dev/null ;;
    esac
done
exit 0
"""

_SCRIPT = r"""
LC_ALL=C OPENSSL_CONF=/dev/null; export LC_ALL OPENSSL_CONF
want=$1 batch=$2 jobs=$3 size=$4 fast=
for a in $want; do
    case $a in
        md5) good=900150983cd24fb0d6963f7d28e17f72 ;;
        sha256) good=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad ;;
    esac
    case $(printf abc | openssl dgst -r "-$a" 2>/dev/null) in
        "$good"*) fast="$fast $a" ;;
        *) case $(printf abc | "${a}sum" 2>/dev/null) in "$good"*) ;; *) exit 90 ;; esac ;;
    esac
done
d=
if [ "$jobs" -gt 1 ]; then d=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d 2>/dev/null) || d=; fi
export d
[ -n "$d" ] || jobs=1
trap '[ -z "$d" ] || rm -rf -- "$d"' EXIT
trap 'exit 91' HUP INT TERM
xargs -0 -r -s 1000000 -n "$size" -P "$jobs" sh -c "$batch" sh "$want" "$fast" || exit 92
if [ -n "$d" ]; then find "$d" -type f -exec cat {} + || exit 92; fi
printf 'D\0'
"""

_AROUND = r"""
LC_ALL=C; export LC_ALL
exec xargs -0 -r sh -c 'find "$@" -mindepth 1 -maxdepth 1 -print0 || exit 255' sh
"""

_TYPES = {b"f": FileType.FILE, b"d": FileType.DIRECTORY, b"l": FileType.LINK}
_HASH = re.compile(rb"([0-9a-f]{64}|[0-9a-f]{32}) [ *]")
_WANT = {"none": "", "md5": "md5", "sha256": "sha256", "both": "md5 sha256"}


def collect(
    connection: Connection, paths: Sequence[str], digests: Digests, jobs: int, timeout: float
) -> dict[str, Fact]:
    """See `checks.stat.collect`; capabilities stay unknown."""
    chunks: list[bytes] = []
    size = max(16, min(MAX_BATCH, len(paths) // (jobs * 8)))
    command = Command(
        ("sh", "-c", _SCRIPT, "reinstate-stat", _WANT[digests], _BATCH, str(jobs), str(size)),
        stdin=b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths),
        sudo=True,
        timeout=timeout,
    )
    result = connection.run(command, on_stdout=chunks.append)
    output = b"".join(chunks)
    require(result, connection.name, "looking at files (sh, find, xargs, md5sum, sha256sum)")
    if not output.endswith(b"D\0"):
        raise Transient("the answer about files was cut off.", connection.name, "run it again")
    return _parse(output, paths, hashed=digests != "none", where=connection.name)


def around(
    connection: Connection, folders: Collection[str], aliases: Mapping[str, str], facts: Mapping[str, Fact]
) -> list[str]:
    """What lies in folders and is none of the paths, under whichever of its names; see `checks.stat.Around`."""
    chunks: list[bytes] = []
    there = [path for path in sorted(folders) if facts[path].type is FileType.DIRECTORY]
    stdin = "".join(f"{path}\0" for path in there).encode("utf-8", "surrogateescape")
    command = Command(("sh", "-c", _AROUND, "reinstate-around"), stdin=stdin, sudo=True, timeout=600.0)
    require(
        connection.run(command, on_stdout=chunks.append), connection.name, "listing folders (xargs, find)"
    )
    known = set(facts)
    for link, target in aliases.items():
        known |= {target + path[len(link) :] for path in known if path.startswith(f"{link}/")}
    names = b"".join(chunks).decode("utf-8", "surrogateescape").split("\0")
    return sorted(name for name in names if name and name not in known)


def _parse(output: bytes, wanted: Sequence[str], *, hashed: bool, where: str) -> dict[str, Fact]:
    stats: dict[bytes, tuple[list[bytes], bytes]] = {}
    hashes: dict[tuple[bytes, int], str] = {}
    errors: dict[bytes, str] = {}
    absent = 0
    records = iter(output.split(b"\0"))
    for record in records:
        kind = record[:1]
        if kind == b"S":
            fields = record[1:].split(b"\t", 6)
            stats[fields[6]] = (fields, next(records))
        elif kind == b"M":
            absent += int(record[1:])
        elif kind == b"E":
            errors[next(records)] = printable(record[1:].decode("utf-8", "replace"))
        elif match := _HASH.match(record):
            hashes[record[match.end() :], len(match[1])] = match[1].decode()
    if len(stats) + len(errors) + absent != len(wanted):
        raise PreconditionFailed(
            f"`find` answered for {len(stats) + len(errors) + absent} of {len(wanted)} paths.",
            where,
            "find or sh is damaged on the host: restore it by hand, then examine again",
        )
    facts = {}
    for path in wanted:
        raw = path.encode("utf-8", "surrogateescape")
        if raw in stats:
            facts[path] = _fact(
                path, *stats[raw], hashes.get((raw, 32), ""), hashes.get((raw, 64), ""), hashed
            )
        else:
            kind_ = FileType.OTHER if raw in errors else FileType.ABSENT
            facts[path] = Fact(path, kind_, error=errors.get(raw, ""))
    return facts


def _fact(path: str, fields: list[bytes], link: bytes, md5: str, sha256: str, hashed: bool) -> Fact:
    kind = _TYPES.get(fields[0], FileType.OTHER)
    seconds, _, fraction = fields[5].partition(b".")
    mtime = int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    unread = hashed and kind is FileType.FILE and not (md5 or sha256)
    return Fact(
        path, kind, int(fields[1], 8), int(fields[2]), int(fields[3]), int(fields[4]), mtime,
        link.decode("utf-8", "surrogateescape"), md5, sha256, None, "it cannot be read" if unread else "",
    )  # fmt: skip
