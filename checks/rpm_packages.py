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
from checks import capabilities, rpm_database, stat
from checks.compare import Difference, degree, mode_text, nature, owner_text
from checks.fact import Digests, Fact, require
from checks.rpm_database import RpmDatabase, RpmFile, RpmPackage
from model.assets import RpmAsset
from model.command import Command
from model.errors import PreconditionFailed
from model.finding import CheckResult, Code, Degree, Finding, judged
from model.manifest import Entry, FileType

MARK = "rpm:"
"""Before the full name of a package in a baseline; its hash is that of the package's record."""

_HASHES: Mapping[int, Digests] = {1: "md5", 8: "sha256"}
_TYPES = {modes.S_IFREG: FileType.FILE, modes.S_IFDIR: FileType.DIRECTORY, modes.S_IFLNK: FileType.LINK}
_SEVERAL = re.compile(r"kernel(-.+)?|kmod-.+|gpg-pubkey")
"""Packages of which several versions are installed side by side on purpose."""

_LEFTOVERS = (
    r"""exec xargs -0 -r sh -c 'exec find -P "$@" -mindepth 1 -maxdepth 1 -name "*;????????" -print0' find"""
)
_LEFT = re.compile(r"(?P<path>.+);[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class RpmData:
    """Facts about the packages of an asset.

    Attributes:
        database: the whole database.
        owned: path → the records of it (several packages may own a directory).
        facts: by path.
        behind: path → what is behind it, for directories that became links.
        leftovers: files beside a package's own that an interrupted rpm left.
        skipped: paths left out on purpose.
    """

    database: RpmDatabase
    owned: Mapping[str, tuple[tuple[RpmPackage, RpmFile], ...]] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    behind: Mapping[str, Fact] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    skipped: int = 0


def collect(connection: Connection, asset: RpmAsset) -> RpmData:
    """Look at every path of the asset's packages.

    Raises:
        Transient: the connection was lost. PreconditionFailed: rpm does not start, or the host's tools are damaged.
    """
    database = rpm_database.read(connection)
    owned, skipped = _owned(database, asset)
    wanted = {path: _digest(records) for path, records in owned.items()}
    facts = stat.collect(connection, wanted)
    linked = [
        path for path, records in owned.items()
        if facts[path].type is FileType.LINK and any(modes.S_ISDIR(file.mode) for _, file in records)
    ]  # fmt: skip
    behind = stat.collect(connection, [f"{path}/." for path in linked], "none")
    return RpmData(
        database,
        owned,
        facts,
        {path: behind[f"{path}/."] for path in linked},
        _leftovers(connection, owned),
        skipped,
    )


def record_baseline(connection: Connection, asset: RpmAsset) -> tuple[Entry, ...]:
    """Which packages there are, to be kept off the host: a database that lost some cannot say so itself.

    Modes, owners and contents need no baseline, rpm has them. Entries `rpm:NAME-VERSION.ARCH` hold the SHA-256 of the
    package's record.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the database is damaged: damage is never the measure.
    """
    database = rpm_database.read(connection)
    if database.damaged:
        raise PreconditionFailed(
            f"the rpm database is damaged ({database.damaged}): what it says now is not recorded.",
            f"{connection.name}:{database.path}",
            "recover this asset first",
        )
    return tuple(
        Entry(path=f"{MARK}{package.id}", type=FileType.OTHER, sha256=package.header)
        for package in (*database.packages, *database.keys)
        if package.name == "gpg-pubkey" or _named(package, asset)
    )


def judge(name: str, asset: RpmAsset, data: RpmData, baseline: Sequence[Entry] = ()) -> CheckResult:
    """Compare the facts with rpm's records. What a person accepted is in the baseline, by path."""
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
        grade = Degree.SLIGHT if code is Code.HASH_LIST_DIFFERS else Degree.SERIOUS
        add(code, subject, expected, actual, package, grade, detail)
    accepted = {entry.path: entry for entry in baseline if entry.path.startswith("/")}
    for path, records in data.owned.items():
        package, file, wrong = _mildest(data, records)
        if wrong and not _accepted(accepted.get(path), data.facts[path]):
            for code, expected, actual in wrong:
                add(code, path, expected, actual, package, _degree(code, file))
    owners = {path: records[-1][0] for path, records in data.owned.items()}
    for path in data.leftovers:
        of = path.rpartition(";")[0]
        add(
            Code.FILE_FOREIGN,
            path,
            "nothing",
            "a file that rpm did not put into place",
            owners[of],
            Degree.SLIGHT,
        )
    return judged(
        "rpm", asset.host, name, len(data.facts), tuple(findings.values()), "files of packages",
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
    ignore = re.compile("|".join(fnmatch.translate(glob) for glob in asset.ignore) or r"(?!)")
    owned: dict[str, tuple[tuple[RpmPackage, RpmFile], ...]] = {}
    skipped = 0
    for versions in newest(p for p in database.packages if _named(p, asset)).values():
        # Of an interrupted upgrade the newest counts; the others' files may be gone.
        for package in versions if _SEVERAL.fullmatch(versions[-1].name) else versions[-1:]:
            for file in package.files:
                if file.state != 0 or ignore.match(file.path):
                    skipped += 1
                elif not file.flags & rpm_database.GHOST:
                    owned[file.path] = (*owned.get(file.path, ()), (package, file))
    return owned, skipped


def _digest(records: Sequence[tuple[RpmPackage, RpmFile]]) -> Digests:
    wanted = {
        _HASHES.get(package.algorithm, "none")
        for package, file in records
        if file.digest and file.verify & rpm_database.DIGEST
    } - {"none"}
    return "both" if len(wanted) > 1 else next(iter(wanted), "none")


def _named(package: RpmPackage, asset: RpmAsset) -> bool:
    return not asset.packages or package.name in asset.packages


def _leftovers(connection: Connection, owned: Iterable[str]) -> tuple[str, ...]:
    """Files `NAME;TRANSACTION` beside a package's file NAME: rpm unpacks under such names and renames at the end."""
    known = set(owned)
    folders = {path.rpartition("/")[0] or "/" for path in known}
    command = Command(
        ("sh", "-c", _LEFTOVERS), sudo=True, env={"LC_ALL": "C"}, timeout=300.0,
        stdin=b"".join(folder.encode("utf-8", "surrogateescape") + b"\0" for folder in sorted(folders)),
    )  # fmt: skip
    chunks: list[bytes] = []
    result = connection.run(command, on_stdout=chunks.append)
    if result.status not in {0, 1, 123}:  # 1, 123: a folder is not there, which is a finding of its own
        require(result, connection.name, "looking for what rpm left behind (xargs, find)")
    names = [raw.decode("utf-8", "surrogateescape") for raw in b"".join(chunks).split(b"\0") if raw]
    return tuple(sorted(n for n in names if (match := _LEFT.fullmatch(n)) and match["path"] in known))


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
    for (name, _), versions in newest(p for p in database.packages if _named(p, asset)).items():
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
    judged_ = [(package, file, _wrong(data, package, file)) for package, file in records]
    return min(judged_, key=lambda item: len(item[2]))


def _wrong(data: RpmData, package: RpmPackage, file: RpmFile) -> list[Difference]:
    """What is wrong with one path by one package's record."""
    fact, config = data.facts[file.path], bool(file.flags & rpm_database.CONFIG)
    kind = _TYPES.get(modes.S_IFMT(file.mode), FileType.OTHER)
    if fact.type is FileType.ABSENT:
        if file.flags & rpm_database.MISSING_OK:
            return []
        return [(Code.CONFFILE_MISSING if config else Code.FILE_MISSING, nature(kind, file.link), "absent")]
    if fact.type is FileType.OTHER and fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)]
    if kind is FileType.DIRECTORY and fact.type is FileType.LINK:
        behind = data.behind.get(file.path, fact)
        if behind.type is FileType.DIRECTORY:  # rpm lets people move a folder and leave a link
            return _dressed(data.database, file, behind)
    if fact.type is not kind:
        return [(Code.FILE_TYPE_DIFFERS, nature(kind, file.link), nature(fact.type, fact.link))]
    if kind is FileType.LINK:
        if file.verify & rpm_database.LINK and fact.link != file.link:
            return [(Code.FILE_LINK_DIFFERS, f"link to {file.link}", f"link to {fact.link}")]
        return _owner(data.database, file, fact)
    found = _dressed(data.database, file, fact)
    if kind is FileType.FILE and not config:
        found = [*_content(package, file, fact), *found]
    return found


