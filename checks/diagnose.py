"""Why, since when, who is affected: the diagnosis of what the checks found, from one look at each damaged host."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blocks.hosts.base import Connection
from checks import causes, impact, logs, onset, usage
from checks.log_lines import Line
from checks.many import side_by_side
from checks.onset import Health, Window
from model.assets import MariadbAsset, PostgresAsset, ServiceAsset
from model.diagnosis import Cause, CauseHint, Confidence, Diagnosis, Impact, Moment, Onset, shown, unique
from model.errors import ReinstateError
from model.finding import CheckResult, Code, Finding
from model.plan import Plan

LOOK_BACK = 6 * 3600.0
"""Seconds before the onset from which logs are read, at most."""

RUN_UP = 1800.0
"""Seconds before the last healthy moment from which logs are read."""

SKEW = 2.0
"""Seconds a host's clock may differ from ours before its times are corrected."""

_SHOWN_FIRST = {Code.DATABASE_TABLE_UNREADABLE, Code.DATABASE_CHECKSUM_FAILED}
_DATABASE_LOGS = ("/var/log/postgresql/", "/var/log/mysql/", "/var/log/mariadb/")


@dataclass
class Host:
    """What was learnt about one host."""

    findings: list[Finding]
    known: logs.Facts
    usage: usage.Usage = field(default_factory=usage.Usage)
    skew: float = 0.0
    not_checked: list[str] = field(default_factory=list)


def diagnose(
    plan: Plan,
    connections: Mapping[str, Connection],
    results: Sequence[CheckResult],
    health: Health,
    reported: datetime,
) -> Diagnosis | None:
    """Diagnose what was found; None when nothing was.

    Whatever cannot be read stands under `not_checked`; nothing but a defect of ours ends in an error.

    Args:
        plan: the plan.
        connections: open connections by host.
        results: of the checks.
        health: evidence of the time before.
        reported: when the damage was noticed.
    """
    findings = [finding for result in results for finding in result.findings]
    if not findings:
        return None
    names = list(dict.fromkeys(finding.host for finding in findings))

    def look(name: str) -> Host:
        units = [asset.unit for _, asset in _services(plan, name) if asset.unit]
        return _look(connections.get(name), [f for f in findings if f.host == name], units)

    hosts = dict(zip(names, side_by_side(look, names), strict=True))
    windows = {
        f.id: onset.window(plan, f, host.known, host.usage, health, host.skew, reported.timestamp())
        for host in hosts.values() for f in host.findings
    }  # fmt: skip
    impacts = impact.judge(plan, results, {n: h.usage for n, h in hosts.items()}, health.running)
    hints = side_by_side(
        lambda name: _causes(plan, name, hosts[name], connections.get(name), windows, impacts), names
    )
    ordered = _merged(hints)
    since = onset.onset(findings, windows, _moments(findings, windows, ordered, reported))
    confidence, because = _confidence(ordered, since, findings)
    left = [note for result in results for note in result.not_checked]
    left = [*(f"{n}: {note}" for n, h in hosts.items() for note in h.not_checked), *left]
    return Diagnosis(
        onset=since, assets=onset.by_asset(findings, windows), causes=ordered, impacts=impacts,
        confidence=confidence, because=because,
        not_checked=unique(shown(note, 300) for note in left),
    )  # fmt: skip


def why(
    plan: Plan,
    connections: Mapping[str, Connection],
    results: Sequence[CheckResult],
    health: Health,
    reported: datetime,
) -> Diagnosis | None:
    """`diagnose`, whose own defects never stop the confirmation of what is damaged: they stand under `not_checked`."""
    try:
        return diagnose(plan, connections, results, health, reported)
    except Exception as error:  # noqa: BLE001 - whatever it is, what is damaged is known and people must see that
        said = f"why, since when and who is affected: {type(error).__name__}: {error}"
        since = Onset(
            earliest=None, earliest_because="the diagnosis failed", latest=reported,
            latest_because="it was reported then",
        )  # fmt: skip
        return Diagnosis(
            onset=since, confidence=Confidence.LOW, because="the diagnosis failed", not_checked=(shown(said),)
        )


def _look(connection: Connection | None, findings: list[Finding], units: list[str]) -> Host:
    """Clock, times, disks, and who uses what; two commands."""
    nothing = Host(findings, logs.Facts(now=time.time()))
    if connection is None:
        nothing.not_checked.append("since when, why and who is affected: there is no connection")
        return nothing
    host = nothing
    try:
        before = time.time()
        host = Host(findings, logs.facts(connection, onset.paths_to_time(findings)))
        offset = host.known.now - (before + time.time()) / 2
        if host.known.now and abs(offset) > SKEW:
            host.skew = offset
            ahead = "ahead of" if offset > 0 else "behind"
            host.not_checked.append(
                f"exact times: its clock is {abs(offset):.0f} s {ahead} ours; the times here are corrected by that"
            )
    except ReinstateError as error:
        host.not_checked.append(f"clock, disks and times of its files: {error.what}")
    try:
        host.usage = usage.collect(connection, impact.paths_of(findings), impact.packages_of(findings), units)
        host.not_checked += host.usage.not_checked
    except ReinstateError as error:
        host.not_checked.append(f"who uses the damaged files: {error.what}")
    return host


