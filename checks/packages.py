"""Debian packages: is every delivered file there, with its content, type, mode and owner, and every package whole?

`dpkg --verify` looks at MD5 and absence only; `chmod 0`, a wrong owner and a file that became a link pass it (lab.md).
Modes, owners, link targets and capabilities are compared with a baseline recorded while the host was healthy. Without
one, only what no healthy Debian has is found. What else is looked at: `checks.hash_lists`, `checks.alternatives`,
`checks.strangers`. Differences a person accepted (`model.accepted`) are no damage as long as they stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from checks import alternatives, hash_lists
from checks.compare import degree
from checks.dpkg import Database, Package
from checks.hash_lists import Delivered
from checks.many import making_many
from checks.package_facts import PackagesData, collect, named, whole
from checks.package_guess import CAPABILITIES
from checks.package_rules import Owned, Rules, same, wrong
from model.accepted import Accepted
from model.assets import DpkgAsset
from model.finding import ACCEPTED_CONTENT, CheckResult, Code, Degree, Finding, judged
from model.manifest import Entry, FileType

__all__ = ["CAPABILITIES", "PackagesData", "collect", "judge"]


@dataclass
class _Case:
    """What is judged, by what, and what was found so far."""

    name: str
    asset: DpkgAsset
    data: PackagesData
    known: Mapping[str, Entry]
    marked: Mapping[str, tuple[str, str]]
    agreed: Mapping[str, Accepted]
    settled: frozenset[str]
    findings: dict[tuple[Code, str], Finding] = field(default_factory=dict)
    distrusted: set[str] = field(default_factory=set)
    mislisted: set[str] = field(default_factory=set)
    cut: bool = False

    @property
    def root(self) -> str:
        return self.asset.root.rstrip("/")

    @property
    def capabilities(self) -> bool:
        return CAPABILITIES in self.known and self.data.capable

    @cached_property
    def rules(self) -> Rules:
        data = self.data
        parents = frozenset(place.rpartition("/")[0] for _, place, _ in data.owned)
        return Rules(data.database, data.root == "/" and not data.rootless, parents, self.capabilities)

    def add(
        self, code: Code, subject: str, expected: str, actual: str, package: Package | None,
        grade: Degree = Degree.SERIOUS,
    ) -> None:  # fmt: skip
        self.findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=self.asset.host, asset=self.name, subject=subject, degree=grade, expected=expected,
                actual=actual, package=package.name if package else "", version=package.version if package else "",
            ),
        )  # fmt: skip


@making_many
def judge(
    name: str,
    asset: DpkgAsset,
    data: PackagesData,
    baseline: Sequence[Entry] = (),
    *,
    accepted: Sequence[Accepted] = (),
    delivered: Delivered | None = None,
) -> CheckResult:
    """Compare the facts with the database and, where there is one, the baseline. Edited conffiles are not damage.

    Args:
        name: of the asset.
        asset: the asset.
        data: what was found.
        baseline: recorded while the host was healthy.
        accepted: differences a person accepted.
        delivered: hashes from the packages themselves, where the plan's store holds them.
    """
    known = {entry.path: entry for entry in baseline}
    agreed = {one.entry.path: one for one in accepted}
    case = _Case(
        name, asset, data, known, hash_lists.recorded(data.database.packages, baseline), agreed,
        frozenset(path for path, one in agreed.items() if _as_accepted(data, path, one)),
    )  # fmt: skip
    for subject, expected, actual, package, code in _states(asset, data.database):
        case.add(code, subject, expected, actual, package)
    _judge_lists(case, delivered)
    as_recorded, trusted = data.facts.same, case.marked.keys() - case.distrusted
    for owned in data.owned:
        package, _, place = owned
        # Nearly every path is as the baseline says.
        if place not in as_recorded or package.name not in trusted:
            _judge_path(case, owned, known.get(place) if package.name in case.marked else None)
    if not asset.packages:
        _judge_alternatives(case)
        _judge_strangers(case)
    return judged(
        "packages", asset.host, name, len(data.facts), tuple(case.findings.values()), "files of packages",
        tuple(_not_checked(case)),
    )  # fmt: skip


def _judge_path(case: _Case, owned: Owned, entry: Entry | None) -> None:
    package, path, place = owned
    fact = case.data.facts[place]
    distrusted = package.name in case.distrusted
    if place in case.settled or (entry and not distrusted and same(entry, fact, case.capabilities)):
        return
    unnamed = entry is None and path not in package.md5sums and path not in package.kept
    if unnamed and package.name in case.mislisted and fact.type is FileType.ABSENT:
        return  # half a name at the end of a list that was cut names nothing
    for code, expected, actual in wrong(case.rules, owned, fact, entry, distrusted):
        case.add(code, place, expected, actual, package, degree(code, path))
    one = case.agreed.get(place)
    delivered = package.conffiles.get(path)
    if one and delivered and fact.md5 != delivered and fact.sha256 not in {"", one.entry.sha256}:
        expected = f"{ACCEPTED_CONTENT} ({one.person}, {one.at:%Y-%m-%d})"
        case.add(
            Code.FILE_CONTENT_DIFFERS, place, expected, f"sha256 {fact.sha256[:16]}…", package, Degree.SLIGHT
        )


def _judge_lists(case: _Case, delivered: Delivered | None) -> None:
    """The lists and hashes themselves: what they say of their paths counts only when they are whole."""
    places: dict[str, dict[str, str]] = {}
    for package, path, place in case.data.owned:
        if package.name not in case.marked:
            places.setdefault(package.name, {})[path] = place
    for package in case.data.database.packages.values():
        if not whole(package) or not package.paths or not named(package, case.asset):
            continue
        here = places.get(package.name, {})
        mark = case.marked.get(package.name)
        for which, expected, actual in hash_lists.judge(package, case.data.facts, here, mark, delivered):
            subject = f"{case.root}/var/lib/dpkg/info/{package.stem}.{which}"
            case.add(Code.HASH_LIST_DIFFERS, subject, expected, actual, package)
            if which == "md5sums":
                case.distrusted.add(package.name)
            else:
                case.mislisted.add(package.name)
                case.cut = case.cut or mark is None


def _judge_alternatives(case: _Case) -> None:
    wrong_links = list(alternatives.judge(case.data.database, case.data.facts, case.root))
    owners = {owned.path: owned.package for owned in case.data.owned} if wrong_links else {}
    for broken in wrong_links:
        if broken.path not in case.settled:
            # A link is put right by itself; a lost record is written again by the package of what it chose.
            package = None if broken.target else owners.get(broken.owner)
            expected = f"link to {broken.target}" if broken.target else alternatives.RECORD
            grade = degree(Code.ALTERNATIVE_BROKEN, broken.path)
            case.add(Code.ALTERNATIVE_BROKEN, broken.path, expected, broken.actual, package, grade)


def _judge_strangers(case: _Case) -> None:
    if not case.data.strangers:
        return
    owners = {owned.path: owned.package for owned in case.data.owned}
    for path, fact in case.data.strangers.items():
        if case.cut or path in case.settled or fact.type is FileType.ABSENT:
            continue
        if fact.type is FileType.LINK and fact.link.startswith(f"{alternatives.FOLDER}/"):
            group = fact.link.rpartition("/")[2]
            record, chosen = (
                f"{case.root}/var/lib/dpkg/alternatives/{group}",
                case.data.database.chosen.get(group, ""),
            )
            case.add(Code.ALTERNATIVE_BROKEN, record, alternatives.RECORD, "absent", owners.get(chosen))
            continue
        what = f"link to {fact.link}" if fact.type is FileType.LINK else str(fact.type)
        said = f"{what}, sha256 {fact.sha256[:16]}…" if fact.sha256 else what
        case.add(Code.FILE_FOREIGN, path, "absent: no package delivers it", said, None)


def _as_accepted(data: PackagesData, path: str, one: Accepted) -> bool:
    fact = data.facts.get(path) or (data.strangers or {}).get(path)
    if fact is None or fact.type is FileType.ABSENT:
        return one.entry.type is FileType.ABSENT
    return same(one.entry, fact, fact.capabilities is not None)


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
        if not named(package, asset) or package.state in {"config-files", "not-installed"}:
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


def _not_checked(case: _Case) -> Iterator[str]:
    data, names = case.data, {package.name for package, _, _ in case.data.owned}
    without = len(names - set(case.marked))
    if without:
        yield (
            f"modes, owners and link targets of {without} of {len(names)} packages: no baseline of their version; "
            "only unreadable, world-writable and not root-owned system files were looked for"
        )
    if case.marked and not case.capabilities:
        yield "file capabilities: the host has no Python that could be asked, or the baseline was recorded without it"
    if not case.asset.packages and (data.strangers is None or case.cut):
        yield "files that belong to nobody: the list of a package's files, or its entry, is damaged"
    if data.skipped:
        yield f"{data.skipped} paths left out by dpkg's path excludes and the plan's `ignore`"
    edited = 0
    for package, path, place in data.owned:
        if path in package.conffiles and place not in case.settled:
            now = data.facts[place].md5
            edited += bool(now and now != package.conffiles[path])
    if edited:
        yield f"the content of {edited} configuration files edited on this host: edits are not damage"
    if case.settled:
        yield f"{len(case.settled)} differences that people accepted, as they were accepted: {_first(case.settled)}"


def _first(paths: frozenset[str], most: int = 5) -> str:
    shown = ", ".join(sorted(paths)[:most])
    return f"{shown} …" if len(paths) > most else shown
