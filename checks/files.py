"""A file set against the manifest of its recovery point: missing, content, type, link, mode, owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blocks.hosts.base import Connection
from checks import hard_links, stat
from checks.compare import degree, differences, moment
from checks.stat import Digests, Expected, Fact, Screen, excluded
from model.assets import FilesAsset
from model.finding import CheckResult, Code, Finding, judged
from model.manifest import Entry, FileType, Manifest, absolute

SETTLED_NS = 2_000_000_000
"""How long before the look a file must have been changed last for a screen to know it again."""


@dataclass(frozen=True, slots=True)
class FileSetData:
    """Facts about a file set.

    Attributes:
        facts: by absolute path, of those that were not found as the manifest says.
        extra: how many paths are there and not in the manifest.
        same: entries found as the manifest says, by absolute path.
    """

    facts: Mapping[str, Fact]
    extra: int = 0
    same: Mapping[str, Entry] = field(default_factory=dict)


def collect(
    connection: Connection,
    asset: FilesAsset,
    manifest: Manifest,
    screen: Screen | None = None,
    progress: stat.Tell | None = None,
) -> FileSetData:
    """Look at everything the manifest names, and count what it does not name.

    Args:
        connection: the host.
        asset: the file set.
        manifest: what it should be.
        screen: what need not be read again; None: every byte is read.
        progress: told (paths looked at, paths in all).

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's tools are missing or damaged.
    """
    entries = _entries(asset, manifest)
    wanted = [absolute(asset.path, entry.path) for entry in entries]
    expected = Expected(_plain(asset.path, entries)) if screen is None else None  # a screen wants all facts
    digests: dict[str, Digests] = {
        path: "xxh128" if asset.digest == "xxh128" and entry.xxh128 else "sha256"
        for path, entry in zip(wanted, entries, strict=True)
    }
    facts = stat.collect(
        connection, wanted, digests, expected=expected, more=True, screen=screen, progress=progress
    )
    there = stat.list_tree(connection, asset.path, asset.exclude) if _present(facts, asset) else []
    same = expected.same if expected is not None else {}
    return FileSetData(facts, len(set(there) - set(wanted)), same)


def _plain(root: str, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Files that have one name each, and whose attributes are known, by absolute path."""
    several = {entry.same_as for entry in entries if entry.same_as}
    return {
        absolute(root, entry.path): entry
        for entry in entries
        if entry.type is FileType.FILE
        and entry.attributes is not None
        and not entry.same_as
        and entry.path not in several
    }


def recorded(asset: FilesAsset) -> Digests:
    """What a backup of a file set records of contents."""
    return "sha256+xxh128" if asset.digest == "xxh128" else "sha256"


def collect_tree(
    connection: Connection, root: str, exclude: Sequence[str] = (), digests: Digests = "sha256"
) -> list[Entry]:
    """Everything at and below `root` as a manifest's entries, relative to it (`.` first), sorted by path.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's tools are missing or damaged.
    """
    facts = stat.collect(connection, stat.list_tree(connection, root, exclude), digests, more=True)
    skip = len(root.rstrip("/")) + 1
    same = hard_links.firsts(facts.values())
    entries = [
        fact.entry(fact.path[skip:] or ".").model_copy(update={"same_as": same.get(fact.path, "")[skip:]})
        for fact in facts.values()
        if fact.type is not FileType.ABSENT
    ]
    return sorted(entries, key=lambda entry: entry.path)


def judge(name: str, asset: FilesAsset, data: FileSetData, manifest: Manifest) -> CheckResult:
    """Compare with the manifest. Files the manifest does not name are no damage: they are newer than the backup.

    A file that was changed after the recovery point is found too, and says so: whether the change was wanted is for the
    people who sign to decide.
    """
    findings: list[Finding] = []
    entries = _entries(asset, manifest)
    doubted = [entry for entry in entries if absolute(asset.path, entry.path) not in data.same]
    several = {entry.same_as for entry in doubted if entry.same_as}
    linked = [
        entry
        for entry in doubted
        if entry.same_as or entry.path in several or data.facts[absolute(asset.path, entry.path)].names > 1
    ]
    broken = dict(hard_links.differences(_placed(asset.path, linked), data.facts))
    taken = int(manifest.taken_at.timestamp() * 1_000_000_000)
    for entry in doubted:
        path = absolute(asset.path, entry.path)
        fact = data.facts[path]
        newer = fact.type is FileType.FILE and fact.mtime_ns > taken
        of_links = [broken[path]] if path in broken else []
        for code, expected, actual in (*differences(entry, fact), *of_links):
            note = ""
            if newer and code is Code.FILE_CONTENT_DIFFERS:
                note = (
                    f"Written {moment(fact.mtime_ns)}, after the recovery point: it may be a wanted change."
                )
            findings.append(
                Finding(
                    code=code, host=asset.host, asset=name, subject=path, degree=degree(code, path),
                    expected=expected, actual=actual, detail=note,
                )
            )  # fmt: skip
    notes = []
    if data.extra:
        notes.append(f"{data.extra} paths that recovery point {manifest.point} does not hold: they are newer")
    known = any(entry.attributes is not None for entry in entries)
    if known and not data.same and all(fact.attributes is None for fact in data.facts.values()):
        notes.append(
            "extended attributes, access control lists and hard links: the host has no working python3"
        )
    return judged("files", asset.host, name, len(entries), tuple(findings), "paths", tuple(notes))


def check(
    connection: Connection, name: str, asset: FilesAsset, manifest: Manifest, screen: Screen | None, progress: stat.Tell
) -> CheckResult:  # fmt: skip
    """Collect and judge; what is whole is put into the screen."""
    data = collect(connection, asset, manifest, screen, progress)
    result = judge(name, asset, data, manifest)
    if screen is not None:
        screen.whole = unharmed(data, result, screen.clock_ns)
    return result


def unharmed(data: FileSetData, result: CheckResult, clock_ns: int) -> dict[str, Fact]:
    """What a screen may know from now on: files found whole that nobody had changed just before they were read.

    A file changed within the same tick of the host's clock as it was read would keep its ctime.
    """
    wrong = {finding.subject for finding in result.findings}
    return {
        path: fact
        for path, fact in data.facts.items()
        if path not in wrong
        and (fact.sha256 or fact.xxh128)
        and fact.file is not None
        and fact.ctime_ns < clock_ns - SETTLED_NS
    }


def _placed(root: str, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Entries by path on the host."""
    return {
        absolute(root, e.path): e.model_copy(update={"same_as": absolute(root, e.same_as)})
        if e.same_as
        else e
        for e in entries
    }


def _entries(asset: FilesAsset, manifest: Manifest) -> list[Entry]:
    return [e for e in manifest.entries if e.path == "." or not excluded(e.path, asset.exclude)]


def _present(facts: Mapping[str, Fact], asset: FilesAsset) -> bool:
    root = facts.get(asset.path)
    return root is None or root.type is not FileType.ABSENT