def _causes(
    plan: Plan, name: str, host: Host, connection: Connection | None, windows: dict[str, Window],
    impacts: Sequence[Impact],
) -> tuple[CauseHint, ...]:  # fmt: skip
    """The hints of one host; windows that a log makes narrower are narrowed."""
    lines: tuple[Line, ...] = ()
    if connection is not None:
        mine = [windows[finding.id] for finding in host.findings]
        high = min(window.high for window in mine)
        lows = [window.low for window in mine if window.low is not None]
        since = max(high - LOOK_BACK, min(lows, default=high) - RUN_UP)
        try:
            asset_logs = [log for _, asset in _services(plan, name) for log in asset.logs]
            read = logs.collect(connection, host.known, since + host.skew, high + host.skew + 600, asset_logs)
            lines = read.lines
            host.not_checked += read.not_checked
        except ReinstateError as error:
            host.not_checked.append(f"logs: {error.what}")
    subjects = [
        causes.subject(f, windows[f.id], _units(plan, f, impacts), _own_logs(plan, f, lines))
        for f in host.findings
    ]
    found = causes.hints(name, lines, host.known, host.usage, subjects, host.skew)
    for finding, (moment, why) in causes.first_signs(found, {Cause.DATABASE_CORRUPTION: ""}).items():
        code = next(f.code for f in host.findings if f.id == finding)
        if code in _SHOWN_FIRST:
            windows[finding] = onset.narrowed(windows[finding], moment, why)
    return found


def _services(plan: Plan, host: str) -> list[tuple[str, ServiceAsset]]:
    return [(n, a) for n, a in plan.assets.items() if isinstance(a, ServiceAsset) and a.host == host]


def _units(plan: Plan, finding: Finding, impacts: Sequence[Impact]) -> set[str]:
    """Units whose log lines are about a finding: those that use what is damaged, and the asset's own."""
    units = {
        i.name for i in impacts if i.kind == "unit" and i.host == finding.host and finding.id in i.findings
    }
    asset = plan.assets.get(finding.asset)
    if isinstance(asset, PostgresAsset | MariadbAsset) and asset.service:
        asset = plan.assets[asset.service]
    if isinstance(asset, ServiceAsset) and asset.unit:
        units.add(asset.unit)
    return units


def _own_logs(plan: Plan, finding: Finding, lines: Sequence[Line]) -> set[str]:
    """Log files that are the finding's own: of its service, of its database."""
    asset = plan.assets.get(finding.asset)
    found: set[str] = set()
    databases = [a.service for a in plan.assets.values() if isinstance(a, PostgresAsset | MariadbAsset)]
    if isinstance(asset, PostgresAsset | MariadbAsset) or finding.asset in databases:
        found |= {line.source for line in lines if line.source.startswith(_DATABASE_LOGS)}
    service = (
        plan.assets.get(asset.service)
        if isinstance(asset, PostgresAsset | MariadbAsset) and asset.service
        else asset
    )
    if isinstance(service, ServiceAsset):
        found |= {line.source for line in lines for log in service.logs if _fits(line.source, log)}
    return found


def _fits(path: str, pattern: str) -> bool:
    head, star, tail = pattern.partition("*")
    return (
        path.removesuffix(".1") == pattern
        if not star
        else path.startswith(head) and path.removesuffix(".1").endswith(tail)
    )


def _merged(hints: Sequence[tuple[CauseHint, ...]]) -> tuple[CauseHint, ...]:
    """Hints of several hosts, each host's first one before anybody's second."""
    rounds = max((len(of_host) for of_host in hints), default=0)
    return tuple(of_host[number] for number in range(rounds) for of_host in hints if number < len(of_host))


def _moments(
    findings: Sequence[Finding], windows: Mapping[str, Window], hints: Sequence[CauseHint], reported: datetime
) -> list[Moment]:
    """What goes into the timeline."""
    found = [Moment(at=reported, host="", kind="report", sentence="the damage was reported")]
    for finding in findings:
        window = windows[finding.id]
        if window.low is not None:
            found.append(
                Moment(
                    at=onset.at(window.low), host=finding.host, kind="healthy", sentence=window.low_because
                )
            )
        if window.dated:
            found.append(
                Moment(
                    at=onset.at(window.high), host=finding.host, kind="damage", sentence=window.high_because
                )
            )
    telling = [hint for hint in hints if hint.confidence is not Confidence.LOW or hint.code in causes.DEPTH]
    for hint in [hint for hint in telling if hint.code is not Cause.UNIT_FAILED][:4] or telling[:1]:
        before = hint.code in causes.DEPTH
        dated = [line for line in hint.lines if line.at is not None]
        for line in dated[:1]:
            said = f"{hint.code}: {shown(line.text, 160)}"
            found.append(
                Moment.model_validate(
                    {
                        "at": line.at,
                        "host": hint.host,
                        "kind": "before" if before else "sign",
                        "sentence": said,
                    }
                )
            )
    return found


def _confidence(
    hints: Sequence[CauseHint], since: Onset, findings: Sequence[Finding]
) -> tuple[Confidence, str]:
    """How sure we are of the whole."""
    if not hints:
        return Confidence.LOW, "no log line shows a cause"
    top = hints[0]
    primary = {f.id for f in findings if f.code not in onset.CONSEQUENCES} or {f.id for f in findings}
    explained = primary & {
        finding for hint in hints if hint.confidence is not Confidence.LOW for finding in hint.findings
    }
    share = f"{len(explained)} of {len(primary)} damaged things explained by what the host says about them"
    narrow = since.earliest is not None and (since.latest - since.earliest).total_seconds() <= 24 * 3600
    when = "the onset is known to the day or better" if narrow else "the onset is not narrowed to a day"
    if top.confidence is Confidence.HIGH and narrow and len(explained) * 2 >= len(primary):
        return Confidence.HIGH, f"{share}, {when}"
    confidence = Confidence.LOW if top.confidence is Confidence.LOW and not explained else Confidence.MEDIUM
    return confidence, f"{share}, {when}"
