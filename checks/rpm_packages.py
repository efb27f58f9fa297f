"""RPM packages: is every recorded path there as its packager made it, every package whole, and the database true?

Content, type, mode, owner, link target and capabilities are compared with rpm's own records, whose digest and
signature rpm verifies as it reads them. What the packager excepts (`%ghost`, `%verify(not …)`, `missingok`), what was
never installed, and edits of configuration files are not damage.
"""

from __future__ import annotations

import fnmatch
import re
import stat as modes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blocks.hosts.base import Connection
from checks import rpm_database, stat
from checks.compare import Difference, degree, nature
from checks.fact import Digests, Fact, require
from checks.package_rules import SYSTEM, same
from checks.rpm_database import RpmDatabase, RpmFile, RpmPackage
from checks.rpm_rules import HASHES, grade, wrong
from checks.strangers import ELSEWHERE, MADE_ANEW
from model.accepted import Accepted
from model.assets import RpmAsset
from model.command import Command
from model.finding import CheckResult, Code, Degree, Finding, judged
from model.manifest import Entry, FileType

MARK = "rpm:"
"""Before the full name of a package in a baseline; its hash is that of the package's record."""

_SEVERAL = re.compile(r"kernel(-.+)?|kmod-.+|gpg-pubkey")
"""Packages of which several versions are installed side by side on purpose."""

_LIST = r"""
pattern=$1
export pattern
exec xargs -0 -r sh -c 'exec find -P "$@" -mindepth 1 -maxdepth 1 -name "$pattern" -print0' find
"""
_LEFT = re.compile(r";[0-9a-f]{8}\Z")


@dataclass(frozen=True, slots=True)
class RpmData:
    """Facts about the packages of an asset.

    Attributes:
        database: the whole database.
        owned: path → the records of it (several packages may own a directory).
        facts: by path.
        behind: path → what is behind it, for directories that became links.
        strangers: what is nobody's where only packages put files, and what an interrupted rpm left.
        skipped: paths left out on purpose.
    """

    database: RpmDatabase
    owned: Mapping[str, tuple[tuple[RpmPackage, RpmFile], ...]] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    behind: Mapping[str, Fact] = field(default_factory=dict)
    strangers: tuple[str, ...] = ()
    skipped: int = 0


def collect(
    connection: Connection,
    asset: RpmAsset,
    accepted: Sequence[Accepted] = (),
    progress: stat.Tell | None = None,
) -> RpmData:
    """Look at every path of the asset's packages.

    Args:
        connection: the host.
        asset: which packages.
        accepted: differences a person accepted; their contents are looked at as well.
        progress: told (paths looked at, paths in all).

    Raises:
        Transient: the connection was lost. PreconditionFailed: rpm does not start, or the host's tools are damaged.
    """
    database = rpm_database.read(connection)
    owned, skipped = _owned(database, asset)
    wanted = {path: _digest(records) for path, records in owned.items()}
    extra = _extra(connection, database, owned, asset)
    agreed: dict[str, Digests] = {one.entry.path: "both" for one in accepted if one.entry.path in owned}
    nobodys: dict[str, Digests] = dict.fromkeys(extra, "sha256")
    asked = {**wanted, **nobodys, **agreed}
    facts = stat.collect(connection, asked, asked, progress=progress)
    linked = [
        path for path, records in owned.items()
        if facts[path].type is FileType.LINK and any(modes.S_ISDIR(file.mode) for _, file in records)
    ]  # fmt: skip
    behind = stat.collect(connection, [f"{path}/." for path in linked], "none")
    return RpmData(database, owned, facts, {path: behind[f"{path}/."] for path in linked}, extra, skipped)


def judge(
    name: str,
    asset: RpmAsset,
    data: RpmData,
    baseline: Sequence[Entry] = (),
    accepted: Sequence[Accepted] = (),
) -> CheckResult:
    """Compare the facts with rpm's records. A difference that a person accepted is none while it stays as it was."""
    findings: dict[tuple[Code, str], Finding] = {}

    def add(
        code: Code, subject: str, expected: str, actual: str, package: RpmPackage | None, grade: Degree,
        detail: str = "",
    ) -> None:  # fmt: skip
        findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=asset.host, asset=name, subject=subject, degree=grade, expected=expected,
                actual=actual, package=package.name if package else "", version=package.version if package else "",
                detail=detail,
            ),
        )  # fmt: skip

    for code, subject, expected, actual, package, detail in _states(asset, data.database, baseline):
        how_bad = Degree.SLIGHT if code is Code.HASH_LIST_DIFFERS else Degree.SERIOUS
        add(code, subject, expected, actual, package, how_bad, detail)
    settled = {one.entry.path for one in accepted if _as_accepted(one, data.facts.get(one.entry.path))}
    for path, records in data.owned.items():
        package, file, differs = _mildest(data, records)
        if differs and path not in settled:
            for code, expected, actual in differs:
                add(code, path, expected, actual, package, grade(code, file))
    for path in data.strangers:
        if path not in settled:
            said = nature(data.facts[path].type, data.facts[path].link)
            add(
                Code.FILE_FOREIGN,
                path,
                "absent: no package delivers it",
                said,
                None,
                degree(Code.FILE_FOREIGN, path),
            )
    return judged(
        "rpm", asset.host, name, len(data.owned), tuple(findings.values()), "files of packages",
        tuple(_not_checked(asset, data, baseline)),
    )  # fmt: skip


