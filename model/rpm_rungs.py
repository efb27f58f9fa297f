"""The rungs of RPM packages: the database first, mode and owner from rpm's records, all else by reinstalling. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from model.assets import RpmAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.manifest import Entry, FileType
from model.outcome import Stage
from model.proposal import Loss, RebuildRpmDatabase, ReinstallRpm, RpmHeader, Rung, SetMetadata
from model.small_rungs import nobodys
from model.supplies import PackageSupply, RpmDatabaseSupply

METADATA = frozenset({Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS, Code.FILE_CAPABILITIES_DIFFER})
MARK = "rpm:"
_UNDO_DATABASE = "The rpm database goes back to the snapshot."


def rpm_packages(draft: Draft, name: str, asset: RpmAsset, wrong: Sequence[Finding]) -> None:
    """RPM packages: their database, then mode and owner, then whole packages of the same version."""
    covered = draft.cured()
    wrong = [finding for finding in wrong if finding.id not in covered]
    broken = [finding for finding in wrong if finding.code is Code.PACKAGE_DATABASE_DAMAGED]
    if broken:
        _database(draft, name, asset, broken)
    wrong = nobodys(draft, name, asset.host, [finding for finding in wrong if finding not in broken])
    known = {e.path: e for record in draft.supplies.records if record.asset == name for e in record.entries}
    worse = {finding.subject for finding in wrong if finding.code not in METADATA}
    dressed = [f for f in wrong if f.code in METADATA and f.subject in known and f.subject not in worse]
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in wrong:
        if finding not in dressed:
            groups[finding.package, finding.version].append(finding)
    for (package, version), damaged in sorted(groups.items()):
        _package(draft, name, asset, package, version, damaged)
    if dressed:
        files = tuple(known[path] for path in sorted({finding.subject for finding in dressed}))
        draft.actions.append(
            SetMetadata(
                id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
                reason=f"The content of {counted(len(files), 'path')} is right; mode and owner are in rpm's records.",
                undo="Mode and owner go back to what the snapshot recorded.",
                touches=tuple(entry.path for entry in files), minutes=minutes(0.05, 0),
                findings=tuple(f.id for f in dressed), files=files,
                capable=tuple(sorted({f.subject for f in dressed if f.code is Code.FILE_CAPABILITIES_DIFFER})),
            )
        )  # fmt: skip


def _package(
    draft: Draft, name: str, asset: RpmAsset, package: str, version: str, damaged: Sequence[Finding]
) -> None:
    supply = _supply(draft, name, package, version)
    needs = [f for f in damaged if f.code is Code.PACKAGE_STATE_BROKEN and f.subject.endswith(" (needs)")]
    for finding in needs:
        draft.miss(
            finding,
            "something it requires is not installed, and which package gives it is not in rpm's records",
            f"see `dnf check`, then install what is missing ({finding.actual})",
        )
    accounts = [f for f in damaged if f.code is Code.FILE_OWNER_DIFFERS and "there is no " in f.expected]
    for finding in accounts:
        draft.miss(
            finding, "the account it belongs to does not exist", "restore /etc/passwd and /etc/group first"
        )
    damaged = [finding for finding in damaged if finding not in needs and finding not in accounts]
    if not damaged:
        return
    if supply is None:
        refused = "".join(f". Refused: {r.sentence}" for r in draft.supplies.refused if r.asset == name)
        for finding in damaged:
            if version:
                draft.miss(
                    finding,
                    f"version {version} of {package} is in no cache, store or repository; another version is never "
                    f"taken silently{refused}",
                    "put that .rpm into the plan's package store (`reinstate packages index`)",
                )
            else:
                draft.miss(
                    finding,
                    "which version was installed is not known",
                    f"install the wanted version of {package} by hand, or take it out of the plan",
                )
        return
    twice = [f for f in damaged if f.code is Code.PACKAGE_STATE_BROKEN]
    replaces = sorted({v for f in twice for v in f.actual.partition(" (")[0].split(" and ")} - {version})
    aside = {f.subject for f in damaged if f.code is Code.FILE_TYPE_DIFFERS}
    touches = {*supply.touches, *(f.subject for f in damaged if f.subject.startswith("/"))}
    draft.actions.append(
        ReinstallRpm(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
            reason=f"Damaged: {counted(len(damaged), 'thing')} of {package}. Only the package tool may place "
            "its files, so no single file is copied over it. Same version; edited configuration stays."
            + (f" It finishes the transaction that left {', '.join(replaces)} as well." if replaces else ""),
            undo="Every path of the package and rpm's own records go back to the snapshot.",
            touches=tuple(sorted(touches)), bytes=supply.bytes, minutes=minutes(0.2, supply.bytes),
            findings=tuple(f.id for f in damaged), package=package, version=version,
            architecture=supply.architecture, source=supply.source, filename=supply.filename, sha256=supply.sha256,
            replaces=tuple(replaces), aside=tuple(sorted(aside)),
            keeps=tuple(path for path in supply.keeps if path not in {f.subject for f in damaged}),
            conffiles=tuple(sorted(f.subject for f in damaged if f.code is Code.CONFFILE_MISSING)),
        )
    )  # fmt: skip


def _supply(draft: Draft, name: str, package: str, version: str) -> PackageSupply | None:
    wanted = (name, package, version)
    return next((s for s in draft.supplies.packages if (s.asset, s.package, s.version) == wanted), None)


def _database(draft: Draft, name: str, asset: RpmAsset, broken: Sequence[Finding]) -> None:
    """The database: from what can be read of it and the .rpm files of what cannot, else from a kept copy."""
    held = next((d for d in draft.supplies.rpm_databases if d.asset == name), None)
    marks = {e.path.removeprefix(MARK) for e in draft.baselines.get(name, ()) if e.path.startswith(MARK)}
    if held is None:  # it was whole again when supplies were looked for
        for finding in broken:
            draft.miss(finding, "it can be read again by now", "examine the host again")
        return
    lost = [finding for finding in broken if finding.package]
    headers, missing = [], []
    for finding in lost:
        supply = _supply(draft, name, finding.package, finding.version)
        if supply is None:
            missing.append(finding.subject)
        else:
            headers.append(
                RpmHeader(
                    package=supply.package, version=supply.version, architecture=supply.architecture,
                    source=supply.source, filename=supply.filename, sha256=supply.sha256, bytes=supply.bytes,
                )
            )  # fmt: skip
    # Without a baseline nobody knows what a record that cannot be read was of.
    if not missing and (marks or held.complete):
        _rebuild(draft, name, asset, broken, held, headers)
        return
    supply_, why = draft.point(name, asset.host) if asset.backup else (None, "the plan keeps no copy of it")
    if supply_ is not None:
        files = {
            e.path: e for e in supply_.manifest.entries if e.type is FileType.FILE and e.path != ".rpm.lock"
        }
        _kept_copy(draft, name, asset, broken, held, supply_.point.id, files)
        return
    said = f"the records of {counted(len(missing), 'package')} are lost ({', '.join(missing[:5])})" if missing else (
        "some records cannot be read, and no baseline says which"
    )  # fmt: skip
    for finding in broken:
        draft.miss(
            finding,
            f"{said}, and {why}",
            "put those .rpm files into the plan's package store, or let the plan keep copies (`backup` of the asset)",
        )


def _rebuild(
    draft: Draft, name: str, asset: RpmAsset, broken: Sequence[Finding], held: RpmDatabaseSupply,
    headers: Sequence[RpmHeader],
) -> None:  # fmt: skip
    back = (
        f" {counted(len(headers), 'record')} that cannot be read come back from .rpm files."
        if headers
        else ""
    )
    size = sum(header.bytes for header in headers)
    draft.actions.append(
        RebuildRpmDatabase(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
            reason=f"The rpm database is damaged; {len(held.readable)} records can be read. It is made anew beside the "
            f"damaged one and swapped in once it is whole.{back} Nothing else of the host changes.",
            undo=_UNDO_DATABASE, touches=held.files, bytes=size, minutes=minutes(0.3, size),
            findings=tuple(f.id for f in broken), database=held.folder, lost=tuple(headers),
            expected=tuple(sorted({*held.readable, *(f.subject for f in broken if f.package)})),
        )
    )  # fmt: skip


def _kept_copy(
    draft: Draft, name: str, asset: RpmAsset, broken: Sequence[Finding], held: RpmDatabaseSupply, point: str,
    files: Mapping[str, Entry],
) -> None:  # fmt: skip
    supply = next(p for p in draft.supplies.points if (p.asset, p.point.id) == (name, point))
    size = sum(entry.size for entry in files.values())
    touches = {*held.files, *(f"{held.folder}/{path}" for path in files)}
    draft.actions.append(
        RebuildRpmDatabase(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
            reason="The rpm database is damaged, and not every record that is lost can come back from an .rpm file: "
            f"the copy {point} is proven beside the damaged one and swapped in.",
            undo=_UNDO_DATABASE, touches=tuple(sorted(touches)), bytes=size, minutes=minutes(0.3, size),
            findings=tuple(f.id for f in broken), database=held.folder, point=supply.point,
            files=tuple(files[path] for path in sorted(files)),
            expected=tuple(sorted(f.subject for f in broken if f.package)),
        )
    )  # fmt: skip
    draft.losses.append(
        Loss(
            asset=name, recovery_point=point, newer_than=supply.point.taken_at,
            sentence="What rpm recorded of packages installed, updated or removed after "
            f"{supply.point.taken_at:%Y-%m-%d %H:%M:%S} UTC is not in the copy of its database.",
        )
    )  # fmt: skip
