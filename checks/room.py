"""How much room the file systems of a host have where a recovery would write. One command; read-only."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.hosts.base import Connection
from checks.fact import require
from model.command import Command
from model.readiness_rules import Room

# A path that is not there yet is measured at what is there of its folders.
_ROOM = r"""
LC_ALL=C; export LC_ALL
for path; do
    while [ ! -e "$path" ] && [ "$path" != / ]; do
        path=${path%/*}
        [ -n "$path" ] || path=/
    done
    writable=no
    [ -w "$path" ] && writable=yes
    printf '%s %s %s\n' "$(stat -L -c %d -- "$path")" "$(stat -f -c '%S %a %c %d' -- "$path")" "$writable"
done
"""


def look(connection: Connection, paths: Sequence[str]) -> dict[str, Room]:
    """The room at each path; one that does not say is left out.

    Args:
        connection: an open connection.
        paths: absolute paths, none twice.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host has no shell that runs.
    """
    if not paths:
        return {}
    answer = connection.run(Command(("sh", "-c", _ROOM, "reinstate-room", *paths), sudo=True, timeout=60.0))
    require(answer, connection.name, "asking for free room")
    lines = [line.split(" ") for line in answer.text.splitlines()]
    found = {}
    for path, words in zip(paths, lines, strict=False):
        if len(words) == 6 and all(word.isdigit() for word in words[:5]):
            device, block, free, inodes, left = words[:5]
            found[path] = Room(
                path, device, int(block) * int(free), int(inodes), int(left), writable=words[5] == "yes"
            )
    return found
