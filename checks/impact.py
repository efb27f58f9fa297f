"""Impact scope: from the damaged things over processes, units and ports to the plan's services, assets and probes.

Every link of a chain says why. What a service used while it was healthy was recorded by `back_up`: a service that is
down maps no library and listens on no port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from checks.usage import Usage
from model.assets import MariadbAsset, PostgresAsset, ServiceAsset
from model.command import printable
from model.diagnosis import Impact, Listener, Reach, Running
from model.finding import CheckResult, Code, Finding
from model.plan import Plan

ORDER = {"service": 0, "unit": 1, "port": 2, "probe": 3, "asset": 4, "table": 5, "process": 6}
_STATES = {Reach.STOPPED: 0, Reach.USES: 1, Reach.DEPENDS: 2}
PROCESSES = 12
"""Processes named; the rest is counted by their unit."""

_HOW = {
    "runs": "runs it",
    "mapped": "has it mapped",
    "open": "has it open",
    "named": "names it on its command line",
}
_OWN_FOLDERS = ("/etc/{}/", "/etc/{}.conf", "/etc/default/{}", "/etc/sysconfig/{}", "/var/lib/{}/")


@dataclass
class Effects:
    """Impacts while they are gathered: one per thing, with the strongest reach and the chain that tells most."""

    found: dict[tuple[str, str, str], Impact] = field(default_factory=dict)

    def add(
        self, kind: str, name: str, host: str, reach: Reach, chain: Iterable[str], findings: Iterable[str]
    ) -> Impact:
        """Add, or join with what is known of the same thing."""
        key = (host, kind, name)
        new = Impact.model_validate(
            {"kind": kind, "name": name, "host": host, "reach": reach, "chain": tuple(chain),
             "findings": tuple(dict.fromkeys(findings))}
        )  # fmt: skip
        old = self.found.get(key)
        if old is not None:
            telling = max((old, new), key=lambda i: (i.reach is not Reach.DEPENDS, len(i.chain)))
            joined = tuple(dict.fromkeys((*old.findings, *new.findings)))
            strongest = min(old.reach, new.reach, key=_STATES.__getitem__)
            new = telling.model_copy(update={"findings": joined, "reach": strongest})
        self.found[key] = new
        return new

    def of(self, kind: str) -> list[Impact]:
        """All of a kind."""
        return [impact for (_, k, _), impact in self.found.items() if k == kind]


def paths_of(findings: Sequence[Finding]) -> list[str]:
    """The damaged paths among the subjects, worst first."""
    ordered = sorted(findings, key=lambda finding: -finding.degree)
    return list(
        dict.fromkeys(f.subject for f in ordered if f.subject.startswith("/") and "\0" not in f.subject)
    )


def packages_of(findings: Sequence[Finding]) -> list[str]:
    """Packages that are damaged as a whole."""
    broken = {Code.PACKAGE_STATE_BROKEN, Code.PACKAGE_NOT_INSTALLED}
    return list(
        dict.fromkeys(f.package.partition(":")[0] for f in findings if f.code in broken and f.package)
    )


def judge(
    plan: Plan,
    results: Sequence[CheckResult],
    usage: Mapping[str, Usage],
    recorded: Mapping[str, Running],
) -> tuple[Impact, ...]:
    """What is affected, with the reason per link.

    Args:
        plan: the plan.
        results: of every check.
        usage: of the hosts that could be asked.
        recorded: what ran on each host while it was healthy.
    """
    effects, findings = Effects(), [finding for result in results for finding in result.findings]
    for host in dict.fromkeys(finding.host for finding in findings):
        mine = [finding for finding in findings if finding.host == host]
        _host(effects, host, mine, usage.get(host, Usage()), recorded.get(host))
    _plan(effects, plan, findings, usage, recorded)
    ordered = sorted(effects.found.values(), key=lambda i: (_STATES[i.reach], ORDER[i.kind], i.host, i.name))
    return tuple(ordered)


def _host(
    effects: Effects, host: str, findings: list[Finding], usage: Usage, recorded: Running | None
) -> None:
    """Processes, units and what needs them."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.subject, []).append(finding)
        if finding.package:
            by_path.setdefault(finding.package.partition(":")[0], []).append(finding)

    def ids(what: str) -> list[str]:
        return [finding.id for finding in by_path.get(what, ())]

    shown = 0
    for hit in usage.hits:
        chain = [f"{hit.path} is damaged", f"{hit.process} (PID {hit.pid}) {_HOW.get(hit.how, 'uses it')}"]
        if hit.unit:
            effects.add("unit", hit.unit, host, _reach(usage, hit.unit), chain, ids(hit.path))
        if shown < PROCESSES:
            effects.add("process", f"{hit.process} (PID {hit.pid})", host, Reach.USES, chain, ids(hit.path))
            shown += 1
    for need in usage.needs:
        chain = [f"{need.what} is damaged", *need.chain]
        effects.add("unit", need.unit, host, _reach(usage, need.unit), chain, ids(need.what))
    if recorded is not None:
        _recorded_files(effects, host, findings, usage, recorded)
    for name in usage.units:
        _own_folder(effects, host, name, findings, usage)
    for finding in findings:
        if (
            finding.code in {Code.SERVICE_DOWN, Code.UNIT_FAILED, Code.UNIT_MASKED}
            and finding.subject in usage.units
        ):
            state = usage.units[finding.subject]
            said = f"{state.name} is {state.active} ({state.sub})" + (
                f": {state.ended}" if state.ended else ""
            )
            effects.add("unit", state.name, host, Reach.STOPPED, [said], [finding.id])
    _requiring(effects, host, usage)


