"""The repair ladder: findings and supplies in, the least invasive proposal out. Pure and deterministic (R-RESP-4).

Rungs, least invasive first: service restart · configuration · single file · same-version package · database · data set.
What each kind of asset needs is in `model.rungs`; here is the order, and which services are restarted when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from model import file_mistakes, package_state
from model.assets import (
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PipAsset,
    PostgresAsset,
    RpmAsset,
    ServiceAsset,
    SqliteAsset,
)
from model.database_rungs import other_database
from model.draft import UNNUMBERED, Draft, WorkStage, minutes
from model.finding import Code, Finding
from model.manifest import Entry
from model.outcome import Stage
from model.plan import Plan
from model.proposal import Proposal, RestartService, RestoreCluster, Rung
from model.reimport import guide
from model.rpm_rungs import rpm_packages
from model.rungs import database, files, packages
from model.rungs_python import environment
from model.supplies import Supplies
from model.system_rungs import failed_units, make_ready, system

SYMPTOMS = frozenset(
    {
        Code.SERVICE_DOWN,
        Code.PROBE_FAILED,
        Code.EXPECTATION_FAILED,
        Code.DATABASE_UNREACHABLE,
        Code.TOOL_BROKEN,
    }
)
"""Findings that are the effect of others: cured by curing those and restarting the service."""

Grouped = Mapping[str, Sequence[Finding]]


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
    detected_at: datetime | None = None,
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
        detected_at: recovery points after this moment may hold the damage and are not used; default `now`.

    Returns:
        Actions in order of execution; every finding is cured by one of them or stands under `unmet` with a remedy.
    """
    draft = Draft(plan, machine_ids, supplies, baselines, detected_at or now)
    ordered = sorted(set(findings), key=lambda f: (f.asset, f.subject, f.code, f.host))
    by_asset: dict[str, list[Finding]] = {}
    for finding in ordered:
        by_asset.setdefault(finding.asset, []).append(finding)
    make_ready(draft, by_asset)
    _repair(draft, by_asset)
    _restore(draft, by_asset)
    system(draft, by_asset)
    symptoms = [finding for finding in ordered if finding.code in SYMPTOMS]
    _restart(draft, by_asset, symptoms)
    failed_units(draft, by_asset)
    _explain(draft, symptoms)
    actions = [
        action for stage in (Stage.REPAIR, Stage.RESTORE) for action in draft.actions if action.stage is stage
    ]
    numbered = tuple(
        action.model_copy(update={"id": f"a{number:02d}"}) for number, action in enumerate(actions, start=1)
    )
    hosts = sorted({action.host for action in numbered} or {finding.host for finding in ordered})
    return Proposal(
        incident=incident,
        plan_digest=plan_digest,
        hosts={host: machine_ids[host] for host in hosts if host in machine_ids},
        actions=numbered,
        losses=tuple(draft.losses),
        unmet=tuple(draft.unmet),
        points=draft.choices(),
        reimport=guide(draft, ordered),
        created_at=now,
        expires_at=now + ttl,
    )


def _repair(draft: Draft, by_asset: Grouped) -> None:
    """Configuration first: it takes what packages would otherwise be reinstalled for; then packages, environments."""
    plan = draft.plan
    names = [name for name in plan.order() if name in by_asset]
    from_package = package_state.from_package(plan, by_asset)
    places = {(f.host, f.subject) for f in from_package}
    for name in names:
        asset = plan.assets[name]
        if isinstance(asset, FilesAsset) and asset.role == "configuration":
            of_packages = [
                finding
                for other in names
                if isinstance(plan.assets[other], DpkgAsset | RpmAsset)
                and plan.assets[other].host == asset.host
                for finding in by_asset[other]
            ]
            of_packages = [f for f in of_packages if f not in from_package]
            theirs = [f for f in by_asset[name] if (f.host, f.subject) not in places]
            if not file_mistakes.mistakes(draft, name, asset, theirs):
                files(draft, name, asset, theirs, of_packages)
    for name in names:
        match plan.assets[name]:
            case DpkgAsset() as installed:
                packages(draft, name, installed, [f for f in by_asset[name] if f.code not in SYMPTOMS])
            case RpmAsset() as rpm:
                rpm_packages(draft, name, rpm, by_asset[name])
            case PipAsset() as python:
                environment(draft, name, python, by_asset[name])
    for name in names:
        asset = plan.assets[name]
        if isinstance(asset, FilesAsset) and asset.role == "configuration":
            package_state.take_over(draft, [f for f in by_asset[name] if (f.host, f.subject) in places])


