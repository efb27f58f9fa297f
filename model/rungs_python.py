"""The rungs for Python environments: interpreter, strays, distributions, modes; in that order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from model.assets import DpkgAsset, PipAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.outcome import Stage
from model.proposal import (
    RebuildInterpreter,
    ReinstallDistribution,
    ReinstallPackage,
    Rung,
    SetAside,
    SetMetadata,
)
from model.supplies import TreeSupply

_DRESS = frozenset({Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS})


def environment(draft: Draft, name: str, asset: PipAsset, wrong: Sequence[Finding]) -> None:
    """A Python environment: each part by the least that cures it, offline.

    The interpreter comes first, as what follows runs with it. Strays go before any installer of the environment starts,
    because Python runs some of them at every start. The same version of each damaged distribution follows, then modes.
    """
    programs = PurePosixPath(asset.python).parent
    broken = [f for f in wrong if f.code is Code.TOOL_BROKEN]
    interpreter = [
        f for f in wrong
        if not f.package and f not in broken
        and (f.subject == f"{programs.parent}/pyvenv.cfg" or PurePosixPath(f.subject).parent == programs)
    ]  # fmt: skip
    _interpreter(draft, name, asset, interpreter)
    _base(draft, asset, broken)
    strays = [f for f in wrong if f.code is Code.FILE_FOREIGN or _left_over(f)]
    torn = [f for f in wrong if f.code is Code.PACKAGE_STATE_BROKEN and f not in strays]
    for finding in torn:
        draft.miss(
            finding,
            "two versions are recorded and the files are of neither",
            "decide which one is wanted, remove the other .dist-info folder by hand, then start again",
        )
    dealt = {f.id for f in (*broken, *interpreter, *strays, *torn)}
    damaged = [f for f in wrong if f.id not in dealt and f.code not in _DRESS]
    supplied = {(s.distribution, s.version) for s in draft.supplies.wheels if s.asset == name}
    in_the_way = [
        f for f in damaged if f.code is Code.FILE_TYPE_DIFFERS and (f.package, f.version) in supplied
    ]  # fmt: skip
    _aside(draft, name, asset, strays, in_the_way)
    by_package: dict[str, list[Finding]] = {}
    for finding in damaged:
        by_package.setdefault(finding.package, []).append(finding)
    for distribution, findings in sorted(by_package.items()):
        _distribution(draft, name, asset, distribution, findings)
    worse = {f.subject for f in damaged if f.id in draft.cured()}
    _dress(draft, name, asset, [f for f in wrong if f.code in _DRESS and f.id not in dealt], worse)


def _left_over(finding: Finding) -> bool:
    return finding.code is Code.PACKAGE_STATE_BROKEN and finding.subject.endswith(".dist-info")


def _interpreter(draft: Draft, name: str, asset: PipAsset, wrong: Sequence[Finding]) -> None:
    if not wrong:
        return
    supply = next((s for s in draft.supplies.interpreters if s.asset == name), None)
    if supply is None:
        for finding in wrong:
            draft.miss(
                finding,
                "no interpreter of the environment's version runs on the host",
                "repair or install the packages of that Python, then start again",
            )
        return
    paths = [entry.path for entry in supply.links] + ([supply.config_path] if supply.config else [])
    said = (
        " Whether it sees the system's packages was lost with pyvenv.cfg: it does not, unless the file still says so."
        if supply.config
        else ""
    )
    draft.actions.append(
        RebuildInterpreter(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
            reason=f"Damaged: {counted(len(wrong), 'part')} of the environment. They are made anew from {supply.base}, "
            f"which is Python {supply.version} as before; distributions stay as they are.{said}",
            undo="Links and pyvenv.cfg go back to the snapshot.", touches=tuple(sorted(paths)),
            minutes=minutes(0.05, 0), findings=tuple(f.id for f in wrong), base=supply.base, version=supply.version,
            links=supply.links, config_path=supply.config_path, config=supply.config, uid=supply.uid, gid=supply.gid,
        )
    )  # fmt: skip


def _base(draft: Draft, asset: PipAsset, broken: Sequence[Finding]) -> None:
    """The base interpreter belongs to the system: the package that holds it cures it, if the plan has that."""
    for finding in broken:
        holder = next(
            (
                n for n, action in enumerate(draft.actions)
                if isinstance(action, ReinstallPackage) and action.host == asset.host
                and isinstance(draft.plan.assets[action.asset], DpkgAsset) and finding.subject in action.touches
            ),
            None,
        )  # fmt: skip
        if holder is None:
            draft.miss(
                finding,
                "the interpreter itself does not run, and no wheel brings it back",
                "repair the packages the interpreter belongs to, then start again",
            )
        else:
            action = draft.actions[holder]
            draft.actions[holder] = action.model_copy(update={"findings": (*action.findings, finding.id)})


def _aside(
    draft: Draft, name: str, asset: PipAsset, strays: Sequence[Finding], in_the_way: Sequence[Finding]
) -> None:
    trees = {s.path: s for s in draft.supplies.trees if s.asset == name}
    for finding in (*strays, *in_the_way):
        if finding.subject not in trees and finding in strays:
            draft.miss(finding, "it could not be looked at", "look at it on the host, and remove it by hand")
    moved: list[TreeSupply] = [trees[f.subject] for f in (*strays, *in_the_way) if f.subject in trees]
    if not moved:
        return
    # What is below another one moves with it.
    paths = sorted({tree.path for tree in moved})
    tops = [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]
    cured = [f.id for f in strays if f.subject in trees]
    draft.actions.append(
        SetAside(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
            reason=f"{counted(len(tops), 'path')} of the environment belong to no distribution or stand in the way of "
            "one. They are moved into a quarantine on the host, not deleted; if one is right, deny, and accept it "
            "in the baseline.",
            undo="They go back to where the snapshot has them.",
            touches=tuple(sorted({path for tree in moved for path in tree.touches})), minutes=minutes(0.05, 0),
            findings=tuple(cured), paths=tuple(tops),
        )
    )  # fmt: skip


def _distribution(
    draft: Draft, name: str, asset: PipAsset, distribution: str, damaged: Sequence[Finding]
) -> None:
    version = damaged[0].version
    supply = next(
        (
            s
            for s in draft.supplies.wheels
            if (s.asset, s.distribution, s.version) == (name, distribution, version)
        ),
        None,
    )  # fmt: skip
    if supply is None:
        for finding in damaged:
            draft.miss(finding, *_no_wheel(draft, distribution, version, asset.store))
        return
    how = {
        "pip": "pip installs the same version again, offline",
        "uv": "uv installs the same version again, offline",
        "unpack": "The same version is unpacked again, offline and without pip",
    }[supply.tool]
    draft.actions.append(
        ReinstallDistribution(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
            reason=f"Damaged: {counted(len(damaged), 'thing')} of {distribution}. {how}, "
            "so that RECORD and files agree.",
            undo="Every file of the distribution goes back to the snapshot.",
            touches=tuple(sorted({*supply.touches, *(f.subject for f in damaged if f.subject.startswith("/"))})),
            bytes=supply.bytes, minutes=minutes(0.2, supply.bytes), findings=tuple(f.id for f in damaged),
            distribution=distribution, version=supply.version, filename=supply.filename, sha256=supply.sha256,
            tool=supply.tool,
        )
    )  # fmt: skip


def _no_wheel(draft: Draft, distribution: str, version: str, store: str) -> tuple[str, str]:
    if not version:
        return (
            "which version was installed is not known",
            f"install the wanted version of {distribution} by hand, or take it out of the plan",
        )
    stem = f"{distribution.replace('-', '_')}-{version}-"
    remark = next((r for r in draft.supplies.remarks if stem in r.lower()), "")
    if remark:
        return (
            f"the wheel in the store is refused: {remark}",
            f"put the right wheel into the package store {store}",
        )
    return (
        f"no wheel of {distribution} {version} is in the store",
        f"put that wheel into the package store {store}",
    )


def _dress(draft: Draft, name: str, asset: PipAsset, wrong: Sequence[Finding], worse: set[str]) -> None:
    known = {s.entry.path: s.entry for s in draft.supplies.dressed if s.asset == name}
    plain = [f for f in wrong if f.subject in known and f.subject not in worse]
    for finding in wrong:
        if finding.subject in worse:  # written anew with the right mode
            number, action = next(
                (n, a) for n, a in enumerate(draft.actions)
                if isinstance(a, ReinstallDistribution) and a.asset == name and finding.subject in a.touches
            )  # fmt: skip
            draft.actions[number] = action.model_copy(update={"findings": (*action.findings, finding.id)})
        elif finding.subject not in known:
            draft.miss(finding, "its right mode is not known", "set mode and owner by hand")
    if not plain:
        return
    paths = sorted({finding.subject for finding in plain})
    draft.actions.append(
        SetMetadata(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
            reason=f"The content of {counted(len(paths), 'path')} is right; nothing but mode and owner changes.",
            undo="Mode and owner go back to what the snapshot recorded.", touches=tuple(paths),
            minutes=minutes(0.05, 0), findings=tuple(f.id for f in plain), files=tuple(known[path] for path in paths),
        )
    )  # fmt: skip
