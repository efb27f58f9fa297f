"""The baseline: what an asset's packages look like while healthy, and what a person may accept as different.

Recorded automatically, it leaves out whatever differs: damage never becomes the measure. A difference counts as wanted
only when a person accepts it, by path, with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blocks.hosts.base import Connection
from checks import hash_lists
from checks.fact import Fact
from checks.package_guess import OTHERS
from checks.package_rules import Rules, wrong
from checks.packages import CAPABILITIES, PackagesData, collect, judge
from model.accepted import Accepted
from model.assets import DpkgAsset
from model.finding import Code
from model.manifest import Entry, FileType

ACCEPTABLE = frozenset(
    {
        Code.FILE_MISSING, Code.FILE_CONTENT_DIFFERS, Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS,
        Code.FILE_TYPE_DIFFERS, Code.FILE_LINK_DIFFERS, Code.FILE_CAPABILITIES_DIFFER, Code.FILE_FOREIGN,
        Code.CONFFILE_MISSING, Code.ALTERNATIVE_BROKEN,
    }
)  # fmt: skip
"""A path may be meant to be as it is; a package that is not whole or a hash list that lies is never meant."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path that differs from its package, and how; a person may accept it."""

    entry: Entry
    codes: tuple[Code, ...]
    package: str
    sentence: str


def record(connection: Connection, asset: DpkgAsset) -> tuple[Entry, ...]:
    """What the packages' files are now, to be kept off the host while it is healthy.

    A file that differs from its package, or that breaks the rules for system files, is left out.

    Raises:
        Transient: the connection was lost. PreconditionFailed: see `checks.packages.collect`.
    """
    return healthy(collect(connection, asset, digests="both"))


def healthy(data: PackagesData) -> tuple[Entry, ...]:
    """Entries for every path that is as it should be, and the fingerprints of the packages' lists."""
    parents = frozenset(owned.path.rpartition("/")[0] for owned in data.owned)
    rules = Rules(data.database, data.root == "/" and not data.rootless, parents)
    entries: dict[str, Entry] = {}
    for owned in data.owned:
        fact = data.facts[owned.place]
        if fact.type in {FileType.ABSENT, FileType.OTHER} or fact.error:
            continue
        if not wrong(rules, owned, fact, None):
            entries[owned.place] = fact.entry()
    for package in {owned.package.name: owned.package for owned in data.owned}.values():
        entries |= {mark.path: mark for mark in hash_lists.marks(package)}
    delivered = {owned.place for owned in data.owned}
    for path in data.facts:
        if path not in delivered:
            entries[OTHERS + path] = Entry(path=OTHERS + path, type=FileType.OTHER)
    if data.capable:
        entries[CAPABILITIES] = Entry(path=CAPABILITIES, type=FileType.OTHER)
    return tuple(sorted(entries.values(), key=lambda entry: entry.path))


def candidates(
    connection: Connection,
    name: str,
    asset: DpkgAsset,
    baseline: Sequence[Entry],
    accepted: Sequence[Accepted],
) -> Iterator[Candidate]:
    """Every path that differs from its package today and is not accepted as it is, edited configuration included.

    Raises:
        Transient: the connection was lost. PreconditionFailed: see `checks.packages.collect`.
    """
    data = collect(connection, asset, baseline, "both", accepted=accepted)
    result = judge(name, asset, data, baseline, accepted=accepted)
    facts = {**data.facts, **(data.strangers or {})}
    by_path: dict[str, list[Code]] = {}
    for finding in result.findings:
        if finding.code in ACCEPTABLE and finding.subject in facts:
            by_path.setdefault(finding.subject, []).append(finding.code)
    owners = {owned.place: owned.package for owned in data.owned}
    agreed = {one.entry.path: one.entry for one in accepted}
    for owned in data.owned:
        now, place = facts[owned.place], owned.place
        delivered = owned.package.conffiles.get(owned.path)
        edited = delivered and now.md5 and now.md5 != delivered
        if edited and place not in by_path and (place not in agreed or agreed[place].sha256 != now.sha256):
            by_path[place] = []
    for path, codes in sorted(by_path.items()):
        owner = owners.get(path)
        said = ", ".join(codes) or "edited configuration file"
        yield Candidate(_entry(facts[path]), tuple(codes), owner.name if owner else "", f"{path}: {said}")


def _entry(fact: Fact) -> Entry:
    return fact.entry() if fact.type is not FileType.ABSENT else Entry(path=fact.path, type=FileType.ABSENT)