def _restore(draft: Draft, by_asset: Grouped) -> None:
    for name in draft.plan.order():
        match draft.plan.assets[name]:
            case FilesAsset(role="data") as data if name in by_asset:
                if not file_mistakes.mistakes(draft, name, data, by_asset[name]):
                    files(draft, name, data, by_asset[name], ())
            case PostgresAsset() as postgres if name in by_asset:
                database(draft, name, postgres, [f for f in by_asset[name] if f.code not in SYMPTOMS])
            case (MariadbAsset() | SqliteAsset()) as rows if name in by_asset:
                other_database(draft, name, rows, [f for f in by_asset[name] if f.code not in SYMPTOMS])


def _restart(draft: Draft, by_asset: Grouped, symptoms: Sequence[Finding]) -> None:
    """Restart the services of what was repaired, and those that are down, each once, in dependency order.

    After the restore when any data they use is restored; a database's own server, when it is down or was repaired,
    before it: a restore needs it.
    """
    plan = draft.plan
    changed = {
        stage: {a.asset for a in draft.actions if a.stage is stage and a.kind != "restore_rows"}
        for stage in (Stage.REPAIR, Stage.RESTORE)
    }
    servers = {
        a.service for a in plan.assets.values() if isinstance(a, PostgresAsset | MariadbAsset) and a.service
    }
    replaced = {
        getattr(plan.assets[a.asset], "service", None): number
        for number, a in enumerate(draft.actions)
        if isinstance(a, RestoreCluster) and not a.replays
    }
    nothing_else = not draft.actions and all(finding.code is Code.PROBE_FAILED for finding in symptoms)
    for name in plan.order():
        service = plan.assets[name]
        if not isinstance(service, ServiceAsset):
            continue
        down = [f for f in by_asset.get(name, ()) if f.code is Code.SERVICE_DOWN]
        silent = [f for f in symptoms if f.code is Code.DATABASE_UNREACHABLE and _server_of(plan, f) == name]
        if name in replaced:  # it starts on the restored data; on the damaged it may not start at all
            cluster = draft.actions[replaced[name]]
            also = tuple(f.id for f in (*down, *silent))
            draft.actions[replaced[name]] = cluster.model_copy(
                update={"findings": (*cluster.findings, *also)}
            )
            continue
        hit = {
            stage: sorted(c for c in changed[stage] if name in plan.assets[c].services) for stage in changed
        }
        below = sorted(plan.needs(name) & changed[Stage.RESTORE])
        stages = _when(name in servers, bool(down or silent), hit, below)
        if nothing_else and any(finding.host == service.host for finding in symptoms):
            stages = [Stage.REPAIR]
        causes = sorted({*hit[Stage.REPAIR], *hit[Stage.RESTORE]})
        why = f"what it uses is repaired ({', '.join(causes)})" if causes else "it does not run as it should"
        if nothing_else:
            why = "it does not answer, and nothing that is damaged explains it: no rung is lower"
        draft.actions += [
            RestartService(
                id=UNNUMBERED, host=service.host, asset=name, stage=stage, rung=Rung.SERVICE,
                reason=f"{name} is restarted because {why}.",
                undo="It is restarted again after everything else is undone.", minutes=minutes(0.1, 0),
                findings=tuple(f.id for f in (*down, *silent)) if stage is stages[-1] else (), service=name,
            )
            for stage in stages
        ]  # fmt: skip


def _when(
    server: bool, failed: bool, hit: Mapping[Stage, Sequence[str]], below: Sequence[str]
) -> list[WorkStage]:
    """The stages at whose end a service is restarted."""
    before = bool(hit[Stage.REPAIR]) or failed
    after = bool(hit[Stage.RESTORE]) or (failed and bool(below) and not server)
    stages: list[WorkStage] = []
    if before and (server or not after):
        stages.append(Stage.REPAIR)
    if after:
        stages.append(Stage.RESTORE)
    return stages


def _server_of(plan: Plan, finding: Finding) -> str | None:
    asset = plan.assets.get(finding.asset)
    return asset.service if isinstance(asset, PostgresAsset | MariadbAsset) else None


def _explain(draft: Draft, symptoms: Sequence[Finding]) -> None:
    """Symptoms no restart cures directly belong to the last action, after which they must be gone; else to nobody."""
    cured = draft.cured()
    for finding in (f for f in symptoms if f.id not in cured):
        if finding.code is Code.DATABASE_UNREACHABLE and not any(
            a.asset == finding.asset for a in draft.actions
        ):
            draft.miss(
                finding,
                "the server does not answer, and the plan names no service that runs it",
                "start the server, then run the recovery again; name its service asset under `service` in the plan",
            )
        elif not draft.actions or finding.code is Code.EXPECTATION_FAILED:
            draft.miss(
                finding,
                "nothing damaged was found that explains it",
                "widen the plan's assets, or look at the host",
            )
        else:
            last = max(
                reversed(draft.actions),
                key=lambda action: (action.stage is Stage.RESTORE, action.rung is Rung.SERVICE),
            )
            place = draft.actions.index(last)
            draft.actions[place] = last.model_copy(update={"findings": (*last.findings, finding.id)})
