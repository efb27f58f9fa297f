"""The repair ladder: findings and supplies in, the least invasive proposal out. Pure and deterministic (R-RESP-4).

Rungs, least invasive first: service restart · configuration · single file · same-version package · database · data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

from model.assets import DpkgAsset, FilesAsset, PipAsset, PostgresAsset, ServiceAsset
from model.finding import Code, Finding
from model.manifest import Entry, FileType
from model.outcome import Stage
from model.plan import Plan
from model.proposal import (
    Action,
    Loss,
    Proposal,
    ReinstallDistribution,
    ReinstallPackage,
    RestartService,
    RestoreDatabase,
    RestoreFiles,
    Rung,
    SetMetadata,
    Unmet,
)
from model.supplies import PointSupply, Supplies

METADATA = frozenset({Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS})
SYMPTOMS = frozenset({Code.SERVICE_DOWN, Code.PROBE_FAILED, Code.EXPECTATION_FAILED})
"""Findings that are the effect of others: cured by curing those and restarting the service."""

WorkStage = Literal[Stage.REPAIR, Stage.RESTORE]

BYTES_PER_MINUTE = 60 * 20 * 1024 * 1024
"""Expected transfer rate: 20 MiB/s, what paramiko reaches on one core (speed.md)."""


def propose(
    plan: Plan,
    incident: str,
    plan_digest: str,
    machine_ids: Mapping[str, str],
    findings: Sequence[Finding],
    supplies: Supplies,
    baselines: Mapping[str, Sequence[Entry]],
    now: datetime,
    ttl: timedelta,
) -> Proposal:
    """Build the proposal for what was found.

    Args:
        plan: the plan.
        incident: id of the incident.
        plan_digest: digest of the plan's text.
        machine_ids: proven machine-id of every host.
        findings: what is damaged.
        supplies: what can repair it.
        baselines: recorded metadata of package files, by asset.
        now: the moment of the proposal.
        ttl: how long it may be signed.

    Returns:
        Actions in order of execution; every finding is cured by one of them or stands under `unmet` with a remedy.
    """
    ladder = _Ladder(plan, machine_ids, findings, supplies, baselines)
    actions = ladder.climb()
    hosts = sorted({action.host for action in actions} or {finding.host for finding in findings})
    return Proposal(
        incident=incident,
        plan_digest=plan_digest,
        hosts={host: machine_ids[host] for host in hosts if host in machine_ids},
        actions=tuple(actions),
        losses=tuple(ladder.losses),
        unmet=tuple(ladder.unmet),
        created_at=now,
        expires_at=now + ttl,
    )


def minutes(kind_minutes: float, count: int) -> float:
    """Expected minutes: a fixed part for the kind of action plus the transfer."""
    return round(kind_minutes + count / BYTES_PER_MINUTE, 2)


class _Ladder:
    def __init__(
        self,
        plan: Plan,
        machine_ids: Mapping[str, str],
        findings: Sequence[Finding],
        supplies: Supplies,
        baselines: Mapping[str, Sequence[Entry]],
    ) -> None:
        self.plan, self.machine_ids, self.supplies, self.baselines = plan, machine_ids, supplies, baselines
        self.findings = sorted(set(findings), key=lambda f: (f.asset, f.subject, f.code))
        self.actions: list[Action] = []
        self.losses: list[Loss] = []
        self.unmet: list[Unmet] = []
        self.hurt: dict[Stage, set[str]] = {Stage.REPAIR: set(), Stage.RESTORE: set()}

    def climb(self) -> list[Action]:
        by_asset: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            by_asset[finding.asset].append(finding)
        order = self.plan.order()
        known = [name for name in order if name in by_asset and name in self.plan.assets]
        for name in known:
            match self.plan.assets[name]:
                case FilesAsset(role="configuration") as files:
                    self._files(name, files, by_asset[name], by_asset)
        for name in known:
            match self.plan.assets[name]:
                case DpkgAsset() as packages:
                    self._packages(name, packages, by_asset[name])
                case PipAsset() as environment:
                    self._environment(name, environment, by_asset[name])
        self._restarts(Stage.REPAIR, by_asset)
        for name in known:
            match self.plan.assets[name]:
                case FilesAsset(role="data") as files:
                    self._files(name, files, by_asset[name], by_asset)
                case PostgresAsset() as database:
                    self._database(name, database, by_asset[name])
        self._restarts(Stage.RESTORE, by_asset)
        self._symptoms()
        return self.actions

    def _id(self) -> str:
        return f"a{len(self.actions) + 1:02d}"

    def _miss(self, finding: Finding, sentence: str, remedy: str) -> None:
        self.unmet.append(
            Unmet(finding=finding.id, sentence=f"{finding.sentence}: {sentence}", remedy=remedy)
        )

    def _did(self, stage: Stage, asset: str) -> None:
        self.hurt[stage].add(asset)

    def _point(self, name: str, host: str) -> tuple[PointSupply | None, str]:
        """The newest recovery point of this very host, and why there is none."""
        points = sorted((p for p in self.supplies.points if p.asset == name), key=lambda p: p.point.id)
        own = [p for p in points if p.manifest.machine_id == self.machine_ids.get(host)]
        if own:
            return own[-1], ""
        if points:
            return None, f"its backups are another host's (machine-id {points[-1].manifest.machine_id})"
        return None, "there is no recovery point that verifies"

    def _metadata(
        self, name: str, host: str, wrong: list[Finding], known: Mapping[str, Entry]
    ) -> list[Finding]:
        """Set mode and owner where nothing else is wrong; returns the findings left."""
        worse = {finding.subject for finding in wrong if finding.code not in METADATA}
        cured = [f for f in wrong if f.code in METADATA and f.subject not in worse and f.subject in known]
        if cured:
            files = tuple(known[path] for path in sorted({finding.subject for finding in cured}))
            self.actions.append(
                SetMetadata(
                    id=self._id(),
                    host=host,
                    asset=name,
                    stage=Stage.REPAIR,
                    rung=Rung.FILE,
                    reason=f"The content of {len(files)} file(s) is right, only mode or owner is not: nothing else changes.",
                    undo="Mode and owner go back to what the snapshot recorded.",
                    touches=tuple(entry.path for entry in files),
                    findings=tuple(f.id for f in cured),
                    minutes=minutes(0.05, 0),
                    files=files,
                )
            )
            self._did(Stage.REPAIR, name)
        return [finding for finding in wrong if finding not in cured]

    def _packages(self, name: str, asset: DpkgAsset, wrong: list[Finding]) -> None:
        covered = {finding for action in self.actions for finding in action.findings}
        known = {entry.path: entry for entry in self.baselines.get(name, ())}
        left = self._metadata(name, asset.host, [f for f in wrong if f.id not in covered], known)
        by_package: dict[str, list[Finding]] = defaultdict(list)
        for finding in left:
            by_package[finding.package].append(finding)
        for package, damaged in sorted(by_package.items()):
            version = damaged[0].version
            supply = next(
                (
                    s
                    for s in self.supplies.packages
                    if s.asset == name and s.package == package and version in ("", s.version)
                ),
                None,
            )
            if supply is None:
                for finding in damaged:
                    self._miss(
                        finding,
                        f"version {version} of {package} is in no cache, store or mirror",
                        "put that .deb into the plan's package store, or decide on another version by hand",
                    )
                continue
            conffiles = tuple(sorted(f.subject for f in damaged if f.code is Code.CONFFILE_MISSING))
            self.actions.append(
                ReinstallPackage(
                    id=self._id(),
                    host=asset.host,
                    asset=name,
                    stage=Stage.REPAIR,
                    rung=Rung.PACKAGE,
                    reason=f"{len(damaged)} path(s) of {package} are damaged; only the package tool may place its files, "
                    "so a single file is not copied over it. Same version, edited configuration stays.",
                    undo="Every path of the package and dpkg's own records go back to the snapshot.",
                    touches=tuple(
                        sorted({*supply.touches, *(f.subject for f in damaged if f.subject.startswith("/"))})
                    ),
                    bytes=supply.bytes,
                    minutes=minutes(0.2, supply.bytes),
                    findings=tuple(f.id for f in damaged),
                    package=package,
                    version=supply.version,
                    architecture=supply.architecture,
                    source=supply.source,
                    filename=supply.filename,
                    sha256=supply.sha256,
                    conffiles=conffiles,
                )
            )
            self._did(Stage.REPAIR, name)

    def _environment(self, name: str, asset: PipAsset, wrong: list[Finding]) -> None:
        by_distribution: dict[str, list[Finding]] = defaultdict(list)
        for finding in wrong:
            by_distribution[finding.package].append(finding)
        for distribution, damaged in sorted(by_distribution.items()):
            version = damaged[0].version
            supply = next(
                (
                    s
                    for s in self.supplies.wheels
                    if s.asset == name and s.distribution == distribution and version in ("", s.version)
                ),
                None,
            )
            if supply is None:
                for finding in damaged:
                    self._miss(
                        finding,
                        f"no wheel of {distribution} {version} is in the store",
                        f"put that wheel into the package store {asset.store}",
                    )
                continue
            self.actions.append(
                ReinstallDistribution(
                    id=self._id(),
                    host=asset.host,
                    asset=name,
                    stage=Stage.REPAIR,
                    rung=Rung.PACKAGE,
                    reason=f"{len(damaged)} file(s) of {distribution} are damaged; pip installs the same version again, "
                    "offline, so that RECORD and files agree.",
                    undo="Every file of the distribution goes back to the snapshot.",
                    touches=tuple(
                        sorted({*supply.touches, *(f.subject for f in damaged if f.subject.startswith("/"))})
                    ),
                    bytes=supply.bytes,
                    minutes=minutes(0.2, supply.bytes),
                    findings=tuple(f.id for f in damaged),
                    distribution=distribution,
                    version=supply.version,
                    filename=supply.filename,
                    sha256=supply.sha256,
                )
            )
            self._did(Stage.REPAIR, name)

    def _files(
        self, name: str, asset: FilesAsset, wrong: list[Finding], by_asset: Mapping[str, list[Finding]]
    ) -> None:
        supply, why = self._point(name, asset.host)
        if supply is None:
            for finding in wrong:
                self._miss(finding, why, "take a backup while the host is healthy; restore this file by hand")
            return
        entries = {_absolute(asset.path, entry.path): entry for entry in supply.manifest.entries}
        placed = {path: entry.model_copy(update={"path": path}) for path, entry in entries.items()}
        left = self._metadata(name, asset.host, wrong, placed)
        damaged = sorted({finding.subject for finding in left if finding.subject in entries})
        for finding in left:
            if finding.subject not in entries:
                self._miss(finding, f"{supply.point.id} does not hold it", "restore it by hand")
        if not damaged:
            return
        configuration = asset.role == "configuration"
        stage: WorkStage = Stage.REPAIR if configuration else Stage.RESTORE
        parents = {str(parent) for path in damaged for parent in _missing_parents(path, asset.path, entries)}
        wanted = sorted({*damaged, *(path for path in parents if path in entries)})
        files = tuple(entries[path] for path in wanted)
        count = sum(entry.size for entry in files if entry.type is FileType.FILE)
        cured = [f for f in left if f.subject in entries]
        if configuration:  # a package's configuration file that this file set covers is the same damage
            cured += [
                f
                for other, found in by_asset.items()
                if isinstance(self.plan.assets.get(other), DpkgAsset)
                and self.plan.assets[other].host == asset.host
                for f in found
                if f.subject in damaged
            ]
        self.actions.append(
            RestoreFiles(
                id=self._id(),
                host=asset.host,
                asset=name,
                stage=stage,
                rung=Rung.CONFIGURATION if configuration else Rung.DATA_SET,
                reason=f"{len(damaged)} of {len(entries)} paths are damaged; only these come back from {supply.point.id}, "
                "the rest stays as it is.",
                undo="Each path goes back to what the snapshot holds.",
                touches=tuple(sorted({*damaged, *wanted, *(_parent(path) for path in wanted)})),
                bytes=count,
                minutes=minutes(0.1, count),
                findings=tuple(f.id for f in cured),
                point=supply.point,
                root=asset.path,
                files=files,
            )
        )
        self._did(stage, name)
        self.losses.append(
            Loss(
                asset=name,
                recovery_point=supply.point.id,
                newer_than=supply.point.taken_at,
                sentence=f"Changes made to {len(damaged)} file(s) of {name} after {supply.point.taken_at:%Y-%m-%d %H:%M:%S} "
                "UTC are not in the backup.",
            )
        )

    def _database(self, name: str, asset: PostgresAsset, wrong: list[Finding]) -> None:
        unreachable = [f for f in wrong if f.code is Code.DATABASE_UNREACHABLE]
        if unreachable:
            service = asset.service
            down = service is not None and any(f.asset == service for f in self.findings)
            for finding in unreachable:
                if not down:
                    self._miss(
                        finding,
                        "the server does not answer and no service of the plan is known to be down",
                        "start the server, then run the recovery again",
                    )
            self._did(Stage.REPAIR, name)
        damaged = [f for f in wrong if f.code not in SYMPTOMS and f not in unreachable]
        if not damaged:
            return
        supply, why = self._point(name, asset.host)
        if supply is None:
            for finding in damaged:
                self._miss(finding, why, "restore the database by hand from another backup")
            return
        self.actions.append(
            RestoreDatabase(
                id=self._id(),
                host=asset.host,
                asset=name,
                stage=Stage.RESTORE,
                rung=Rung.DATABASE,
                reason=f"{len(damaged)} object(s) of {asset.database} cannot be read, so no lower rung reaches them; the dump "
                f"{supply.point.id} is restored beside it and renamed into place.",
                undo="The two databases are renamed back; the damaged one is kept.",
                bytes=supply.point.bytes,
                minutes=minutes(0.5, supply.point.bytes * 4),
                findings=tuple(f.id for f in damaged),
                point=supply.point,
                database=asset.database,
            )
        )
        self._did(Stage.RESTORE, name)
        self.losses.append(
            Loss(
                asset=name,
                recovery_point=supply.point.id,
                newer_than=supply.point.taken_at,
                sentence=f"Everything written to database {asset.database} after "
                f"{supply.point.taken_at:%Y-%m-%d %H:%M:%S} UTC is not in the dump.",
            )
        )

    def _restarts(self, stage: WorkStage, by_asset: Mapping[str, list[Finding]]) -> None:
        """Restart the services of what this stage repairs, each once, in dependency order."""
        wanted: set[str] = set()
        for name in self.hurt[stage]:
            wanted |= set(self.plan.assets[name].services)
            asset = self.plan.assets[name]
            if isinstance(asset, PostgresAsset) and asset.service and stage is Stage.REPAIR:
                wanted.add(asset.service)
        if stage is Stage.REPAIR:
            wanted |= {
                name
                for name, found in by_asset.items()
                if isinstance(self.plan.assets.get(name), ServiceAsset)
                and any(f.code is Code.SERVICE_DOWN for f in found)
            }
            if self._restored(by_asset):
                self.hurt[Stage.RESTORE] |= {
                    n
                    for n in self.hurt[Stage.REPAIR]
                    if set(self.plan.assets[n].services) & self._restarted_later()
                }
                wanted -= self._restarted_later()
        for name in self.plan.order():
            asset = self.plan.assets[name]
            if name not in wanted or not isinstance(asset, ServiceAsset):
                continue
            causes = sorted(n for n in self.hurt[stage] if name in self.plan.assets[n].services)
            down = [f for f in by_asset.get(name, ()) if f.code is Code.SERVICE_DOWN]
            why = f"what it uses was repaired ({', '.join(causes)})" if causes else "it does not run"
            self.actions.append(
                RestartService(
                    id=self._id(),
                    host=asset.host,
                    asset=name,
                    stage=stage,
                    rung=Rung.SERVICE,
                    reason=f"{name} is restarted because {why}.",
                    undo="It is restarted again after everything else is undone.",
                    minutes=minutes(0.1, 0),
                    findings=tuple(f.id for f in down),
                    service=name,
                )
            )

    def _restored(self, by_asset: Mapping[str, list[Finding]]) -> set[str]:
        """Assets that the restore stage will work on."""
        return {
            name
            for name, found in by_asset.items()
            if (
                isinstance(asset := self.plan.assets.get(name), FilesAsset)
                and asset.role == "data"
                and any(f.code not in METADATA for f in found)
            )
            or (
                isinstance(asset, PostgresAsset)
                and any(f.code not in SYMPTOMS and f.code is not Code.DATABASE_UNREACHABLE for f in found)
            )
        }

    def _restarted_later(self) -> set[str]:
        """Services that will be restarted after the restore, so that they are not restarted twice."""
        found: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            found[finding.asset].append(finding)
        later: set[str] = set()
        for name in self._restored(found):
            supply, _ = self._point(name, self.plan.assets[name].host)
            if supply is not None:
                later |= set(self.plan.assets[name].services)
        return later

    def _symptoms(self) -> None:
        """Symptoms are cured by the actions on what they show; with no action at all nothing cures them."""
        for finding in (f for f in self.findings if f.code in SYMPTOMS):
            cured = any(finding.id in action.findings for action in self.actions)
            if not cured and not self.actions:
                self._miss(
                    finding,
                    "nothing damaged was found that explains it",
                    "widen the plan's assets, or look at the host",
                )


def _absolute(root: str, path: str) -> str:
    return root if path in (".", "") else str(PurePosixPath(root) / path)


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _missing_parents(path: str, root: str, entries: Mapping[str, Entry]) -> list[PurePosixPath]:
    """Folders between the set's root and a path, which a restore may have to make."""
    return [p for p in PurePosixPath(path).parents if str(p) in entries and str(p) != root]
