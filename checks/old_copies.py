"""Processes that still run a file as it was before it was replaced: the repair reaches them when they are restarted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from blocks.hosts.base import Connection
from checks.fact import require
from checks.sections import sections
from model.command import Command, printable

# The kernel marks what is mapped and no longer there under its name; only what can be executed counts.
_SCRIPT = r"""
LC_ALL=C; export LC_ALL
cd /proc || exit 73
printf '\0maps\0'
grep -a -s -H -E '^[0-9a-f]+-[0-9a-f]+ ..x. .* \(deleted\)$' [0-9]*/maps
[ $? -le 2 ] || exit 93
printf '\0comm\0'
grep -a -s -H . [0-9]*/comm
printf '\0cgroup\0'
grep -a -s -H -E '\.service$' [0-9]*/cgroup
printf '\0end\0'
"""
_MAP = re.compile(r"(\d+)/maps:\S+ ..x. \S+ \S+ \d+ +(/.*) \(deleted\)")
_LINE = re.compile(r"(\d+)/\w+:(.*)")


@dataclass(frozen=True, slots=True)
class OldCopy:
    """A process with the old copy of a path mapped; `unit` is empty when it belongs to none."""

    pid: int
    process: str
    unit: str
    path: str


def collect(connection: Connection, paths: Collection[str]) -> list[OldCopy]:
    """Who still runs what one of the paths was before; by process id, then path.

    Args:
        connection: an open connection.
        paths: absolute paths that were replaced.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's sh or grep does not work.
    """
    chunks: list[bytes] = []
    command = Command(("sh", "-c", _SCRIPT, "reinstate-maps"), sudo=True, timeout=120.0)
    result = connection.run(command, on_stdout=chunks.append)
    require(result, connection.name, "reading what processes have mapped (sh, grep)")
    return parse(b"".join(chunks), paths, connection.name)


def parse(output: bytes, paths: Collection[str], where: str = "") -> list[OldCopy]:
    """The old copies in the script's output.

    Raises:
        PreconditionFailed: the output is not whole.
    """
    found = sections(output, "what processes have mapped", where, "look at /proc on the host")
    # A system whose /bin and /lib are links has everything below /usr, whatever a package calls it.
    wanted = {*paths, *(f"/usr{path}" for path in paths if path.startswith(("/bin/", "/lib", "/sbin/")))}
    names, groups = dict(_lines(found["comm"])), dict(_lines(found["cgroup"]))
    seen = {
        (int(match[1]), match[2])
        for match in map(_MAP.fullmatch, found["maps"].split("\n"))
        if match is not None and match[2] in wanted
    }
    return [
        OldCopy(pid, names.get(pid, ""), groups.get(pid, "").rpartition("/")[2], path)
        for pid, path in sorted(seen)
    ]


def remarks(host: str, copies: Collection[OldCopy]) -> tuple[str, ...]:
    """What people should do about them, a sentence per unit or process."""
    by_owner: dict[str, list[OldCopy]] = {}
    for copy in copies:
        by_owner.setdefault(copy.unit or f"PID {copy.pid}", []).append(copy)
    said = []
    for owner, ours in sorted(by_owner.items()):
        paths = sorted({copy.path for copy in ours})
        more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
        who = f"{owner} ({printable(ours[0].process)})" if ours[0].process else owner
        shown = ", ".join(printable(path) for path in paths[:2])
        said.append(
            f"{printable(who)} on {host} still runs {shown}{more} as before the repair: restart it when it suits."
        )
    return tuple(said)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is not None:
            yield int(match[1]), match[2]
