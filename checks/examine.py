"""Examining a plan: every asset by the check of its kind, then the probes; one result each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks import database, files, packages, pip_environment, probe, service
from checks.wheels import references
from model.assets import DpkgAsset, FilesAsset, PipAsset, PostgresAsset, ServiceAsset
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.finding import CheckResult, Code, Verdict
from model.manifest import Entry, Manifest
from model.plan import Plan
from model.severity import Scope, scope_of

Tell = Callable[[int, int], None]
"""Told (assets examined, assets in all)."""


def examine(
    plan: Plan,
    connections: Mapping[str, Connection],
    *,
    baselines: Mapping[str, Sequence[Entry]],
    manifests: Mapping[str, Manifest],
    secrets: Secrets,
    only: set[str] | None = None,
    progress: Tell | None = None,
    package_dirs: Mapping[str, Path] | None = None,
) -> tuple[CheckResult, ...]:
    """Run the checks of a plan.

    Args:
        plan: the plan.
        connections: an open connection per host; what is on a host without one is an ERROR naming the host.
        baselines: recorded metadata of package files, by asset.
        manifests: newest verified manifest of an asset's backups.
        secrets: resolver of the plan's references (database passwords).
        only: names of assets to look at; then no probe is sent. None: everything.
        progress: told after each asset.
        package_dirs: package stores by name: what they hold tells whether a host's own hash lists were altered.

    Returns:
        A result per asset in dependency order, then one per probe. A check that could not run is an ERROR naming why.

    Raises:
        Transient: a connection was lost.
    """
    names = [name for name in plan.order() if only is None or name in only]
    results: list[CheckResult] = []
    for number, name in enumerate(names, start=1):
        start = time.monotonic()
        result = _one(plan, name, connections, baselines, manifests, secrets, package_dirs or {})
        results.append(result.model_copy(update={"seconds": round(time.monotonic() - start, 3)}))
        if progress is not None:
            progress(number, len(names))
    if only is None:
        results += probe.probe_with(plan, connections)
    return tuple(results)


def _one(
    plan: Plan,
    name: str,
    connections: Mapping[str, Connection],
    baselines: Mapping[str, Sequence[Entry]],
    manifests: Mapping[str, Manifest],
    secrets: Secrets,
    package_dirs: Mapping[str, Path],
) -> CheckResult:
    asset = plan.assets[name]
    connection = connections.get(asset.host)
    if connection is None:
        return failed(asset.kind, asset.host, name, f"host {asset.host} cannot be reached")
    try:
        match asset:
            case DpkgAsset():
                recorded = tuple(baselines.get(name, ()))
                return packages.judge(name, asset, packages.collect(connection, asset, recorded), recorded)
            case PipAsset():
                data = pip_environment.collect(connection, asset)
                wheels, remarks = references(package_dirs.get(asset.store), data.distributions)
                return pip_environment.judge(
                    name, asset, data, wheels=wheels, remarks=remarks, accepted=tuple(baselines.get(name, ()))
                )
            case FilesAsset():
                if name not in manifests:
                    return failed("files", asset.host, name, "there is no recovery point to compare with")
                manifest = manifests[name]
                return files.judge(name, asset, files.collect(connection, asset, manifest), manifest)
            case PostgresAsset():
                return database.judge(
                    name, asset, database.collect(connection, asset, secrets), manifests.get(name)
                )
            case ServiceAsset():
                return service.judge(name, asset, service.collect(connection, asset))
    except Transient:
        raise
    except (PreconditionFailed, ReinstateError) as error:
        return failed(asset.kind, asset.host, name, str(error))


def failed(check: str, host: str, asset: str, why: str) -> CheckResult:
    """A check that could not run: ERROR, never a pass (G11)."""
    return CheckResult(
        check=check, host=host, asset=asset, verdict=Verdict.ERROR, examined=0,
        sentence=f"{asset} on {host} could not be checked: {why}", not_checked=(f"{asset}: {why}",),
    )  # fmt: skip


def impact_scope(results: Sequence[CheckResult], plan: Plan) -> Scope:
    """Who is affected: by the services that are down and the probes that failed (R-RESP-2)."""
    findings = [finding for result in results for finding in result.findings]
    down = {f.asset for f in findings if f.code is Code.SERVICE_DOWN}
    failed_probes = sum(f.code is Code.PROBE_FAILED for f in findings)
    services = sum(isinstance(asset, ServiceAsset) for asset in plan.assets.values())
    return scope_of(len(down), failed_probes, services)
