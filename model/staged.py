"""The plan as a drill follows it: every host replaced by the staging host that stands in for it (R-DRILL-3). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from model.assets import Asset, MariadbAsset, PostgresAsset
from model.drill import StandIn
from model.errors import Refused
from model.host import Host
from model.plan import Plan, Probe, TableChecks


class StagedPlan(Plan):
    """A plan of which every host is staging."""

    @property
    def kept_as(self) -> str:
        """Staging has records of its own: what is known of production stays as it is."""
        return f"{self.name}@staging"


def staged(plan: Plan) -> StagedPlan:
    """The plan with each host replaced by its staging host, under the same name.

    Raises:
        Refused: a host of an asset or a probe has none, or a server or URL is not known to be staging.
    """
    mapping = plan.drill.staging
    used = {asset.host for asset in plan.assets.values()}
    used |= {probe.from_host for probe in plan.checks.probes if probe.from_host}
    if missing := sorted(used - set(mapping)):
        raise Refused(
            f"a drill never touches production, and nothing stands in for {', '.join(missing)}.",
            f"plan {plan.name}", f"name a staging host for each: `drill.staging.{missing[0]}`",
        )  # fmt: skip
    hosts: dict[str, Host] = {
        name: StandIn(**mapping[name].model_dump(), origin=plan.hosts[name].machine_id)
        for name in plan.hosts
        if name in mapping
    }
    # A sandbox has no place in a drill, and its host may have no stand-in.
    verification = plan.verification.model_copy(update={"host": None})
    assets = {name: _asset(plan, name, asset) for name, asset in plan.assets.items()}
    checks = plan.checks.model_copy(
        update={"probes": tuple(_probe(plan, probe) for probe in plan.checks.probes), "tables": _tables(plan)}
    )
    return StagedPlan.model_construct(
        plan.model_fields_set, **{field: getattr(plan, field) for field in Plan.model_fields}
    ).model_copy(update={"hosts": hosts, "verification": verification, "assets": assets, "checks": checks})


def _instead(plan: Plan, address: str) -> str | None:
    """The address on staging of what has this address in production; None when that is not known or not only one."""
    found = {
        plan.drill.staging[name].address
        for name, host in plan.hosts.items()
        if host.address == address and name in plan.drill.staging
    }
    return found.pop() if len(found) == 1 and address not in found else None


def _is_local(address: str) -> bool:
    return address.startswith(("/", "127.")) or address in {"localhost", "::1", "[::1]"}


def _asset(plan: Plan, name: str, asset: Asset) -> Asset:
    """An asset whose server is on staging: beside it on its host, or the stand-in of another host of the plan."""
    if not isinstance(asset, PostgresAsset | MariadbAsset) or _is_local(asset.server):
        return asset
    instead = _instead(plan, asset.server)
    if instead is None:
        raise Refused(
            f"a drill never touches production, and the server {asset.server} is not known to be staging.",
            f"plan {plan.name}, asset {name}", "name its server as a host of the plan, with a stand-in",
        )  # fmt: skip
    return asset.model_copy(update={"server": instead})


def _probe(plan: Plan, probe: Probe) -> Probe:
    """A probe that asks staging: where the plan says, the staging host itself, or the stand-in of the host it names."""
    if probe.name in plan.drill.probes:
        return probe.model_copy(update={"url": plan.drill.probes[probe.name]})
    parts = urlsplit(probe.url)
    if probe.from_host and _is_local(parts.hostname or ""):
        return probe
    instead = _instead(plan, parts.hostname or "")
    if instead is None:
        raise Refused(
            f"a drill never asks production, and {probe.url} is not known to be staging.",
            f"plan {plan.name}, probe {probe.name}", f"say where it is on staging: `drill.probes.{probe.name}`",
        )  # fmt: skip
    port = f":{parts.port}" if parts.port else ""
    there = f"[{instead}]" if ":" in instead else instead
    return probe.model_copy(update={"url": parts._replace(netloc=there + port).geturl()})


def _tables(plan: Plan) -> tuple[TableChecks, ...]:
    """Expectations without those on freshness: staging is as old as what was restored on it."""
    return tuple(
        table.model_copy(update={"fresh": ()})
        for table in plan.checks.tables
        if table.expectations or table.refers or table.recorded
    )


def not_staging(signed: Plan, current: Plan) -> dict[str, list[str]]:
    """What speaks against each stand-in by the plan alone: the first of the three facts (G12).

    Args:
        signed: the newest published version of the plan, or the file's text when none was ever published.
        current: the text that is followed.

    Returns:
        Host → sentences; every host of the mapping is there, with none when all is well.
    """
    return {
        name: [
            *_is_production(host, signed, current),
            *_not_signed(host, signed.drill.staging.get(name)),
        ]
        for name, host in current.drill.staging.items()
    }


def _is_production(host: Host, *plans: Plan) -> Iterator[str]:
    there = {(name, one) for plan in plans for name, one in plan.hosts.items() if one.role == "production"}
    for name, one in sorted(there, key=lambda pair: pair[0]):
        if host.machine_id == one.machine_id:
            yield f"its machine-id is that of production host {name}"
        if host.host_key == one.host_key:
            yield f"its host key is that of production host {name}"
        if (host.address, host.port) == (one.address, one.port):
            yield f"its address is that of production host {name}"


def _not_signed(host: Host, known: Host | None) -> Iterator[str]:
    if known is None:
        yield "the published plan names no stand-in here"
    elif (host.machine_id, host.host_key) != (known.machine_id, known.host_key):
        yield "the published plan names another host here"
