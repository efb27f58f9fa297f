"""Hashing a tar that a tool streams, on the host: the bytes stay there, names and hashes come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blocks.backups import tooling
from blocks.hosts.base import Connection

_PYTHON = r"""
import hashlib, os, sys, tarfile
out = sys.stdout.buffer
known = {}
try:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            if member.isreg():
                told, count = hashlib.sha256(), 0
                file = tar.extractfile(member)
                while chunk := file.read(1 << 20):
                    told.update(chunk)
                    count += len(chunk)
                known[member.name] = (told.hexdigest(), count)
            elif not member.islnk() or member.linkname not in known:
                continue
            else:
                known[member.name] = known[member.linkname]
            digest, count = known[member.name]
            out.write(b"%s %d %s\0" % (digest.encode(), count, os.fsencode(member.name)))
except (tarfile.TarError, EOFError, OSError) as error:
    print(error, file=sys.stderr)
"""
_HASH = r"""
hasher=$1; shift
# The tool's own process is the one that is ended when it does not stop trying again.
told='printf "reinstate-pid %s\n" "$$" >&2; exec "$@"'
if command -v python3 >/dev/null 2>&1; then
    sh -c "$told" reinstate-told "$@" | python3 -E -s -c "$hasher"
else
    sh -c "$told" reinstate-told "$@" | tar --extract --file=- --to-command='
        printf "%s %s %s\0" "$(sha256sum | cut -c 1-64)" "$TAR_SIZE" "$TAR_FILENAME"'
fi
"""


@dataclass
class Hashed:
    """What was hashed.

    Attributes:
        files: name in the tar, without a leading slash → SHA-256 and size.
        said: the tool's last words.
    """

    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    said: str = ""


def hash_tar(
    connection: Connection, argv: tuple[str, ...], secrets: Mapping[str, str], timeout: float
) -> Hashed:
    """Run a tool that writes a tar and hash each file in it; what it did not write is missing in the answer.

    Args:
        connection: the host.
        argv: the tool and its arguments.
        secrets: variables nobody else may see.
        timeout: in seconds.
    """
    hashed, rest = Hashed(), bytearray()

    def take(chunk: bytes) -> None:
        nonlocal rest
        rest += chunk
        *whole, last = rest.split(b"\0")
        rest = bytearray(last)
        for record in whole:
            digest, size, name = record.split(b" ", 2)
            path = name.decode("utf-8", "surrogateescape").removeprefix("./").lstrip("/")
            hashed.files[path] = (digest.decode("ascii"), int(size))

    result = tooling.run(
        connection, "sh", "-c", _HASH, "reinstate-hash", _PYTHON, *argv,
        secrets=secrets, timeout=timeout, on_stdout=take,
    )  # fmt: skip
    hashed.said = " ".join(result.tail(2).split())[:600]
    return hashed
