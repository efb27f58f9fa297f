"""What is wrong with one delivered path: by the package's hashes, the baseline, and rules no healthy Debian breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from checks.compare import Difference, differences, mode_text, nature, owner_text
from checks.dpkg import Database, Package
from checks.fact import Fact
from model.finding import Code
from model.manifest import Entry, FileType

SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/boot/", "/opt/")
"""Where packages put what nothing but dpkg changes."""

VOLATILE = (
    "/run/", "/var/run/", "/var/lock/", "/dev/", "/proc/", "/sys/", "/var/cache/", "/var/log/", "/var/lib/apt/lists/",
    "/tmp/", "/var/tmp/",  # noqa: S108 - names of paths to judge, nothing is written there
)  # fmt: skip
"""Where directories come and go on a healthy host (tmpfs, cleaners of container images)."""


class Owned(NamedTuple):
    """One delivered path: as the package names it, and where it is on the host."""

    package: Package
    path: str
    place: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all paths of an asset.

    Attributes:
        database: overrides stand in it.
        system: files below `SYSTEM` belong to root: not in a tree that a user owns.
        parents: delivered folders that hold other delivered paths.
        capabilities: the baseline and this look know file capabilities.
    """

    database: Database
    system: bool
    parents: frozenset[str]
    capabilities: bool = False


def same(entry: Entry, fact: Fact, capabilities: bool) -> bool:
    """Whether a path is as an entry says; quick, for most paths are."""
    return (
        fact.type is entry.type
        and (fact.mode == entry.mode or fact.type is FileType.LINK)
        and fact.uid == entry.uid
        and fact.gid == entry.gid
        and fact.link == entry.link
        and (fact.sha256 == entry.sha256 or fact.type is not FileType.FILE)
        and not fact.error
        and (not capabilities or (fact.capabilities or "") == entry.capabilities)
    )


def wrong(
    rules: Rules, owned: Owned, fact: Fact, entry: Entry | None, distrusted: bool = False
) -> list[Difference]:
    """What is wrong with one path.

    Args:
        rules: of the asset.
        owned: the path.
        fact: what it is now.
        entry: what the baseline of this version says; None: it says nothing.
        distrusted: the package's hash list is damaged: the baseline's hash counts where there is one.
    """
    package, path = owned.package, owned.path
    conffile = path in package.conffiles
    md5 = "" if conffile else package.md5sums.get(path, "")
    if fact.type is FileType.ABSENT:
        if conffile:
            return [(Code.CONFFILE_MISSING, "file", "absent")]
        gone_for_good = md5 or not f"{path}/".startswith(VOLATILE)
        return [(Code.FILE_MISSING, "file" if md5 else "present", "absent")] if gone_for_good else []
    if fact.type is FileType.OTHER and fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)]
    if md5 and fact.type is not FileType.FILE:
        return [(Code.FILE_TYPE_DIFFERS, "file", nature(fact.type, fact.link))]
    if path in rules.parents and fact.type not in {FileType.DIRECTORY, FileType.LINK}:
        return [(Code.FILE_TYPE_DIFFERS, "directory", nature(fact.type, fact.link))]
    found = [] if distrusted and entry is not None and entry.sha256 else _content(md5, fact)
    if entry is not None and fact.type is entry.type:
        content = not conffile and (bool(md5 and fact.sha256) or (not md5 and path.startswith(SYSTEM)))
        wanted = _overridden(entry, fact, rules.database, path)
        found += [
            one
            for one in differences(wanted, fact, content=content, capabilities=rules.capabilities)
            if one[0] not in {code for code, _, _ in found}
        ]
    elif entry is not None and not conffile:
        found += differences(entry, fact)
    elif path not in rules.database.overrides:
        found += _rules(rules, path, fact)
    return found


def _content(md5: str, fact: Fact) -> list[Difference]:
    if not md5 or fact.type is not FileType.FILE:
        return []
    if fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)] if fact.mode & 0o400 else []
    if not fact.md5 or fact.md5 == md5:
        return []
    return [(Code.FILE_CONTENT_DIFFERS, f"md5 {md5}", f"md5 {fact.md5} ({fact.size} bytes)")]


def _overridden(entry: Entry, fact: Fact, database: Database, path: str) -> Entry:
    if path not in database.overrides:
        return entry
    uid, gid, mode = database.overrides[path]
    owner = {"uid": fact.uid if uid < 0 else uid, "gid": fact.gid if gid < 0 else gid}
    return entry.model_copy(update={"mode": mode, **owner})


def _rules(rules: Rules, path: str, fact: Fact) -> list[Difference]:
    """What no healthy Debian has, whatever the package: found also without a baseline."""
    found: list[Difference] = []
    directory = fact.type is FileType.DIRECTORY
    if fact.type not in {FileType.FILE, FileType.DIRECTORY} or f"{path}/".startswith(VOLATILE):
        return found
    if fact.mode & (0o500 if directory else 0o400) != (0o500 if directory else 0o400):
        wanted = "mode 0755" if directory else "readable by its owner (mode 0644 or 0755)"
        found.append((Code.FILE_MODE_DIFFERS, wanted, mode_text(fact.mode)))
    elif fact.mode & 0o002 and not (directory and fact.mode & 0o1000):
        found.append((Code.FILE_MODE_DIFFERS, "not writable by everybody", mode_text(fact.mode)))
    if (
        rules.system
        and path.startswith(SYSTEM)
        and not directory
        and fact.uid != 0
        and not fact.mode & 0o6000
    ):
        found.append((Code.FILE_OWNER_DIFFERS, owner_text(0, 0), owner_text(fact.uid, fact.gid)))
    return found