def _content(package: RpmPackage, file: RpmFile, fact: Fact) -> list[Difference]:
    algorithm = _HASHES.get(package.algorithm)
    if not file.digest or algorithm is None or not file.verify & rpm_database.DIGEST:
        return []
    if fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)] if fact.mode & 0o400 else []
    now = fact.sha256 if algorithm == "sha256" else fact.md5
    if not now or now == file.digest:
        return []
    return [
        (
            Code.FILE_CONTENT_DIFFERS,
            f"{algorithm} {file.digest[:16]}…",
            f"{algorithm} {now[:16]}… ({fact.size} bytes)",
        )
    ]


def _dressed(database: RpmDatabase, file: RpmFile, fact: Fact) -> list[Difference]:
    """Mode, owner and capabilities."""
    found: list[Difference] = []
    wanted = modes.S_IMODE(file.mode)
    if file.verify & rpm_database.MODE and fact.mode != wanted:
        found.append((Code.FILE_MODE_DIFFERS, mode_text(wanted), mode_text(fact.mode)))
    found += _owner(database, file, fact)
    if (
        file.verify & rpm_database.CAPABILITIES
        and fact.type is FileType.FILE
        and fact.capabilities is not None
    ):
        expected = capabilities.encode(file.capabilities)
        if expected is not None and expected != fact.capabilities:
            found.append(
                (
                    Code.FILE_CAPABILITIES_DIFFER,
                    f"capabilities {file.capabilities or 'none'}",
                    f"capabilities {capabilities.decode(fact.capabilities)}",
                )
            )
    return found