def newest(packages: Iterable[RpmPackage]) -> dict[tuple[str, str], list[RpmPackage]]:
    """Packages by name and architecture, the one installed last at the end."""
    found: dict[tuple[str, str], list[RpmPackage]] = {}
    for package in sorted(packages, key=lambda p: p.installed):
        found.setdefault((package.name, package.architecture), []).append(package)
    return found


def _owned(
    database: RpmDatabase, asset: RpmAsset
) -> tuple[dict[str, tuple[tuple[RpmPackage, RpmFile], ...]], int]:
    """The paths to look at, and how many are left out on purpose."""
    ignore = _ignored(asset)
    owned: dict[str, tuple[tuple[RpmPackage, RpmFile], ...]] = {}
    skipped = 0
    for versions in newest(p for p in database.packages if named(p, asset)).values():
        # Of an interrupted upgrade the newest counts; the others' files may be gone.
        for package in versions if _SEVERAL.fullmatch(versions[-1].name) else versions[-1:]:
            for file in package.files:
                if file.state != 0 or ignore.match(file.path):
                    skipped += 1
                elif not file.flags & rpm_database.GHOST:
                    owned[file.path] = (*owned.get(file.path, ()), (package, file))
    return owned, skipped


def _ignored(asset: RpmAsset) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in asset.ignore) or r"(?!)")


def _digest(records: Sequence[tuple[RpmPackage, RpmFile]]) -> Digests:
    wanted = {
        HASHES.get(package.algorithm, "none")
        for package, file in records
        if file.digest and file.verify & rpm_database.DIGEST
    } - {"none"}
    return "both" if len(wanted) > 1 else next(iter(wanted), "none")


def named(package: RpmPackage, asset: RpmAsset) -> bool:
    """Whether a package belongs to an asset."""
    return not asset.packages or package.name in asset.packages


def _extra(
    connection: Connection, database: RpmDatabase, owned: Mapping[str, object], asset: RpmAsset
) -> tuple[str, ...]:
    """What no package owns: in folders that belong to packages, and files `NAME;TRANSACTION` beside a file NAME.

    rpm unpacks under such names and renames at the end; a killed one leaves them.
    """
    folders = {path.rpartition("/")[0] or "/" for path in owned}
    own = {
        f for f in folders & owned.keys() if f"{f}/".startswith(SYSTEM) and not f"{f}/".startswith(ELSEWHERE)
    }
    known = {file.path for package in database.packages for file in package.files}
    ignore = _ignored(asset)
    left = [
        p for p in _listed(connection, folders, "*;????????") if _LEFT.search(p) and _LEFT.sub("", p) in owned
    ]
    nobodys = [p for p in _listed(connection, own, "*") if p not in known and not MADE_ANEW.fullmatch(p)]
    return tuple(sorted(path for path in {*left, *nobodys} if not ignore.match(path)))


def _listed(connection: Connection, folders: Iterable[str], pattern: str) -> list[str]:
    command = Command(
        ("sh", "-c", _LIST, "reinstate-list", pattern), sudo=True, env={"LC_ALL": "C"}, timeout=300.0,
        stdin=b"".join(folder.encode("utf-8", "surrogateescape") + b"\0" for folder in sorted(folders)),
    )  # fmt: skip
    chunks: list[bytes] = []
    result = connection.run(command, on_stdout=chunks.append)
    if result.status not in {0, 1, 123}:  # 1, 123: a folder is not there, which is a finding of its own
        require(result, connection.name, "looking for what is nobody's (xargs, find)")
    return [raw.decode("utf-8", "surrogateescape") for raw in b"".join(chunks).split(b"\0") if raw]


State = tuple[Code, str, str, str, RpmPackage | None, str]