def _reach(usage: Usage, unit: str) -> Reach:
    state = usage.units.get(unit)
    return Reach.STOPPED if state is not None and state.down else Reach.USES


def _recorded_files(
    effects: Effects, host: str, findings: list[Finding], usage: Usage, recorded: Running
) -> None:
    known = {path: unit for unit, paths in recorded.files.items() for path in paths}
    users: dict[str, list[str]] = {}
    for unit, paths in recorded.files.items():
        for path in paths:
            users.setdefault(path, []).append(unit)
    for finding in findings:
        for path in {finding.subject, f"/usr{finding.subject}", finding.subject.removeprefix("/usr")} & set(
            known
        ):
            for unit in users[path]:
                said = (
                    f"{unit} used it while its host was healthy (recorded {recorded.at:%Y-%m-%d %H:%M} UTC)"
                )
                chain = [f"{finding.subject} is damaged", said]
                effects.add("unit", unit, host, _reach(usage, unit), chain, [finding.id])


def _own_folder(effects: Effects, host: str, unit: str, findings: list[Finding], usage: Usage) -> None:
    """Files that are a service's by name: /etc/nginx/… is nginx.service's configuration."""
    stem = unit.removesuffix(".service").partition("@")[0]
    places = [place.format(stem) for place in _OWN_FOLDERS]
    for finding in findings:
        place = next(
            (p for p in places if f"{finding.subject}/".startswith(p if p.endswith("/") else f"{p}/")), None
        )
        if place is not None and len(stem) > 2:
            chain = [f"{finding.subject} is damaged", f"{place} belongs to {unit} by its name"]
            effects.add("unit", unit, host, _reach(usage, unit), chain, [finding.id])


def _requiring(effects: Effects, host: str, usage: Usage) -> None:
    """Units that cannot do without an affected one."""
    todo = [impact for impact in effects.of("unit") if impact.host == host]
    while todo:
        impact = todo.pop()
        for state in usage.units.values():
            if impact.name in state.requires and (host, "unit", state.name) not in effects.found:
                chain = [*impact.chain, f"{state.name} requires {impact.name}"]
                todo.append(effects.add("unit", state.name, host, Reach.DEPENDS, chain, impact.findings))


def _plan(
    effects: Effects, plan: Plan, findings: Sequence[Finding], usage: Mapping[str, Usage],
    recorded: Mapping[str, Running],
) -> None:  # fmt: skip
    services = {(asset.host, asset.unit): name for name, asset in plan.assets.items()
                if isinstance(asset, ServiceAsset) and asset.unit}  # fmt: skip
    for finding in findings:
        if finding.code is Code.SERVICE_DOWN:
            said = f"{finding.subject} is down: {finding.actual}"
            effects.add("service", finding.asset, finding.host, Reach.STOPPED, [said], [finding.id])
    for impact in effects.of("unit"):
        if name := services.get((impact.host, impact.name)):
            chain = [*impact.chain, f"the plan's service {name} is {impact.name}"]
            effects.add("service", name, impact.host, impact.reach, chain, impact.findings)
    _depending(effects, plan, findings)
    _ports(effects, plan, usage, recorded)
    _probes(effects, plan, findings)
    for table in plan.checks.tables:
        base = effects.found.get((plan.assets[table.database].host, "asset", table.database))
        if base is not None:
            said = f"the plan checks table {table.table} of it"
            effects.add("table", table.table, base.host, Reach.DEPENDS, [*base.chain, said], base.findings)


