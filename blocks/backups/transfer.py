"""Bytes onto a host: its curl with presigned URLs, which are in no argument, or a tar through the connection."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator

from blocks.hosts.base import Connection
from model.command import Command, Result
from model.errors import PreconditionFailed, Transient

# The configuration with the URL comes on stdin: argv is visible to every user of the host (G9). A line each second
# says how far a single large file is, and ends curl once nobody listens.
_CURL = r"""
umask 077
cd -- "$1" || exit 73
many='-Z --parallel-max 8'
curl -q $many -V >/dev/null 2>&1 || { many=; curl -q -V >/dev/null 2>&1; } || exit 127
exec 3<&0
curl -q $many -sS --config - <&3 &
pull=$!
(
    trap '' PIPE
    while sleep 1 </dev/null >/dev/null 2>&1; do
        at=0
        [ -z "$2" ] || [ ! -f "$2" ] || at=$(wc -c <"$2")
        printf 'at %s\n' "$at" || kill "$pull"
    done
) &
beat=$!
wait "$pull"
status=$?
kill "$beat" 2>/dev/null
exit "$status"
"""
_UNPACK = r"""
umask 077
cd -- "$1" || exit 73
exec tar --extract --file=- --no-same-owner --no-same-permissions
"""


def curl(
    connection: Connection,
    folder: str,
    sections: Iterable[str],
    timeout: float,
    large: str = "",
    on_stdout: Callable[[bytes], None] | None = None,
) -> Result:
    """Run the host's curl in a folder; what did not arrive is for the caller to find out.

    Args:
        connection: the host.
        folder: where it runs.
        sections: of curl's configuration, one per URL.
        timeout: in seconds.
        large: name of the one file whose growth is told as `at BYTES` each second.
        on_stdout: receives what curl writes out.

    Raises:
        Transient: the connection was lost.
    """
    return _ask(
        connection, Command(
            ("sh", "-c", _CURL, "reinstate-pull", folder, large),
            stdin="next\n".join(sections).encode("utf-8", "surrogateescape"), sudo=True, env={"LC_ALL": "C"},
            timeout=timeout,
        ), limit=1 << 16, on_stdout=on_stdout,
    )  # fmt: skip


def quoted(text: str) -> str:
    """Text as it stands between quotes in curl's configuration."""
    for char, escape in (
        ("\\", "\\\\"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("\v", "\\v"),
    ):
        text = text.replace(char, escape)
    return text


def unpack(connection: Connection, folder: str, stream: Iterator[bytes], timeout: float) -> None:
    """Unpack a tar of ours in a folder.

    Args:
        connection: the host.
        folder: where to.
        stream: the tar; an error it raises is raised here.
        timeout: in seconds.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the folder cannot be written.
    """
    trouble: list[BaseException] = []

    def passing() -> Iterator[bytes]:
        try:
            yield from stream
        except BaseException as error:
            trouble.append(error)
            raise

    command = Command(
        ("sh", "-c", _UNPACK, "reinstate-unpack", folder), sudo=True, env={"LC_ALL": "C"}, timeout=timeout
    )
    try:
        result = _ask(connection, command, source=passing())
    finally:
        if trouble and not isinstance(trouble[0], GeneratorExit):
            raise trouble[0]
    if not result.ok:
        raise PreconditionFailed(
            f"the staging folder cannot be written: {result.tail(2)}.",
            connection.name,
            "free space in the state directory, or repair `tar`; nothing live was touched",
        )


def packed(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """A tar of files under names of ours.

    Args:
        members: name, size and content of each.
    """
    for name, size, chunks in members:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        yield member.tobuf(tarfile.GNU_FORMAT)
        yield from chunks
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _ask(
    connection: Connection,
    command: Command,
    limit: int = 1 << 20,
    on_stdout: Callable[[bytes], None] | None = None,
    source: Iterable[bytes] | None = None,
) -> Result:
    result = connection.run(command, limit=limit, on_stdout=on_stdout, source=source)
    if result.status is None:
        raise Transient(
            f"the connection was lost during `{command.argv[3]!s}`.", connection.name, "run it again"
        )
    return result