def _owner(database: RpmDatabase, file: RpmFile, fact: Fact) -> list[Difference]:
    uid, gid = owner_ids(database, file)
    user = not file.verify & rpm_database.USER or fact.uid == uid
    group = not file.verify & rpm_database.GROUP or fact.gid == gid
    if user and group:
        return []
    unknown = [name for name, number in ((file.user, uid), (file.group, gid)) if number is None]
    said = f" (there is no {' and no '.join(unknown)} on this host)" if unknown else ""
    return [
        (Code.FILE_OWNER_DIFFERS, f"owner {file.user}:{file.group}{said}", owner_text(fact.uid, fact.gid))
    ]


def owner_ids(database: RpmDatabase, file: RpmFile) -> tuple[int | None, int | None]:
    """Ids of a path's recorded owner and group on this host; None: there is no such account."""
    uid = 0 if file.user == "root" else database.users.get(file.user)
    gid = 0 if file.group == "root" else database.groups.get(file.group)
    return uid, gid


def _accepted(entry: Entry | None, fact: Fact) -> bool:
    """Whether a person accepted the path as it is now."""
    if entry is None or entry.type is not fact.type:
        return False
    same = (entry.mode, entry.uid, entry.gid, entry.link) == (fact.mode, fact.uid, fact.gid, fact.link)
    content = not entry.sha256 or entry.sha256 == fact.sha256
    return same and content and entry.capabilities == (fact.capabilities or "")


def _degree(code: Code, file: RpmFile) -> Degree:
    reading = rpm_database.DOCUMENTATION | rpm_database.LICENSE | rpm_database.README
    return Degree.SLIGHT if file.flags & reading else degree(code, file.path)


def _not_checked(asset: RpmAsset, data: RpmData, baseline: Sequence[Entry]) -> Iterator[str]:
    packages = [p for p in data.database.packages if _named(p, asset)]
    if not any(entry.path.startswith(MARK) for entry in baseline):
        yield "whether the rpm database lost packages: no baseline says which it held"
    if data.skipped:
        yield f"{data.skipped} paths never installed, shared, of another package by now, or in the plan's `ignore`"
    if foreign := sum(p.algorithm not in _HASHES for p in packages):
        yield f"contents of {foreign} packages: their digests are neither SHA-256 nor MD5"
    if unsigned := sum(not p.signed for p in packages):
        yield f"signatures of {unsigned} packages: they have none, so their records prove nothing against an intruder"
    caps = [f.path for r in data.owned.values() for _, f in r if f.capabilities]
    if any(data.facts[p].capabilities is None and data.facts[p].type is FileType.FILE for p in caps):
        yield "file capabilities: this host could not be asked"
    edited = 0
    for path, records in data.owned.items():
        package, file = records[-1]
        fact = data.facts[path]
        now = fact.sha256 if package.algorithm != 1 else fact.md5
        edited += bool(file.flags & rpm_database.CONFIG and now and file.digest and now != file.digest)
    if edited:
        yield f"the content of {edited} configuration files edited on this host: edits are not damage"
