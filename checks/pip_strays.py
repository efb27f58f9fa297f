"""What is in site-packages and belongs to no distribution: told apart by facts, never by a list of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from checks.pip_facts import Distribution, EnvironmentData, Seen, Stray
from checks.wheels import BOOKKEEPING, Wheel
from model.finding import Code, Degree
from model.manifest import Entry

MAKERS = ("uv", "virtualenv")
"""Keys of pyvenv.cfg by which a maker of environments names itself; both put `_virtualenv.pth` there."""

Wrong = tuple[Code, str, str, str]


@dataclass(frozen=True)
class Foreign:
    """What was found, and what could not be told."""

    findings: tuple[tuple[Wrong, Degree], ...]
    notes: tuple[str, ...] = ()


def foreign(
    data: EnvironmentData,
    living: Sequence[Distribution],
    stale: Sequence[tuple[Distribution, Distribution]],
    wheels: Mapping[str, Wheel],
    prefix: str,
    accepted: Mapping[str, Entry],
) -> Foreign:
    """The topmost paths of a site that nothing accounts for: a file, or a whole folder.

    Args:
        data: the facts.
        living: the installed distributions.
        stale: left-overs of others, each with the one that lives; their own files belong to nobody.
        wheels: the wheel a distribution came from, by its .dist-info folder.
        prefix: the environment's folder.
        accepted: what people accepted as it is.
    """
    known = {file.seen.path for one in living for file in one.files}
    blind: list[str] = []
    extra: dict[str, Seen] = {}
    for one in living:
        if one.info in wheels:
            lands = wheels[one.info].lands(one.site, prefix)
            mine = {file.seen.path: file.seen for file in one.files}
            made = {f"{one.info}/{name}" for name in BOOKKEEPING}
            # Named by an altered RECORD to pass as its own; what an installer makes outside the site is not judged.
            extra |= {
                path: seen for path, seen in mine.items()
                if path not in lands and path not in made and path.startswith(f"{one.site}/") and seen.type != "absent"
            }  # fmt: skip
            known |= lands.keys() | made
        elif not one.record or one.problem:
            blind.append(one.name)
            known.add(f"{one.info}/RECORD")
    known -= extra.keys()
    left = {
        file.seen.path: file.seen for old, _ in stale for file in old.files
        if file.seen.type != "absent" and file.seen.path not in known
    }  # fmt: skip
    gone = {old.info for old, _ in stale}
    strays = [
        *(stray for stray in data.strays if not _accounted(stray, data)),
        *(Stray("", seen) for seen in (extra | left).values()),
    ]
    agreed = {
        stray.seen.path for stray in strays
        if (entry := accepted.get(stray.seen.path)) is not None and _same(entry, stray.seen)
    }  # fmt: skip
    open_ = [
        stray for stray in strays
        if stray.seen.path not in known | agreed and not any(stray.seen.path.startswith(f"{info}/") for info in gone)
    ]  # fmt: skip
    if blind:
        # Without its list nobody can say what belongs to it: only what is not below its own folders is judged.
        tops = tuple(name.replace("-", "_").lower() for name in blind)
        open_ = [stray for stray in open_ if not _below(stray.seen.path, data, tops, blind, living)]
    note = f"files that no RECORD names, below the folders of {', '.join(blind[:5])}" if blind else ""
    return Foreign(tuple(_topmost(open_, known | agreed, data)), (note,) if note else ())


def owned_by_makers(data: EnvironmentData) -> Iterator[str]:
    """What the maker of the environment put there, which nothing holds a hash of."""
    paths = [s.seen.path for s in data.strays if _maker(s.seen.path, data)]
    if paths:
        yield f"content of {', '.join(PurePosixPath(path).name for path in paths)}, which its maker put there"


def _accounted(stray: Stray, data: EnvironmentData) -> bool:
    path = stray.seen.path
    if _maker(path, data):
        return True
    if any(path == own or path.startswith((f"{own}/", f"{own}.")) for one in data.legacy for own in one.owns):
        return True
    name = PurePosixPath(path)
    if name.suffix == ".pth" and str(name.parent) in {site.path for site in data.sites}:
        # setuptools' list of folders in development: each line is a folder that an .egg-link leads to, nothing runs.
        lines = [line.strip() for line in stray.text.splitlines() if line.strip()]
        develop = {one.develop.rstrip("/") for one in data.legacy if one.develop}
        eggs = {f"./{one.name}" for one in data.legacy if one.name.endswith(".egg")}
        return bool(lines) and all(line.rstrip("/") in develop or line in eggs for line in lines)
    return False


def _maker(path: str, data: EnvironmentData) -> bool:
    """`_virtualenv.pth` imports `_virtualenv.py` and nothing else, in an environment whose maker does that."""
    if data.config is None or not any(maker in data.config.keys for maker in MAKERS):
        return False
    site = next(
        (s.path for s in data.sites if path in {f"{s.path}/_virtualenv.pth", f"{s.path}/_virtualenv.py"}), ""
    )
    texts = [s.text for s in data.strays if s.seen.path == f"{site}/_virtualenv.pth"]
    return bool(site) and [text.strip() for text in texts] == ["import _virtualenv"]


def _same(entry: Entry, seen: Seen) -> bool:
    return (entry.type.value, entry.sha256, entry.link) == (
        seen.type, seen.actual if seen.type == "file" else "", seen.link
    )  # fmt: skip


def _below(
    path: str,
    data: EnvironmentData,
    tops: Sequence[str],
    blind: Sequence[str],
    living: Sequence[Distribution],
) -> bool:
    """Whether a path may belong to a distribution whose list is lost: by its top folder's or module's name."""
    site = next((s.path for s in data.sites if path.startswith(f"{s.path}/")), "")
    top = path[len(site) + 1 :].partition("/")[0]
    infos = {PurePosixPath(d.info).name for d in living if d.name in blind}
    return top in infos or top.partition(".")[0].lower() in tops


def _topmost(
    strays: Sequence[Stray], known: set[str], data: EnvironmentData
) -> Iterator[tuple[Wrong, Degree]]:
    homes = {str(parent) for path in known for parent in PurePosixPath(path).parents}
    sites = {site.path for site in data.sites}
    groups: dict[str, list[Stray]] = {}
    for stray in strays:
        top = stray.seen.path
        for parent in map(str, PurePosixPath(stray.seen.path).parents):
            if parent in homes or parent in sites:
                break
            top = parent
        groups.setdefault(top, []).append(stray)
    for top, group in groups.items():
        alone = group[0].seen.path == top
        kind = (
            group[0].seen.type
            if alone
            else f"a folder with {len(group)} file{'s' if len(group) != 1 else ''}"
        )
        runs = any(_runs(stray, sites) for stray in group)
        said = f"{kind}{', which Python runs or imports' if runs else ''}"
        yield (Code.FILE_FOREIGN, top, "nothing", said), Degree.SERIOUS if runs else Degree.SLIGHT


def _runs(stray: Stray, sites: set[str]) -> bool:
    """Whether Python runs it at every start, or when something imports its name."""
    name = PurePosixPath(stray.seen.path)
    return name.suffix in {".py", ".pyc", ".so"} or (name.suffix == ".pth" and str(name.parent) in sites) or (
        stray.seen.type == "link" and not name.suffix
    )  # fmt: skip
