"""A Python environment: its interpreter, every file its distributions' RECORDs name, and what belongs to nobody.

`pip check` calls an environment fine whose modules are gone, and a distribution without RECORD is silently clean to
most tools (lab.md); here it is a finding. A RECORD is itself compared with the wheel in the plan's store, so that a file
changed together with its line is found. Byte code is not looked at: Python makes it anew.
"""

from __future__ import annotations

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
    wanted = {normal(distribution) for distribution in asset.distributions}
    findings: dict[tuple[Code, str], Finding] = {}
    known = {entry.path: entry for entry in accepted}

    def add(wrong: Wrong, owner: Distribution | None = None, degree: Degree = Degree.SERIOUS) -> None:
        code, subject, expected, actual = wrong
        findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=asset.host, asset=name, subject=subject, degree=degree, expected=expected,
                actual=printable(actual), package=normal(owner.name) if owner else "",
                version=owner.version if owner else "",
            ),
        )  # fmt: skip

    for wrong in interpreter_wrong(asset, data):
        add(wrong)
    living, stale = _living(data.distributions)
    present = [d for d in living if not wanted or normal(d.name) in wanted]
    for missing in sorted(wanted - {normal(d.name) for d in present}):
        absent = Distribution(missing, "", "", "", (), record=False)
        add((Code.PACKAGE_NOT_INSTALLED, missing, "installed", "no such .dist-info folder"), absent)
    for old, heir in stale:
        if not wanted or normal(old.name) in wanted:
            add(
                (
                    Code.PACKAGE_STATE_BROKEN,
                    old.info,
                    f"one version, {heir.version}",
                    f"{old.version} as well",
                ),
                old,
            )
    strays = {stray.seen.path: stray.seen for stray in data.strays}
    for one in present:
        for wrong in _distribution_wrong(one, (wheels or {}).get(one.info), strays, prefix_of(asset)):
            add(wrong, one)
    owners = {
        str(path): d for d in reversed(present) for file in d.files
        for path in (*PurePosixPath(file.seen.path).parents, file.seen.path)
    }  # fmt: skip
    for wrong in _modes_wrong(data, present, prefix_of(asset), known):
        add(wrong, owners.get(wrong[1]), Degree.SERIOUS if "0000" in wrong[3] else Degree.SLIGHT)
    notes = [*remarks]
    if wanted:
        notes.append("files that no RECORD names: the plan names single distributions")
    else:
        found = foreign(data, living, stale, wheels or {}, prefix_of(asset), known)
        for wrong, degree in found.findings:
            add(wrong, None, degree)
        notes += found.notes
    unverified = [d.name for d in present if d.info not in (wheels or {})]
    if unverified:
        notes.append(f"RECORD itself, where the store has no wheel: {', '.join(unverified[:5])}")
    if data.legacy:
        named = ", ".join(one.name for one in data.legacy[:5])
        notes.append(f"{len(data.legacy)} distributions without RECORD by design: {named}")
    notes += owned_by_makers(data)
    return judged(
        "pip_environment", asset.host, name, sum(len(d.files) for d in present), tuple(findings.values()),
        "recorded files", tuple(notes),
    )  # fmt: skip


def _living(
    distributions: Sequence[Distribution],
) -> tuple[list[Distribution], list[tuple[Distribution, Distribution]]]:
    """The distributions that are installed, and what an interrupted change left of others beside them."""
    groups: dict[tuple[str, str], list[Distribution]] = defaultdict(list)
    for one in distributions:
        groups[one.site, normal(one.name)].append(one)
    living: list[Distribution] = []
    stale: list[tuple[Distribution, Distribution]] = []
    for group in groups.values():
        heir = max(group, key=lambda d: (_whole(d), d.record, d.version))
        living.append(heir)
        stale += [(old, heir) for old in group if old is not heir]
    return living, stale


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
    # Where a link layout was chosen (uv's `--link-mode symlink`) every file is a link, and what it leads to counts.
    plain = [file for file in one.files if file.wanted]
    linked = one.installer == "uv" and sum(file.seen.type == "link" for file in plain) * 2 > len(plain)
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
    if seen.type != "file" and file.wanted and not (linked and seen.type == "link"):
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


def _modes_wrong(
    data: EnvironmentData, present: Sequence[Distribution], prefix: str, accepted: Mapping[str, Entry]
) -> Iterator[Wrong]:
    sites = {site.path: site for site in data.sites}
    inside = {d.site for d in present}
    paths = [(file.seen, sites[d.site]) for d in present for file in d.files if d.site in sites]
    for folder in data.folders:
        above = next((s for p, s in sites.items() if folder.path.startswith(f"{p}/") and p in inside), None)
        if above is not None:
            paths.append((folder, above))
    for seen, site in paths:
        if seen in data.folders and seen.type not in {"directory", "absent"}:
            link = f" to {seen.link}" if seen.type == "link" else ""
            yield Code.FILE_TYPE_DIFFERS, seen.path, "directory", f"{seen.type}{link}"
        if seen.type not in {"file", "directory"} or site.owned:
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
