"""The rungs of the repair ladder: for the findings of one asset, the least invasive actions that cure them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from model import cluster_rungs, package_state
from model.assets import DpkgAsset, FilesAsset, PostgresAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import ACCEPTED_CONTENT, Code, Finding
from model.manifest import Entry, FileType, absolute
from model.outcome import Stage
from model.proposal import (
    Loss,
    ReinstallPackage,
    RestoreDatabase,
    RestoreFiles,
    Rung,
    SetMetadata,
)
from model.small_rungs import clear_the_way, links, nobodys
from model.supplies import PointSupply

METADATA = frozenset(
    {
        Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS, Code.FILE_CAPABILITIES_DIFFER, Code.FILE_ATTRIBUTES_DIFFER,
    }
)  # fmt: skip


def _by_package(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.package].append(finding)
    return sorted(groups.items(), key=lambda group: (_rank(group[0]), group[0]))


FIRST = ("dash", "bash", "perl-base", "libc-bin", "coreutils", "dpkg", "tar")
"""What the scripts of all other packages run with."""


def _rank(package: str) -> int:
    """Interpreters, then libraries, then other foundations, then the rest: each is whole before others need it."""
    name = package.partition(":")[0]
    if name in FIRST[:3]:
        return FIRST.index(name)
    if name.startswith("lib") and name not in FIRST:
        return len(FIRST)
    return len(FIRST) + 1 + (FIRST.index(name) if name in FIRST else len(FIRST))


def _touched(supply: Sequence[str], damaged: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(sorted({*supply, *(f.subject for f in damaged if f.subject.startswith("/"))}))


def _metadata(
    draft: Draft, name: str, host: str, cured: Sequence[Finding], known: Mapping[str, Entry], also: Sequence[Finding]
) -> None:  # fmt: skip
    if not cured:
        return
    files = tuple(known[path] for path in sorted({finding.subject for finding in cured}))
    capable = {finding.subject for finding in cured if finding.code is Code.FILE_CAPABILITIES_DIFFER}
    draft.actions.append(
        SetMetadata(
            id=UNNUMBERED, host=host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
            reason=f"The content of {counted(len(files), 'path')} is right; nothing but mode and owner changes.",
            undo="Mode and owner go back to what the snapshot recorded.",
            capable=tuple(sorted(capable)),
            touches=tuple(entry.path for entry in files), minutes=minutes(0.05, 0),
            findings=tuple(f.id for f in (*cured, *also)), files=files,
        )
    )  # fmt: skip


def packages(draft: Draft, name: str, asset: DpkgAsset, wrong: Sequence[Finding]) -> None:
    """Debian packages: mode and owner from the baseline, all else by installing the same version again."""
    covered = draft.cured()
    wrong = [finding for finding in wrong if finding.id not in covered]
    wrong = package_state.database(draft, name, asset, wrong)
    wrong = nobodys(draft, name, asset.host, links(draft, name, asset.host, wrong))
    for finding in wrong:
        if finding.expected.startswith(ACCEPTED_CONTENT):
            draft.miss(finding, *_no_configuration(finding.subject))
    wrong = [finding for finding in wrong if not finding.expected.startswith(ACCEPTED_CONTENT)]
    waiting = package_state.unfinished(wrong)
    wrong = [finding for finding in wrong if finding not in waiting]
    known = {entry.path: entry for entry in draft.baselines.get(name, ())}
    worse = {finding.subject for finding in wrong if finding.code not in METADATA}
    dressed = [
        f
        for f in wrong
        if f.code in METADATA
        and f.subject in known
        and f.subject not in worse
        # The baseline of another version may have another content: it is no measure for this file.
        and f"dpkg:{f.package}={f.version}" in known
    ]
    rest = [finding for finding in wrong if finding not in dressed]
    stocked = {(s.package, s.version) for s in draft.supplies.packages if s.asset == name}
    clear_the_way(draft, name, asset.host, [f for f in rest if (f.package, f.version) in stocked])
    for package, damaged in _by_package(rest):
        _package(draft, name, asset, package, damaged)
    touches = {p.package: p.touches for p in draft.supplies.paths if p.asset == name}
    package_state.configure(draft, name, asset, waiting, touches)
    # After the packages: dpkg gives every file the mode of the package, the baseline holds the mode of this host.
    _metadata(draft, name, asset.host, dressed, known, ())


def _package(draft: Draft, name: str, asset: DpkgAsset, package: str, damaged: Sequence[Finding]) -> None:
    version = damaged[0].version
    supply = next(
        (
            s
            for s in draft.supplies.packages
            if (s.asset, s.package, s.instead_of or s.version) == (name, package, version)
        ),
        None,
    )  # fmt: skip
    if supply is None:
        refused = tuple(r.sentence for r in draft.supplies.refused if r.asset == name)
        for finding in damaged:
            draft.miss(finding, *_no_package(package, version, refused))
        return
    other = f"Another version: {version} → {supply.version}, because {version} is nowhere. "
    draft.actions.append(
        ReinstallPackage(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
            reason=(other if supply.instead_of else "")
            + f"Damaged: {counted(len(damaged), 'thing')} of {package}. Only the package tool may place "
            "its files, so no single file is copied over it. "
            + ("Edited" if supply.instead_of else "Same version; edited")
            + " configuration stays.",
            undo="Every path of the package and dpkg's own records go back to the snapshot.",
            touches=_touched(supply.touches, damaged), bytes=supply.bytes, minutes=minutes(0.2, supply.bytes),
            findings=tuple(f.id for f in damaged), package=package, version=supply.version,
            instead_of=supply.instead_of, architecture=supply.architecture, source=supply.source,
            filename=supply.filename, sha256=supply.sha256, held=supply.held,
            conffiles=tuple(sorted(f.subject for f in damaged if f.code is Code.CONFFILE_MISSING)),
        )
    )  # fmt: skip


def _no_configuration(path: str) -> tuple[str, str]:
    return (
        "a package never brings edited configuration back",
        f"restore {path} by hand, protect it as a file set of the plan, or accept it with `reinstate baseline`",
    )


def _no_package(package: str, version: str, refused: Sequence[str] = ()) -> tuple[str, str]:
    if not version:
        return (
            "which version was installed is not known",
            f"install the wanted version of {package} by hand, or take it out of the plan",
        )
    return (
        f"version {version} of {package} is in no cache, store or mirror; another version is never taken silently"
        + "".join(f". Refused: {sentence}" for sentence in refused),
        "put that .deb into the plan's package store (`reinstate packages stock`, `reinstate packages index`), or let "
        "the plan say `other_version: propose`",
    )


def files(
    draft: Draft, name: str, asset: FilesAsset, wrong: Sequence[Finding], others: Sequence[Finding]
) -> None:
    """A file set: mode and owner from the manifest, else the damaged paths and no others from the recovery point.

    Args:
        draft: the proposal so far.
        name: the asset's name.
        asset: the asset.
        wrong: its findings.
        others: findings of packages on the same host: on the same path they are the same damage.
    """
    supply, why = draft.point(name, asset.host)
    entries = {absolute(asset.path, e.path): e for e in supply.manifest.entries} if supply else {}
    for finding in wrong:
        if supply is None:
            draft.miss(finding, why, "take a backup while the host is healthy; restore this file by hand")
        elif finding.subject not in entries:
            draft.miss(finding, f"{supply.point.id} does not hold it", "restore it by hand")
    here = [finding for finding in wrong if finding.subject in entries]
    worse = {finding.subject for finding in (*here, *others) if finding.code not in METADATA}
    dressed = [f for f in here if f.code in METADATA and f.subject not in worse]
    worn = {finding.subject for finding in dressed}
    same = [f for f in others if f.subject in entries] if asset.role == "configuration" else []
    known = {p: entries[p].model_copy(update={"path": p, "offset": -1, "same_as": ""}) for p in worn}
    _metadata(draft, name, asset.host, dressed, known, [f for f in same if f.subject in worn])
    damaged = sorted(all_names({finding.subject for finding in here} - worn, asset, entries))
    if supply is not None and damaged:
        cured = [f for f in (*here, *same) if f.subject in damaged]
        reason = f"Damaged: {len(damaged)} of {counted(len(entries), 'path')}."
        restore_paths(draft, name, asset, supply, entries, damaged, cured, reason)


def all_names(damaged: set[str], asset: FilesAsset, entries: Mapping[str, Entry]) -> set[str]:
    """Damaged paths and the other names of the same files: a file that is replaced is linked anew."""
    if not any(entry.same_as for entry in entries.values()):
        return damaged
    first = {p: absolute(asset.path, e.same_as) if e.same_as else p for p, e in entries.items()}
    wrong = {first[path] for path in damaged}
    return {path for path in entries if first[path] in wrong}


def restore_paths(
    draft: Draft, name: str, asset: FilesAsset, supply: PointSupply, entries: Mapping[str, Entry],
    damaged: Sequence[str], cured: Sequence[Finding], reason: str,
) -> None:  # fmt: skip
    """Bring paths of a file set back from a point, and say what of them the point does not hold.

    Args:
        draft: the proposal so far.
        name: the asset's name.
        asset: the asset.
        supply: the recovery point.
        entries: what it holds, by path on the host.
        damaged: what comes back, sorted.
        cured: findings it cures.
        reason: why, as sentences.
    """
    chosen = tuple(entries[path] for path in damaged)
    count = sum(entry.size for entry in chosen if entry.type is FileType.FILE and not entry.same_as)
    configuration = asset.role == "configuration"
    stops = tuple(draft.plan.used_by(asset)) if asset.needs_stillness else ()
    still = (
        f" While they change places, {', '.join(stops)} stand{'s' * (len(stops) == 1)} still."
        if stops
        else ""
    )
    draft.actions.append(
        RestoreFiles(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR if configuration else Stage.RESTORE,
            rung=Rung.CONFIGURATION if configuration else Rung.DATA_SET,
            reason=f"{reason} Only what is damaged comes back from {supply.point.id}, the rest stays as it is."
            + still,
            undo="Each path goes back to what the snapshot holds.",
            touches=tuple(sorted({*damaged, *(str(PurePosixPath(path).parent) for path in damaged)})),
            bytes=count, minutes=minutes(0.1, count), findings=tuple(f.id for f in cured), point=supply.point,
            root=asset.path, files=chosen, stops=stops,
        )
    )  # fmt: skip
    draft.losses.append(
        Loss(
            asset=name, recovery_point=supply.point.id, newer_than=supply.point.taken_at,
            sentence=f"Changes made to {counted(len(damaged), 'path')} of {name} after "
            f"{supply.point.taken_at:%Y-%m-%d %H:%M:%S} UTC are not in the backup.",
        )
    )  # fmt: skip


def database(draft: Draft, name: str, asset: PostgresAsset, wrong: Sequence[Finding]) -> None:
    """A database whose tables cannot be read: the dump into a new one that is renamed into place."""
    wrong = cluster_rungs.mistakes(draft, name, asset, wrong)
    if not wrong:
        return
    supply, why = draft.point(name, asset.host)
    if supply is None:
        for finding in wrong:
            draft.miss(finding, why, "restore the database by hand from another backup")
        return
    if supply.manifest.format == "pgbackrest":
        cluster_rungs.cluster(draft, name, asset, wrong, supply)
        return
    draft.actions.append(
        RestoreDatabase(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.RESTORE, rung=Rung.DATABASE,
            reason=f"Damaged: {counted(len(wrong), 'thing')} of {asset.database}. Rows cannot be repaired in place: "
            f"the dump {supply.point.id} is restored beside it and renamed into place.",
            undo="The two databases are renamed back; the damaged one is kept.",
            bytes=supply.point.bytes,
            # A compressed dump is about a quarter of what is loaded, and indexes are built anew.
            minutes=minutes(0.5, supply.point.bytes * 4),
            findings=tuple(f.id for f in wrong), point=supply.point, database=asset.database,
        )
    )  # fmt: skip
    draft.losses.append(
        Loss(
            asset=name, recovery_point=supply.point.id, newer_than=supply.point.taken_at,
            sentence=f"Everything written to database {asset.database} after "
            f"{supply.point.taken_at:%Y-%m-%d %H:%M:%S} UTC is not in the dump.",
        )
    )  # fmt: skip