def _depending(effects: Effects, plan: Plan, findings: Sequence[Finding]) -> None:
    """The plan's own links: the damaged assets, the services they name, and what depends on either."""
    for finding in findings:
        if finding.asset in plan.assets and not isinstance(plan.assets[finding.asset], ServiceAsset):
            count = sum(f.asset == finding.asset for f in findings)
            things = "1 thing" if count == 1 else f"{count} things"
            said = f"{things} of {finding.asset} {'is' if count == 1 else 'are'} damaged"
            reach = Reach.STOPPED if finding.code is Code.DATABASE_UNREACHABLE else Reach.USES
            effects.add("asset", finding.asset, plan.assets[finding.asset].host, reach, [said], [finding.id])
    todo = [*effects.of("asset"), *effects.of("service")]
    while todo:
        impact = todo.pop(0)
        for name, asset in plan.assets.items():
            service = isinstance(asset, ServiceAsset)
            kind = "service" if service else "asset"
            if impact.name in asset.depends_on:
                said = f"{name} depends on {impact.name} (plan)"
            elif service and impact.kind == "asset" and name in plan.assets[impact.name].services:
                said = f"{name} is restarted after repairs of {impact.name} (plan)"
            elif isinstance(asset, PostgresAsset | MariadbAsset) and asset.service == impact.name:
                said = f"{name} is served by {impact.name} (plan)"
            else:
                continue
            if (asset.host, kind, name) not in effects.found:
                chain = [*impact.chain, said]
                todo.append(effects.add(kind, name, asset.host, Reach.DEPENDS, chain, impact.findings))


def _ports(effects: Effects, plan: Plan, usage: Mapping[str, Usage], recorded: Mapping[str, Running]) -> None:
    """Ports of affected units: where they listen, or listened while their host was healthy."""
    for impact in [*effects.of("unit"), *effects.of("process")]:
        now = usage.get(impact.host, Usage()).listeners
        before = recorded[impact.host].listeners if impact.host in recorded else ()
        for listener in dict.fromkeys((*now, *before)):
            if not _belongs(listener, impact):
                continue
            open_now = any(one.port == listener.port and one.protocol == listener.protocol for one in now)
            said = f"{impact.name} listens on {listener.name}" if open_now else (
                f"{impact.name} listened on {listener.name} while its host was healthy; nothing does now"
            )  # fmt: skip
            reach = impact.reach if open_now else Reach.STOPPED
            effects.add("port", listener.name, impact.host, reach, [*impact.chain, said], impact.findings)
    for name, asset in plan.assets.items():
        base = effects.found.get((asset.host, "service", getattr(asset, "service", None) or ""))
        base = effects.found.get((asset.host, "asset", name)) or base
        if (
            isinstance(asset, PostgresAsset | MariadbAsset)
            and base is not None
            and not asset.server.startswith("/")
        ):
            said = f"the plan reaches {name} on tcp {asset.port}"
            effects.add(
                "port", f"tcp {asset.port}", asset.host, base.reach, [*base.chain, said], base.findings
            )


def _belongs(listener: Listener, impact: Impact) -> bool:
    if impact.kind == "unit":
        return listener.unit == impact.name
    return not listener.unit and impact.name.startswith(f"{listener.process} (")


def _probes(effects: Effects, plan: Plan, findings: Sequence[Finding]) -> None:
    failed = {f.asset: f for f in findings if f.code is Code.PROBE_FAILED}
    for probe in plan.checks.probes:
        parts = urlsplit(probe.url)
        port = f"tcp {parts.port or (443 if parts.scheme == 'https' else 80)}"
        host = probe.from_host or next((n for n, h in plan.hosts.items() if h.address == parts.hostname), "")
        at = effects.found.get((host, "port", port))
        if probe.name in failed:
            finding = failed[probe.name]
            said = f"{probe.url} does not answer as it should: {printable(finding.actual)}"
            effects.add("probe", probe.name, finding.host, Reach.STOPPED, [said], [finding.id])
            if host and at is None:
                effects.add("port", port, host, Reach.STOPPED, [said], [finding.id])
        elif at is not None:
            said = f"{probe.name} asks {port}"
            effects.add("probe", probe.name, host, at.reach, [*at.chain, said], at.findings)