def _states(asset: RpmAsset, database: RpmDatabase, baseline: Sequence[Entry]) -> Iterator[State]:
    """What is wrong with the database and with whole packages: code, subject, expected, actual, package, detail."""
    marks = {e.path.removeprefix(MARK): e.sha256 for e in baseline if e.path.startswith(MARK)}
    readable = {package.id: package for package in (*database.packages, *database.keys)}
    names = {package.name for package in database.packages}
    if database.damaged:
        code, detail = (
            Code.PACKAGE_DATABASE_DAMAGED,
            "" if marks else "No baseline says which packages it held.",
        )
        yield code, database.path, "whole", database.damaged, None, detail
        kept = {(package.name, package.architecture) for package in readable.values() if package.architecture}
        for lost in sorted(marks.keys() - readable.keys()):
            if (split(lost).name, split(lost).architecture) in kept:  # another version by now
                continue
            yield code, lost, "a record in the rpm database", "none that can be read", split(lost), ""
    for wanted in sorted(set(asset.packages) - names):
        before = next((split(mark) for mark in marks if split(mark).name == wanted), None)
        if not database.damaged:
            package = before or RpmPackage(wanted, "", "")
            yield Code.PACKAGE_NOT_INSTALLED, wanted, "installed", "unknown to rpm", package, ""
    for (name, _), versions in newest(p for p in database.packages if named(p, asset)).items():
        last = versions[-1]
        if len(versions) > 1 and not _SEVERAL.fullmatch(name):
            actual = f"{' and '.join(p.version for p in versions)} (an interrupted transaction)"
            yield Code.PACKAGE_STATE_BROKEN, name, "one version", actual, last, ""
        if last.needs:
            needs = f"without {', '.join(last.needs[:5])}"
            yield Code.PACKAGE_STATE_BROKEN, f"{name} (needs)", "what it requires", needs, last, ""
        mark = marks.get(last.id, "")
        if mark and last.header and mark != last.header:
            yield (
                Code.HASH_LIST_DIFFERS, last.id, f"record {mark[:16]}…", f"record {last.header[:16]}…", last,
                "rpm's records of this package are not those of the baseline: they were exchanged.",
            )  # fmt: skip


def split(full: str) -> RpmPackage:
    """A package from its full name (`rpm_database.nevra`)."""
    if full.startswith("gpg-pubkey-"):
        return RpmPackage("gpg-pubkey", full.removeprefix("gpg-pubkey-"), "")
    rest, _, architecture = full.rpartition(".")
    name, version, release = rest.rsplit("-", 2)
    return RpmPackage(name, f"{version}-{release}", architecture)


def _mildest(
    data: RpmData, records: Sequence[tuple[RpmPackage, RpmFile]]
) -> tuple[RpmPackage, RpmFile, list[Difference]]:
    """The record a path agrees with best: two packages may own one folder and differ about it."""
    judged_ = [(package, file, _one(data, package, file)) for package, file in records]
    return min(judged_, key=lambda item: len(item[2]))


def _one(data: RpmData, package: RpmPackage, file: RpmFile) -> list[Difference]:
    return wrong(data.database, package, file, data.facts[file.path], data.behind.get(file.path))


def _as_accepted(one: Accepted, fact: Fact | None) -> bool:
    """Whether a path is now as it was when a person accepted it."""
    if fact is None or fact.type is FileType.ABSENT:
        return one.entry.type is FileType.ABSENT
    return same(one.entry, fact, fact.capabilities is not None)


def _not_checked(asset: RpmAsset, data: RpmData, baseline: Sequence[Entry]) -> Iterator[str]:
    packages = [p for p in data.database.packages if named(p, asset)]
    if not any(entry.path.startswith(MARK) for entry in baseline):
        yield "whether the rpm database lost packages: no baseline says which it held"
    if data.skipped:
        yield f"{data.skipped} paths never installed, shared, of another package by now, or in the plan's `ignore`"
    if foreign := sum(p.algorithm not in HASHES for p in packages):
        yield f"contents of {foreign} packages: their digests are neither SHA-256 nor MD5"
    if unsigned := sum(not p.signed for p in packages):
        yield f"signatures of {unsigned} packages: they have none, so their records prove nothing against an intruder"
    caps = [f.path for r in data.owned.values() for _, f in r if f.capabilities]
    if any(data.facts[p].capabilities is None and data.facts[p].type is FileType.FILE for p in caps):
        yield "file capabilities: this host could not be asked"
    changed = edited(data)
    if changed:
        yield f"the content of {len(changed)} configuration files edited on this host: edits are not damage"


def edited(data: RpmData) -> list[str]:
    """Configuration files whose content is not the delivered one."""
    found = []
    for path, records in data.owned.items():
        package, file = records[-1]
        fact = data.facts[path]
        now = fact.md5 if HASHES.get(package.algorithm) == "md5" else fact.sha256
        if file.flags & rpm_database.CONFIG and now and file.digest and now != file.digest:
            found.append(path)
    return found
