"""Files that belong to nobody where only packages put files: programs, libraries, modules, what services serve.

Looked at is every folder below `SYSTEM` that holds a delivered file; documentation runs nowhere and is left out, and so
is /usr/local, which is the administrator's. What packages' own scripts make there is either dpkg's own (alternatives,
diversions), made anew at will (Python's byte code, the kernel's module indexes), or accepted by a person once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from checks.compare import READING
from checks.dpkg import Database
from checks.package_rules import SYSTEM, Owned

ELSEWHERE = (*READING, "/usr/local/", "/usr/src/", "/boot/")
MADE_ANEW = re.compile(r".*(/__pycache__|\.py[co])|/(usr/)?lib/modules/[^/]+/modules\.[a-z.]+")


def folders(owned: Iterable[Owned], aliases: Mapping[str, str], root: str) -> frozenset[str]:
    """Folders, as they are on the host, that hold delivered files; a path without a hash is none for this purpose."""
    return folders_of((place for package, path, place in owned if path in package.md5sums), aliases, root)


def folders_of(files: Iterable[str], aliases: Mapping[str, str], root: str) -> frozenset[str]:
    """The folders of delivered files, as they are on the host, where nothing else may lie."""
    found = {path.rpartition("/")[0] for path in files}
    true = {_aliased(path[len(root) :], aliases) + "/" for path in found}
    return frozenset(root + f[:-1] for f in true if f.startswith(SYSTEM) and not f.startswith(ELSEWHERE))


def _aliased(path: str, aliases: Mapping[str, str]) -> str:
    """The path behind a link at the top."""
    end = path.find("/", 1)
    top = path if end < 0 else path[:end]
    return aliases[top] + path[len(top) :] if top in aliases else path


def strangers(found: Iterable[str], database: Database, known: Collection[str], root: str) -> Iterator[str]:
    """What is nobody's: not of any package, whatever its state, not diverted, not made anew.

    Args:
        found: what lies in the folders and was not looked at.
        database: of the whole host.
        known: paths known otherwise: left out on purpose, or in the baseline.
        root: the dpkg root, without a slash at its end.
    """
    listed = {path for package in database.packages.values() for path in package.paths or ()}
    listed |= {target for target, _ in database.diversions.values()} | set(database.diversions)
    for path in found:
        inside = path[len(root) :]
        names = {
            inside,
            *(link + inside[len(to) :] for link, to in database.aliases.items() if inside.startswith(to)),
        }
        if not (names & listed) and path not in known and not MADE_ANEW.fullmatch(inside):
            yield path
