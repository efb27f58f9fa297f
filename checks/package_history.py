"""Package managers' own histories: what was installed when, and what was begun and never ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from checks.log_lines import Line

_VERBS = {
    "install": "installed", "upgrade": "upgraded", "remove": "removed", "purge": "purged", "configure": "configured",
    "reinstall": "reinstalled",
}  # fmt: skip
_SETTLED = frozenset({"installed", "config-files", "not-installed"})
_STATUS = re.compile(r"^status ([a-z-]+) (\S+)(?: (\S+))?")
_ACTION = re.compile(r"^(install|upgrade|remove|purge|configure) (\S+) (\S+) (\S+)")
_RPM = re.compile(r"\b(Installed|Upgraded?|Upgrading|Reinstalled|Downgraded?|Erased?|Removed): ([^\s:]+)")
_NEVRA = re.compile(r"^(?:\d+:)?(.+?)-(?:\d+:)?[^-]+-[^-]+$")


@dataclass(frozen=True, slots=True)
class Operation:
    """Something a package manager did; `package` has no architecture."""

    at: float
    package: str
    verb: str
    line: Line


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A package that was left in the middle: what dpkg wrote last about it, and when that operation began."""

    at: float
    began: float
    package: str
    state: str
    lines: tuple[Line, ...]


def operations(lines: Iterable[Line]) -> Iterator[Operation]:
    """What was done to packages, from dpkg's log and dnf's."""
    for line in lines:
        if line.at is None:
            continue
        if line.source.startswith("/var/log/dpkg.log"):
            if found := _ACTION.match(line.text):
                again = found[1] == "upgrade" and found[3] == found[4]
                verb = "reinstall" if again else found[1]
                yield Operation(line.at, found[2].partition(":")[0], _VERBS[verb], line)
        elif line.source.startswith("/var/log/dnf") and (found := _RPM.search(line.text)):
            name = _NEVRA.match(found[2])
            yield Operation(line.at, name[1] if name else found[2], found[1].lower(), line)


def interrupted(lines: Iterable[Line]) -> Iterator[Interrupted]:
    """Packages whose newest state in dpkg's log is not a settled one."""
    newest: dict[str, tuple[str, Line]] = {}
    began: dict[str, Line] = {}
    for line in lines:
        if not line.source.startswith("/var/log/dpkg.log") or line.at is None:
            continue
        if found := _ACTION.match(line.text):
            if found[1] != "configure":
                began[found[2].partition(":")[0]] = line
        elif found := _STATUS.match(line.text):
            newest[found[2].partition(":")[0]] = (found[1], line)
    for package, (state, line) in newest.items():
        if state not in _SETTLED and not state.startswith("triggers"):
            start = began.get(package, line)
            shown = tuple(dict.fromkeys((start, line)))
            yield Interrupted(line.at or 0.0, start.at or 0.0, package, state, shown)
