"""Which versions of the backup tools are used: one table, each floor with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.errors import PreconditionFailed, Refused


@dataclass(frozen=True)
class Floor:
    """The lowest version of a tool that is used.

    Attributes:
        version: that version.
        why: what is wrong below it.
    """

    version: tuple[int, ...]
    why: str


FLOORS: dict[str, Floor] = {
    # Debian 12 has 0.14.0. The flaws of later security fixes (0.20: two nodes of one name in a tree written by
    # somebody who has the password) are met by judging the listing before anything is fetched.
    "restic": Floor((0, 14, 0), "it reads no repository of format 2 and has no exact lists of files"),
    # Debian 12 has 1.2.4. CVE-2023-36811 (fixed in 1.2.5) lets a forged archive pass as a genuine one; here every
    # file has to have the hash of our own signed manifest, so a forged archive is found like a damaged one.
    "borg": Floor(
        (1, 2, 0), "it cannot be given exact lists of files, and its own lists can be forged (CVE-2016-10099)"
    ),
    # The flaws fixed in 3.4.0 (CVE-2024-12084 … 12088) concern servers; we copy on one host only.
    "rsync": Floor((3, 1, 0), "it compares with MD4 and has no exact times"),
}  # fmt: skip

_VERSION = re.compile(r"(?<![0-9.])([0-9]+(?:\.[0-9]+)+)")


def demand(tool: str, answer: str, where: str) -> str:
    """The version in a tool's answer, when it is safe.

    Args:
        tool: a key of `FLOORS`.
        answer: what `tool --version` printed.
        where: the host, for messages.

    Raises:
        Refused: below the floor; says why and which version is safe.
        PreconditionFailed: the answer holds no version.
    """
    floor = FLOORS[tool]
    found = _VERSION.search(answer)
    if found is None:
        raise PreconditionFailed(
            f"{tool} does not say which version it is.", where, f"repair or reinstall {tool} on the host"
        )
    version = tuple(int(part) for part in found[1].split("."))
    if version < floor.version:
        safe = ".".join(map(str, floor.version))
        raise Refused(
            f"{tool} {found[1]} is not used: {floor.why}.",
            where,
            f"install {tool} {safe} or newer on the host",
        )
    return found[1]
