"""What mariabackup needs on a host: its programs, in versions that fit the server, and a place beside its data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.hosts.base import Connection
from model.assets import MariadbAsset
from model.command import Command, Result
from model.errors import PreconditionFailed, Refused, Unsupported
from tasks import mariabackup_scripts as scripts
from tasks.exchange import SECONDS, ask
from tasks.staging import PLAIN

FLOOR = (10, 6)
"""Series below are mended no more: mistakes in their mariabackup stay."""
ROOM = 2.2
"""Free room wanted beside the data directory, in times of the stream: it is kept until what it holds is proven."""

_NAMES = {"backup": "mariabackup", "server": "mariadbd"}
_VERSION = re.compile(r"\b(\d+)\.(\d+)\.(\d+)")
_INSTALL = (
    "install mariadb-backup and mariadb-server of the server's own version on the host, or set `bin_dir`"
)
_WHY = {
    "missing": ("the folder above it is not there", "make it, or check `data_directory` of the database in the plan"),
    "linked": ("it is a link or no folder", "name the folder itself as `data_directory` in the plan"),
    "mounted": (
        "it is a mount point, so nothing can be renamed into its place",
        "move the data into a folder below the mount point, and say so in the plan",
    ),
    "elsewhere": (
        "tables of it lie in other places, which are not exchanged",
        "restore by hand with `mariabackup --copy-back`, or back this database up with `method: dump`",
    ),
    "nobody": ("the user who owns it, or `mysql`, is not known on the host", "install mariadb-server there"),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a data directory can be laid.

    Attributes:
        owner: user of the host that the data belongs to.
        free: bytes.
    """

    owner: str
    free: int


def script(text: str, *words: str, stdin: bytes | None = None) -> Command:
    """A constant script as root; its words are data."""
    return Command(
        ("sh", "-c", text, "reinstate-mariabackup", *words), stdin=stdin, sudo=True, env=PLAIN, timeout=SECONDS
    )  # fmt: skip


def series(version: str) -> tuple[int, int]:
    """The series of a version: what is of another one does not read its files.

    Raises:
        PreconditionFailed: it is no version of MariaDB.
    """
    match = _VERSION.search(version)
    if match is None:
        raise PreconditionFailed(f"{version!r} is no version of MariaDB.", remedy=_INSTALL)
    return int(match[1]), int(match[2])


def require_tools(connection: Connection, asset: MariadbAsset, version: str, *, whole: bool) -> str:
    """The tool's path on the host, when it fits a server of this version.

    Args:
        connection: the host.
        asset: the database.
        version: of the server that was or will be backed up.
        whole: also what a restore needs.

    Raises:
        PreconditionFailed: a program is missing. Refused: below the floor, or of another series than the server.
    """
    said = ask(connection, script(scripts.TOOLS, asset.bin_dir)).text
    told = {word: rest.strip() for word, _, rest in (line.partition(" ") for line in said.splitlines())}
    needed = ("program", "backup", *(("server", "mbstream", "innochecksum") if whole else ()))
    for program in needed:
        if not told.get(program):
            name = {**_NAMES, "program": "mariabackup"}.get(program, program)
            raise PreconditionFailed(f"{name} is not there, or does not run.", connection.name, _INSTALL)
    for program in ("backup", "server") if whole else ("backup",):
        name, found = _NAMES[program], series(told[program])
        if found < FLOOR:
            raise Refused(
                f"{name} {found[0]}.{found[1]} is below {FLOOR[0]}.{FLOOR[1]}, the oldest series that is still mended.",
                connection.name, "upgrade MariaDB on the host",
            )  # fmt: skip
        if found != series(version):
            raise Refused(
                f"{name} is of series {found[0]}.{found[1]}, and the data is of MariaDB {version}: another series does "
                "not read its files.", connection.name, _INSTALL,
            )  # fmt: skip
    return told["program"]


def place_for(connection: Connection, live: str, size: int) -> Place:
    """The place beside a data directory, when a backup of this size fits there.

    Raises:
        Unsupported: the data lies in a way that cannot be exchanged. PreconditionFailed: no room, no such place.
    """
    result = ask(connection, script(scripts.FITS, live))
    words, where = result.text.split() or ["?"], f"{connection.name}:{live}"
    if words[0] in _WHY:
        what, remedy = _WHY[words[0]]
        kind = PreconditionFailed if words[0] in {"missing", "nobody"} else Unsupported
        raise kind(f"nothing can be laid beside the data directory: {what}.", where, remedy)
    place = _measured(words, result, where)
    if place.free < size * ROOM:
        raise PreconditionFailed(
            f"backup and unpacked data need {size * ROOM / (1 << 20):.0f} MiB beside the data directory, "
            f"{place.free / (1 << 20):.0f} MiB are free.",
            where,
            "make room on that file system: the damaged data is kept until the recovery is accepted",
        )
    return place


def _measured(words: list[str], result: Result, where: str) -> Place:
    if words[0] != "fits" or len(words) != 3 or not words[1].isdigit():
        raise PreconditionFailed(
            f"the data directory cannot be measured: {result.tail(2)}", where, "look at the host"
        )
    return Place(words[2], int(words[1]) << 10)
