"""A Python environment: its interpreter, every file its distributions' RECORDs name, and what belongs to nobody.

`pip check` calls an environment fine whose modules are gone, and a distribution without RECORD is silently clean to
most tools (lab.md); here it is a finding. A RECORD is itself compared with the wheel in the plan's store, so that a
file changed together with its line is found. Byte code is not looked at: Python makes it anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from checks.pip_facts import (
    Distribution,
    EnvironmentData,
    RecordedFile,
    Seen,
    Site,
    collect,
    normal,
    parse,
    prefix_of,
)
from checks.pip_interpreter import interpreter_wrong
from checks.pip_strays import foreign, owned_by_makers
from checks.wheels import Wheel
from model.assets import PipAsset
from model.command import printable
from model.finding import CheckResult, Code, Degree, Finding, judged
from model.manifest import Entry

__all__ = ["collect", "judge", "parse", "wanted_mode"]

_CACHE = re.compile(r"/archive-v[0-9]+/")

Wrong = tuple[Code, str, str, str]
"""Code, subject, what is expected, what was found."""


def wanted_mode(seen: Seen, site: Site, prefix: str) -> int:
    """The mode a path of the environment should have: as readable as its site, a program below `bin`, nobody's prey.

    What holds keeps the mode it has; anything else gets the one an installer would give it.
    """
    read = (site.mode & 0o444) | 0o400
    inside = seen.type == "directory"
    runs = read >> 2 if inside or str(PurePosixPath(seen.path).parent) == f"{prefix}/bin" else 0
    least, never = read | runs, 0o4002 if inside else 0o6002
    if seen.mode & least == least and not seen.mode & never:
        return seen.mode
    return least | (site.mode & 0o220) | (read >> 2 if seen.mode & 0o100 else 0)


def judge(
    name: str,
    asset: PipAsset,
    data: EnvironmentData,
    *,
    wheels: Mapping[str, Wheel] | None = None,
    remarks: Sequence[str] = (),
    accepted: Sequence[Entry] = (),
) -> CheckResult:
    """Compare an environment with its RECORDs, and those with the wheels; nothing recorded at all is an error.

    Args:
        name: the asset's name.
        asset: the environment.
        data: the facts.
        wheels: the wheel a distribution came from, by its .dist-info folder.
        remarks: why some have none, for the record.
        accepted: what people accepted as it is, by its path: strays, modes and owners.
    """
    wheels = wheels or {}
    named = {normal(distribution) for distribution in asset.distributions}
    known = {entry.path: entry for entry in accepted}
    living, stale, torn = _living(data.distributions)
    present = [d for d in living if not named or normal(d.name) in named]
    wrong: list[tuple[Wrong, Distribution | None, Degree]] = [
        *((one, None, Degree.SERIOUS) for one in interpreter_wrong(asset, data)),
        *((one, owner, Degree.SERIOUS) for one, owner in _database_wrong(named, present, stale, torn)),
    ]
    strays = {stray.seen.path: stray.seen for stray in data.strays}
    for one in present:
        found = _distribution_wrong(one, wheels.get(one.info), strays, prefix_of(asset))
        wrong += [(difference, one, Degree.SERIOUS) for difference in found]
    wrong += _worn(data, present, wheels, prefix_of(asset), known)
    notes = [*remarks, *_not_checked(data, present, wheels), *owned_by_makers(data)]
    if named:
        notes.append("files that no RECORD names: the plan names single distributions")
    else:
        others = foreign(data, living, stale, wheels, prefix_of(asset), known)
        wrong += [(difference, None, degree) for difference, degree in others.findings]
        notes += others.notes
    findings: dict[tuple[Code, str], Finding] = {}
    for (code, subject, expected, actual), owner, degree in wrong:
        findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=asset.host, asset=name, subject=subject, degree=degree, expected=expected,
                actual=printable(actual), package=normal(owner.name) if owner else "",
                version=owner.version if owner else "",
            ),
        )  # fmt: skip
    return judged(
        "pip_environment", asset.host, name, sum(len(d.files) for d in present), tuple(findings.values()),
        "recorded files", tuple(notes),
    )  # fmt: skip


def _not_checked(
    data: EnvironmentData, present: Sequence[Distribution], wheels: Mapping[str, Wheel]
) -> Iterator[str]:
    unverified = [d.name for d in present if d.info not in wheels]
    if unverified:
        yield f"RECORD itself, where the store has no wheel: {', '.join(unverified[:5])}"
    if data.legacy:
        shown = ", ".join(one.name for one in data.legacy[:5])
        yield f"{len(data.legacy)} distributions without RECORD by design: {shown}"


def _database_wrong(
    named: set[str], present: Sequence[Distribution], stale: Pairs, torn: Pairs
) -> Iterator[tuple[Wrong, Distribution]]:
    for missing in sorted(named - {normal(d.name) for d in present}):
        absent = Distribution(missing, "", "", "", (), record=False)
        yield (Code.PACKAGE_NOT_INSTALLED, missing, "installed", "no such .dist-info folder"), absent
    for old, heir in stale:
        if not named or normal(old.name) in named:
            said = f"{old.version} as well"
            yield (Code.PACKAGE_STATE_BROKEN, old.info, f"one version, {heir.version}", said), old
    for one, other in torn:
        if not named or normal(one.name) in named:
            said = f"{one.version} and {other.version}, neither whole"
            yield (Code.PACKAGE_STATE_BROKEN, normal(one.name), "one version", said), one


def _worn(
    data: EnvironmentData, present: Sequence[Distribution], wheels: Mapping[str, Wheel], prefix: str,
    known: Mapping[str, Entry],
) -> Iterator[tuple[Wrong, Distribution, Degree]]:  # fmt: skip
    """Modes and owners of files and of the folders that hold them; folders that became links."""
    strays = {stray.seen.path: stray.seen for stray in data.strays}
    mine = {one.info: _held(one, wheels.get(one.info), strays, prefix) for one in present}
    owners = {
        str(path): one for one in reversed(present) for seen in mine[one.info]
        for path in (*PurePosixPath(seen.path).parents, seen.path)
    }  # fmt: skip
    folders = [folder for folder in data.folders if folder.path in owners]
    for folder in folders:
        if folder.type == "link":
            wrong = (Code.FILE_TYPE_DIFFERS, folder.path, "directory", f"link to {folder.link}")
            yield wrong, owners[folder.path], Degree.SERIOUS
    files = {seen.path: seen for held in mine.values() for seen in held}
    for wrong in _modes_wrong([*files.values(), *folders], data.sites, owners, prefix, known):
        yield wrong, owners[wrong[1]], Degree.SLIGHT if wrong[3] != "mode 0000" else Degree.SERIOUS


Pairs = list[tuple[Distribution, Distribution]]


def _living(distributions: Sequence[Distribution]) -> tuple[list[Distribution], Pairs, Pairs]:
    """The distributions that are installed, what an interrupted change left of others, and what nobody can tell."""
    groups: dict[tuple[str, str], list[Distribution]] = defaultdict(list)
    for one in distributions:
        groups[one.site, normal(one.name)].append(one)
    living: list[Distribution] = []
    stale: Pairs = []
    torn: Pairs = []
    for group in groups.values():
        heir, *rest = sorted(group, key=_whole, reverse=True)
        if rest and (_whole(heir) < 0.5 or _whole(heir) == _whole(rest[0])):
            living += group
            torn.append((heir, rest[0]))
            continue
        living.append(heir)
        stale += [(old, heir) for old in rest]
    return living, stale, torn


def _whole(one: Distribution) -> float:
    files = [file for file in one.files if file.wanted]
    return sum(file.seen.actual == file.wanted for file in files) / len(files) if files else 0.0


def _distribution_wrong(
    one: Distribution, wheel: Wheel | None, strays: Mapping[str, Seen], prefix: str
) -> Iterator[Wrong]:
    record = f"{one.info}/RECORD"
    lands = wheel.lands(one.site, prefix) if wheel else {}
    if not one.record:
        yield Code.RECORD_MISSING, record, "file", "absent"
    elif one.problem:
        yield Code.HASH_LIST_DIFFERS, record, "a whole list", one.problem
    recorded = {file.seen.path: file for file in one.files}
    # With uv's `--link-mode symlink` a file is a link into uv's cache, and what it leads to counts.
    linked = one.installer == "uv"
    lied: list[str] = []
    for path, file in recorded.items():
        right = lands.get(path, "") or file.wanted
        if right != file.wanted:
            lied.append(path)
        difference = _difference(RecordedFile(right, file.seen), linked)
        if difference is not None:
            yield difference[0], path, difference[1], difference[2]
    if wheel is not None:
        unnamed = [path for path, sha256 in lands.items() if sha256 and path not in recorded]
        for path in unnamed:
            difference = _difference(
                RecordedFile(lands[path], strays.get(path, Seen(path, "absent"))), linked
            )
            if difference is not None:
                yield difference[0], path, difference[1], difference[2]
        wrong = [*lied, *unnamed]
        if wrong and one.record and not one.problem:
            yield (
                Code.HASH_LIST_DIFFERS, record, f"the hashes of {wheel.path.name}",
                f"{len(wrong)} differ or are left out, first {PurePosixPath(wrong[0]).name}",
            )  # fmt: skip


def _difference(file: RecordedFile, linked: bool) -> tuple[Code, str, str] | None:
    seen = file.seen
    if seen.type == "absent":
        return Code.FILE_MISSING, "file", "absent"
    if seen.type != "file" and file.wanted and not (linked and _CACHE.search(seen.link)):
        link = f" to {seen.link}" if seen.type == "link" else ""
        return Code.FILE_TYPE_DIFFERS, "file", f"{seen.type}{link}"
    if seen.error and seen.type != "link":
        return Code.FILE_UNREADABLE, "readable", seen.error
    if file.wanted and seen.actual != file.wanted:
        return (
            Code.FILE_CONTENT_DIFFERS,
            "the hash its RECORD has" if file.wanted == "unreadable" else f"sha256 {file.wanted[:16]}…",
            f"sha256 {seen.actual[:16]}… ({seen.size} bytes)",
        )
    return None


def _held(one: Distribution, wheel: Wheel | None, strays: Mapping[str, Seen], prefix: str) -> list[Seen]:
    """The files of a distribution: what RECORD names, and what the wheel holds beyond a list that is cut off."""
    lands = wheel.lands(one.site, prefix) if wheel else {}
    return [*(file.seen for file in one.files), *(strays[path] for path in lands if path in strays)]


def _modes_wrong(
    paths: Sequence[Seen], sites: Sequence[Site], owners: Mapping[str, Distribution], prefix: str,
    accepted: Mapping[str, Entry],
) -> Iterator[Wrong]:  # fmt: skip
    known = {site.path: site for site in sites if not site.owned}
    for seen in paths:
        site = known.get(owners[seen.path].site)
        if site is None:
            continue
        if seen.type not in {"file", "directory"}:
            continue
        agreed = accepted.get(seen.path)
        right = wanted_mode(seen, site, prefix)
        if right != seen.mode and not (agreed and agreed.mode == seen.mode):
            yield Code.FILE_MODE_DIFFERS, seen.path, f"mode {right:04o}", f"mode {seen.mode:04o}"
        if seen.uid not in {0, site.uid} and not (
            agreed and (agreed.uid, agreed.gid) == (seen.uid, seen.gid)
        ):
            yield (
                Code.FILE_OWNER_DIFFERS, seen.path, f"owner {site.uid}:{site.gid}", f"owner {seen.uid}:{seen.gid}"
            )  # fmt: skip
