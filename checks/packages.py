"""Debian packages: is every delivered file there, with its content, type, mode and owner, and every package whole?

`dpkg --verify` looks at MD5 and absence only; `chmod 0`, a wrong owner and a file that became a link pass it (lab.md).
Modes, owners and link targets are compared with a baseline recorded while the host was healthy. Without one, only what
no healthy Debian has is found: system files nobody may read, everybody may write, or that do not belong to root.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blocks.hosts.base import Connection
from checks import stat, status_copies
from checks.compare import Difference, degree, differences, mode_text, nature, owner_text
from checks.dpkg import Database, Package
from checks.stat import Fact
from model.assets import DpkgAsset
from model.finding import CheckResult, Code, Degree, Finding, judged
from model.manifest import Entry, FileType

SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/boot/", "/opt/")
"""Where packages put what nothing but dpkg changes."""

COMPLETE = frozenset({"installed", "half-configured", "triggers-awaited", "triggers-pending"})
"""States in which every file of a package is in its place."""

VOLATILE = (
    "/run/", "/var/run/", "/var/lock/", "/dev/", "/proc/", "/sys/", "/var/cache/", "/var/log/", "/var/lib/apt/lists/",
    "/tmp/", "/var/tmp/",  # noqa: S108 - names of paths to judge, nothing is written there
)  # fmt: skip
"""Where directories come and go on a healthy host (tmpfs, cleaners of container images)."""


@dataclass(frozen=True, slots=True)
class Owned:
    """One delivered path: as the package names it, and where it is on the host."""

    package: Package
    path: str
    place: str


@dataclass(frozen=True, slots=True)
class PackagesData:
    """Facts about the packages of an asset.

    Attributes:
        database: the whole dpkg database.
        owned: the paths looked at.
        facts: by place.
        skipped: paths left out because of path excludes and `ignore`.
        root: the dpkg root.
        rootless: files belong to a user, so root is not expected as their owner.
    """

    database: Database
    owned: tuple[Owned, ...]
    facts: Mapping[str, Fact]
    skipped: int = 0
    root: str = "/"
    rootless: bool = False


def collect(
    connection: Connection, asset: DpkgAsset, baseline: Sequence[Entry] = (), digests: stat.Digests = "md5"
) -> PackagesData:
    """Look at every path of the asset's packages.

    With a baseline the SHA-256 recorded there is compared for packages that did not change since: it is trusted more
    than MD5 from the damaged host, and on today's processors it takes half the time.

    Raises:
        Transient: the connection was lost. PreconditionFailed: no dpkg database, or the host's tools are damaged.
    """
    database = status_copies.read(connection, asset).database
    owned, skipped = _owned(database, asset)
    strong = {name for name in _unchanged(database, baseline) if digests == "md5"}
    kept = {entry.path for entry in baseline if entry.sha256}
    strong -= {o.package.name for o in owned if o.path in o.package.md5sums and o.place not in kept}
    by_md5 = [o.place for o in owned if o.package.name not in strong]
    facts = stat.collect(connection, by_md5, digests)
    by_sha256 = [o.place for o in owned if o.package.name in strong and o.place not in facts]
    facts |= stat.collect(connection, by_sha256, "both" if digests == "both" else "sha256")
    return PackagesData(database, tuple(owned), facts, skipped, asset.root, asset.rootless)


def record_baseline(connection: Connection, asset: DpkgAsset) -> tuple[Entry, ...]:
    """What the packages' files are now, to be kept off the host while it is healthy.

    A file that differs from its package, or that breaks the rules for system files, is left out: damage never becomes
    the measure. Entries `dpkg:NAME=VERSION` hold the fingerprint of a package's file list.

    Raises:
        Transient: the connection was lost. PreconditionFailed: see `collect`.
    """
    data = collect(connection, asset, digests="both")
    parents = _parents(data)
    entries: dict[str, Entry] = {}
    for owned in data.owned:
        fact = data.facts[owned.place]
        if fact.type in {FileType.ABSENT, FileType.OTHER} or fact.error:
            continue
        if not _wrong(data, owned, fact, None, parents):
            entries[owned.place] = fact.entry()
    for package in {owned.package.name: owned.package for owned in data.owned}.values():
        name = f"dpkg:{package.name}={package.version}"
        entries[name] = Entry(path=name, type=FileType.OTHER, sha256=package.fingerprint)
    return tuple(sorted(entries.values(), key=lambda entry: entry.path))


def judge(name: str, asset: DpkgAsset, data: PackagesData, baseline: Sequence[Entry] = ()) -> CheckResult:
    """Compare the facts with the database and, where there is one, the baseline. Edited conffiles are not damage."""
    findings: dict[tuple[Code, str], Finding] = {}

    def add(
        code: Code, subject: str, expected: str, actual: str, package: Package | None, grade: Degree
    ) -> None:
        version = package.version if package else ""
        findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=asset.host, asset=name, subject=subject, degree=grade, expected=expected,
                actual=actual, package=package.name if package else "", version=version,
            ),
        )  # fmt: skip

    for subject, expected, actual, package, code in _states(asset, data.database):
        add(code, subject, expected, actual, package, Degree.SERIOUS)
    unchanged = _unchanged(data.database, baseline)
    known = {entry.path: entry for entry in baseline}
    parents = _parents(data)
    for owned in data.owned:
        entry = known.get(owned.place) if owned.package.name in unchanged else None
        for code, expected, actual in _wrong(data, owned, data.facts[owned.place], entry, parents):
            add(code, owned.place, expected, actual, owned.package, degree(code, owned.path))
    return judged(
        "packages", asset.host, name, len(data.facts), tuple(findings.values()), "files of packages",
        tuple(_not_checked(data, unchanged)),
    )  # fmt: skip


def _owned(database: Database, asset: DpkgAsset) -> tuple[list[Owned], int]:
    """The paths to look at, and how many are left out on purpose."""
    ignore = re.compile("|".join(fnmatch.translate(glob) for glob in asset.ignore) or r"(?!)")
    root = asset.root.rstrip("/")
    listed = {path for package in database.packages.values() for path in package.paths or ()}
    owned, skipped = [], 0
    for package in database.packages.values():
        if package.state not in COMPLETE or not _named(package, asset):
            continue
        # A path with a hash that stands in nobody's list was lost from a damaged list.
        lost = [path for path in package.md5sums if path not in listed]
        for path in dict.fromkeys((*(package.paths or ()), *lost)):
            place = root + database.placed(package.name, path)
            if ignore.match(path) or ignore.match(place) or (database.filters and database.filtered(path)):
                skipped += 1
            else:
                owned.append(Owned(package, path, place or "/"))
    return owned, skipped


def _named(package: Package, asset: DpkgAsset) -> bool:
    return not asset.packages or package.name.partition(":")[0] in asset.packages


def _unchanged(database: Database, baseline: Sequence[Entry]) -> set[str]:
    """Packages whose contents are those the baseline was recorded with."""
    marks = {entry.path: entry.sha256 for entry in baseline if entry.path.startswith("dpkg:")}
    return {
        package.name
        for package in database.packages.values()
        if marks.get(f"dpkg:{package.name}={package.version}") == package.fingerprint
    }


def _parents(data: PackagesData) -> frozenset[str]:
    return frozenset(owned.path.rpartition("/")[0] for owned in data.owned)


def _states(asset: DpkgAsset, database: Database) -> Iterator[tuple[str, str, str, Package | None, Code]]:
    """Packages that are not whole, and damage of the database itself: subject, expected, actual, package, code."""
    folder = f"{asset.root.rstrip('/')}/var/lib/dpkg"
    if database.torn:
        yield f"{folder}/status", "complete entries", database.torn, None, Code.PACKAGE_DATABASE_DAMAGED
    elif database.lost:
        lost = ", ".join(database.lost[:5])
        yield f"{folder}/status", "an entry per list", f"none for {lost}", None, Code.PACKAGE_DATABASE_DAMAGED
    for wanted in asset.packages:
        of_name = [p for p in database.packages.values() if p.name.partition(":")[0] == wanted]
        if not any(package.state not in {"config-files", "not-installed"} for package in of_name):
            state = of_name[0].state if of_name else "unknown to dpkg"
            absent = of_name[0] if of_name else Package(wanted, "", "", "", "", state)
            yield wanted, "installed", state, absent, Code.PACKAGE_NOT_INSTALLED
    for package in database.packages.values():
        if not _named(package, asset) or package.state in {"config-files", "not-installed"}:
            continue
        if package.state != "installed" or package.flag != "ok":
            yield package.name, "installed", package.state, package, Code.PACKAGE_STATE_BROKEN
        elif not package.paths:
            yield (
                package.name,
                "a list of its files",
                "list missing or empty",
                package,
                Code.PACKAGE_STATE_BROKEN,
            )


def _wrong(
    data: PackagesData, owned: Owned, fact: Fact, entry: Entry | None, parents: frozenset[str]
) -> list[Difference]:
    """What is wrong with one path."""
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
    if path in parents and fact.type not in {FileType.DIRECTORY, FileType.LINK}:
        return [(Code.FILE_TYPE_DIFFERS, "directory", nature(fact.type, fact.link))]
    found = _content(md5, fact)
    if entry is not None and fact.type is entry.type:
        content = not md5 and not conffile and path.startswith(SYSTEM)
        found += differences(
            _overridden(entry, data.database, path), fact, content=content or bool(fact.sha256 and md5)
        )
    elif entry is not None and not conffile:
        found += differences(entry, fact)
    elif path not in data.database.overrides:
        found += _rules(data, path, fact)
    return found


def _content(md5: str, fact: Fact) -> list[Difference]:
    if not md5 or fact.type is not FileType.FILE:
        return []
    if fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)] if fact.mode & 0o400 else []
    if not fact.md5 or fact.md5 == md5:
        return []
    return [(Code.FILE_CONTENT_DIFFERS, f"md5 {md5}", f"md5 {fact.md5} ({fact.size} bytes)")]


def _overridden(entry: Entry, database: Database, path: str) -> Entry:
    mode = database.overrides.get(path)
    return entry if mode is None else entry.model_copy(update={"mode": mode})


def _rules(data: PackagesData, path: str, fact: Fact) -> list[Difference]:
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
    system = data.root == "/" and not data.rootless and path.startswith(SYSTEM)
    if system and not directory and fact.uid != 0 and not fact.mode & 0o6000:
        found.append((Code.FILE_OWNER_DIFFERS, owner_text(0, 0), owner_text(fact.uid, fact.gid)))
    return found


def _not_checked(data: PackagesData, unchanged: Iterable[str]) -> Iterator[str]:
    names = {owned.package.name for owned in data.owned}
    without = len(names - set(unchanged))
    if without:
        yield (
            f"modes, owners and link targets of {without} of {len(names)} packages: no baseline of their version; "
            "only unreadable, world-writable and not root-owned system files were looked for"
        )
    if data.skipped:
        yield f"{data.skipped} paths left out by dpkg's path excludes and the plan's `ignore`"
    edited = 0
    for owned in data.owned:
        delivered, now = owned.package.conffiles.get(owned.path), data.facts[owned.place].md5
        edited += bool(delivered and now and now != delivered)
    if edited:
        yield f"the content of {edited} configuration files edited on this host: edits are not damage"
