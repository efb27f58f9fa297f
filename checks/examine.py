"""Examining a plan: every asset by the check of its kind, then the probes; one result each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from blocks.secrets import Secrets
from checks import (
    database,
    files,
    mariadb_tables,
    packages,
    pip_environment,
    probe,
    rpm_packages,
    service,
    sqlite,
    stat,
    system,
    toolbox,
)
from checks.hash_lists import Delivered
from checks.many import Board, Tell, side_by_side
from checks.stat import Screen
from checks.toolbox import Broken
from checks.wheel_shelf import references
from model.accepted import Accepted
from model.assets import (
    DatabaseAsset,
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PipAsset,
    PostgresAsset,
    RpmAsset,
    ServiceAsset,
    SqliteAsset,
    SystemAsset,
)
from model.diagnosis import Impact, Reach
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.finding import CheckResult, Code, Verdict
from model.manifest import Entry, Manifest
from model.plan import Plan
from model.severity import Scope, scope_of


def examine(
    plan: Plan,
    connections: Mapping[str, Connection],
    *,
    baselines: Mapping[str, Sequence[Entry]],
    manifests: Mapping[str, Manifest],
    secrets: Secrets,
    only: set[str] | None = None,
    progress: Tell | None = None,
    accepted: Mapping[str, Sequence[Accepted]] | None = None,
    delivered: Mapping[str, Delivered] | None = None,
    broken: Mapping[str, Sequence[Broken]] | None = None,
    package_stores: Mapping[str, PackageStore] | None = None,
    screens: Mapping[str, Screen] | None = None,
) -> tuple[CheckResult, ...]:
    """Run the checks of a plan: hosts side by side, the assets of one host one after another over its connection.

    Args:
        plan: the plan.
        connections: an open connection per host; what is on a host without one is an ERROR naming the host.
        baselines: recorded metadata of package files, by asset.
        manifests: newest verified manifest of an asset's backups.
        secrets: resolver of the plan's references (database passwords).
        only: names of assets to look at; then no probe is sent. None: everything.
        progress: told while it goes on.
        accepted: differences people accepted, by asset.
        delivered: what packages in the plan's store say their hashes are, by asset.
        broken: tools that do not work, by host; a finding each.
        package_stores: package stores by name: what they hold tells whether a host's own hash lists were altered.
        screens: by file set, what need not be read again; what is found whole is put into them.

    Returns:
        A result per asset in dependency order, then one per probe. A check that could not run is an ERROR naming why.

    Raises:
        Transient: a connection was lost.
    """
    names = [name for name in plan.order() if only is None or name in only]
    board = Board(len(names))
    by_host: dict[str, list[str]] = {}
    for name in names:
        by_host.setdefault(plan.assets[name].host, []).append(name)

    def work_through(mine: Sequence[str]) -> dict[str, CheckResult]:
        results = {}
        for name in mine:
            start = time.monotonic()
            part = partial(board.tell, name)
            result = _one(
                plan,
                name,
                connections,
                baselines,
                manifests,
                secrets,
                accepted or {},
                delivered or {},
                package_stores or {},
                screens or {},
                part,
            )
            results[name] = result.model_copy(update={"seconds": round(time.monotonic() - start, 3)})
            board.finish(name)
        return results

    found: dict[str, CheckResult] = {}
    for results in side_by_side(work_through, list(by_host.values()), lambda: board.show(progress)):
        found |= results
    checked: list[CheckResult] = []
    for name in names:
        checked += [*_tools(plan, name, broken or {}, checked), found[name]]
    if only is None:
        checked += probe.probe_with(plan, connections)
    return tuple(checked)


def _tools(
    plan: Plan, name: str, broken: Mapping[str, Sequence[Broken]], results: Sequence[CheckResult]
) -> list[CheckResult]:
    """Broken tools of a host, once, with its own Debian packages."""
    asset = plan.assets[name]
    told = any(result.check == "tools" and result.host == asset.host for result in results)
    if not isinstance(asset, DpkgAsset) or asset.root != "/" or told or not broken.get(asset.host):
        return []
    return [toolbox.judge(name, asset, broken[asset.host])]


def _one(
    plan: Plan,
    name: str,
    connections: Mapping[str, Connection],
    baselines: Mapping[str, Sequence[Entry]],
    manifests: Mapping[str, Manifest],
    secrets: Secrets,
    accepted: Mapping[str, Sequence[Accepted]],
    delivered: Mapping[str, Delivered],
    package_stores: Mapping[str, PackageStore],
    screens: Mapping[str, Screen],
    progress: stat.Tell,
) -> CheckResult:
    asset = plan.assets[name]
    connection = connections.get(asset.host)
    if connection is None:
        return failed(asset.kind, asset.host, name, f"host {asset.host} cannot be reached")
    try:
        match asset:
            case DpkgAsset():
                recorded = tuple(baselines.get(name, ()))
                agreed = tuple(accepted.get(name, ()))
                data = packages.collect(connection, asset, recorded, accepted=agreed, progress=progress)
                return packages.judge(
                    name, asset, data, recorded, accepted=agreed, delivered=delivered.get(name)
                )
            case RpmAsset():
                agreed = tuple(accepted.get(name, ()))
                looked = rpm_packages.collect(connection, asset, agreed, progress)
                return rpm_packages.judge(name, asset, looked, tuple(baselines.get(name, ())), agreed)
            case PipAsset():
                python = pip_environment.collect(connection, asset)
                wheels, remarks = references(package_stores.get(asset.store), python.distributions)
                return pip_environment.judge(
                    name,
                    asset,
                    python,
                    wheels=wheels,
                    remarks=remarks,
                    accepted=[one.entry for one in accepted.get(name, ())],
                )
            case FilesAsset():
                if name not in manifests:
                    return failed("files", asset.host, name, "there is no recovery point to compare with")
                return files.check(connection, name, asset, manifests[name], screens.get(name), progress)
            case PostgresAsset() | MariadbAsset() | SqliteAsset():
                return _database(name, asset, connection, secrets, manifests.get(name))
            case ServiceAsset():
                return service.judge(name, asset, service.collect(connection, asset))
            case SystemAsset():
                return system.judge(name, asset, system.collect(connection, asset), baselines.get(name, ()))
    except Transient:
        raise
    except (PreconditionFailed, ReinstateError) as error:
        return failed(asset.kind, asset.host, name, str(error))


def _database(
    name: str, asset: DatabaseAsset, connection: Connection, secrets: Secrets, manifest: Manifest | None
) -> CheckResult:
    if isinstance(asset, PostgresAsset):
        data = database.collect(connection, asset, secrets)
    elif isinstance(asset, MariadbAsset):
        data = mariadb_tables.collect(connection, asset, secrets)
    else:
        data = sqlite.collect(connection, asset)
    return database.judge(name, asset, data, manifest)


def failed(check: str, host: str, asset: str, why: str) -> CheckResult:
    """A check that could not run: ERROR, never a pass (G11)."""
    return CheckResult(
        check=check, host=host, asset=asset, verdict=Verdict.ERROR, examined=0,
        sentence=f"{asset} on {host} could not be checked: {why}", not_checked=(f"{asset}: {why}",),
    )  # fmt: skip


def impact_scope(results: Sequence[CheckResult], plan: Plan, impacts: Sequence[Impact] = ()) -> Scope:
    """Who is affected: services that are down, probes that failed, and what uses the damaged things (R-RESP-2).

    Args:
        results: of the checks.
        plan: the plan.
        impacts: of the diagnosis. A service counts when it is stopped, uses what is damaged, or depends on damaged
            data; that it depends on all packages or the whole system is no sign that it uses the damaged one. A unit
            that no plan names counts when it is stopped or uses what is damaged.
    """
    findings = [finding for result in results for finding in result.findings]
    affected = {f.asset for f in findings if f.code is Code.SERVICE_DOWN}
    wide = {f.id for f in findings if isinstance(plan.assets.get(f.asset), DpkgAsset | SystemAsset)}
    ours = {(asset.host, asset.unit) for asset in plan.assets.values() if isinstance(asset, ServiceAsset)}
    others: set[str] = set()
    for impact in impacts:
        used = impact.reach is not Reach.DEPENDS
        if impact.kind == "service" and (used or not wide.issuperset(impact.findings)):
            affected.add(impact.name)
        elif impact.kind == "unit" and used and (impact.host, impact.name) not in ours:
            others.add(f"{impact.host}/{impact.name}")
    failed_probes = sum(f.code is Code.PROBE_FAILED for f in findings)
    services = sum(isinstance(asset, ServiceAsset) for asset in plan.assets.values())
    return scope_of(len(affected | others), failed_probes, services + len(others))
