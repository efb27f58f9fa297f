"""Since when: per finding the last evidence of health and the first moment at which the damage was there.

A change through the file system moves a file's change time (ctime), which no program can set back; so it bounds the
damage from above. A content that differs although that time lies before a proven recovery point was changed beneath the
file system: by a disk, a memory or a raw write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from checks.logs import Facts
from checks.usage import Usage
from model.assets import DatabaseAsset, DpkgAsset, FilesAsset, MariadbAsset, PostgresAsset, ServiceAsset
from model.diagnosis import AssetOnset, Moment, Onset, Running
from model.finding import Code, Finding
from model.plan import Plan

CONSEQUENCES = frozenset(
    {
        Code.SERVICE_DOWN,
        Code.UNIT_FAILED,
        Code.PROBE_FAILED,
        Code.DATABASE_UNREACHABLE,
        Code.EXPECTATION_FAILED,
    }
)
"""What follows from a damage; it dates the damage only when nothing nearer does."""

_GONE = frozenset({Code.FILE_MISSING, Code.CONFFILE_MISSING})
_NO_CHANGE = frozenset({Code.DISK_FULL, Code.DISK_READ_ONLY, Code.CLOCK_SKEWED, Code.CERTIFICATE_EXPIRED})
"""Their subject's change time says nothing about when the damage began."""

_STATE = frozenset({Code.PACKAGE_STATE_BROKEN, Code.PACKAGE_NOT_INSTALLED})


@dataclass(frozen=True)
class Window:
    """When one damage can have begun, in seconds since 1970 by our clock.

    Attributes:
        low: last evidence of health; None when there is none.
        silent: the content differs, and no time of the file says so.
    """

    low: float | None
    low_because: str
    high: float
    high_because: str
    dated: bool = False
    silent: bool = False


@dataclass(frozen=True)
class Health:
    """What is known of the time before: recovery points, clean checks, and what ran, by asset and host."""

    points: Mapping[str, datetime]
    clean: Mapping[str, datetime]
    running: Mapping[str, Running]


def probe_key(name: str) -> str:
    """Under which name a probe's evidence of health is kept: assets have their own."""
    return f"probe:{name}"


def paths_to_time(findings: Iterable[Finding]) -> list[str]:
    """Paths whose times are asked for: the damaged ones, the folders of lost ones, the packages' own lists."""
    wanted: dict[str, None] = {}
    for finding in findings:
        if finding.subject.startswith("/"):
            wanted[finding.subject] = None
            for above in PurePosixPath(finding.subject).parents:
                wanted[str(above)] = None
        if finding.package:
            for place in package_lists(finding.package):
                wanted[place] = None
    return list(wanted)


def package_lists(package: str) -> tuple[str, ...]:
    """Where dpkg keeps a package's list, written when it was installed."""
    name = package.partition(":")[0]
    folder = "/var/lib/dpkg/info"
    return f"{folder}/{name}.list", f"{folder}/{name}:amd64.list", f"{folder}/{name}:arm64.list"


def window(
    plan: Plan, finding: Finding, known: Facts, usage: Usage, health: Health, skew: float, reported: float
) -> Window:
    """The window of one finding.

    Args:
        plan: the plan.
        finding: the damage.
        known: times of its host's paths.
        usage: states of its host's units.
        health: evidence of the time before.
        skew: seconds the host's clock is ahead of ours.
        reported: when the damage was noticed.
    """
    high, because, dated = reported, "it was reported then", False
    found = _changed(finding, known) or _stopped(plan, finding, usage)
    lows = list(_healthy(plan, finding, known, usage, health, skew))
    silent = False
    if found is not None and found[0] - skew <= high + 1:
        moment, why = found[0] - skew, found[1]
        proven = [low for low in lows if low[2]]
        silent = finding.code is Code.FILE_CONTENT_DIFFERS and any(moment < low[0] - 1 for low in proven)
        if not silent:
            high, because, dated = min(moment, high), why, True
    low = max((one for one in lows if one[0] <= high), default=None, key=lambda one: one[0])
    if low is None:
        return Window(None, "there is no evidence of an earlier healthy state", high, because, dated, silent)
    return Window(low[0], low[1], high, because, dated, silent)


def _changed(finding: Finding, known: Facts) -> tuple[float, str] | None:
    path = finding.subject
    if not path.startswith("/") or finding.code in _STATE | _NO_CHANGE:
        return None
    if path in known.times:
        return known.times[path].changed, f"{path} was changed last then"
    if finding.code in _GONE:
        for above in PurePosixPath(path).parents:
            if str(above) in known.times:
                return known.times[str(above)].modified, f"the folder {above} lost or got an entry last then"
    return None


def _stopped(plan: Plan, finding: Finding, usage: Usage) -> tuple[float, str] | None:
    state = usage.units.get(_unit(plan, finding))
    if state is None or not state.down:
        return None
    moment = state.left_active or state.became_inactive
    return (moment, f"{state.name} stopped running then") if moment else None


def _unit(plan: Plan, finding: Finding) -> str:
    asset = plan.assets.get(finding.asset)
    if isinstance(asset, PostgresAsset | MariadbAsset) and asset.service:
        asset = plan.assets[asset.service]
    return asset.unit or "" if isinstance(asset, ServiceAsset) else finding.subject


def _healthy(
    plan: Plan, finding: Finding, known: Facts, usage: Usage, health: Health, skew: float
) -> Iterable[tuple[float, str, bool]]:
    """(moment, why, whether the content was proven) of each evidence of health."""
    asset = plan.assets.get(finding.asset)
    probe = finding.code is Code.PROBE_FAILED
    if (key := probe_key(finding.asset) if probe else finding.asset) in health.clean:
        said = f"probe {finding.asset} passed" if probe else f"{finding.asset} was examined and whole"
        yield health.clean[key].timestamp(), said, True
    if isinstance(asset, FilesAsset | DatabaseAsset) and finding.asset in health.points:
        moment = health.points[finding.asset]
        yield moment.timestamp(), f"the recovery point of {finding.asset} was taken", True
    if isinstance(asset, DpkgAsset) and finding.package:
        moments = [known.times[p].modified - skew for p in package_lists(finding.package) if p in known.times]
        if moments and finding.code not in _STATE:
            yield max(moments), f"package {finding.package} was installed", False
    unit = _unit(plan, finding)
    state, recorded = usage.units.get(unit), health.running.get(finding.host)
    if state is not None and state.became_active and finding.code in CONSEQUENCES:
        yield state.became_active - skew, f"{unit} was started", False
    if recorded is not None and unit in recorded.files and finding.code in CONSEQUENCES:
        yield recorded.at.timestamp(), f"{unit} ran when its host was recorded healthy", False


def narrowed(old: Window, high: float, because: str) -> Window:
    """The window with an earlier upper end, when a log shows one that the evidence of health allows."""
    if high >= old.high or (old.low is not None and high < old.low):
        return old
    return replace(old, high=high, high_because=because, dated=True)


def onset(findings: Sequence[Finding], windows: Mapping[str, Window], moments: Iterable[Moment]) -> Onset:
    """The onset of all: no later than the first finding's, and no earlier than the first one can have begun."""
    primary = [f for f in findings if f.code not in CONSEQUENCES] or list(findings)
    if not any(windows[f.id].dated for f in primary) and any(windows[f.id].low is None for f in primary):
        primary = list(findings)
    chosen = [windows[f.id] for f in primary]
    last = min(chosen, key=lambda one: one.high)
    first = min(chosen, key=lambda one: -math.inf if one.low is None else one.low)
    low = None if first.low is None else min(first.low, last.high)
    kept: dict[tuple[datetime, str], Moment] = {}
    for moment in sorted(moments, key=lambda m: m.at):
        kept.setdefault((moment.at.replace(microsecond=0), moment.sentence), moment)
    return Onset(
        earliest=None if low is None else at(low),
        earliest_because=first.low_because,
        latest=at(last.high + TICK),
        latest_because=last.high_because,
        moments=tuple(_nearest(list(kept.values()), last.high, first.low_because)),
    )


def by_asset(findings: Sequence[Finding], windows: Mapping[str, Window]) -> dict[str, AssetOnset]:
    """When the damage of each asset can have begun, by its own findings alone."""
    found = {}
    for asset in dict.fromkeys(finding.asset for finding in findings):
        mine = [f for f in findings if f.asset == asset]
        chosen = [windows[f.id] for f in mine if f.code not in CONSEQUENCES] or [windows[f.id] for f in mine]
        high = min(one.high for one in chosen)
        lows = [one.low for one in chosen if one.low is not None]
        low = min(*lows, high) if lows and len(lows) == len(chosen) else None
        found[asset] = AssetOnset(earliest=None if low is None else at(low), latest=at(high + TICK))
    return found


TICK = 0.02
"""Seconds by which a file's change time may lie before the change itself: the kernel's clock tick, with room."""

MOMENTS = 9
"""Moments a timeline shows."""


def _nearest(moments: list[Moment], high: float, health: str) -> list[Moment]:
    """The moments nearest to the onset, in order; what was healthy last and the report always."""
    healthy = [m for m in moments if m.kind == "healthy" and m.sentence == health][-1:]
    others = [m for m in moments if m.kind != "healthy"]
    others.sort(key=lambda m: abs(m.at.timestamp() - high))
    order = ("healthy", "before", "damage", "sign", "report")
    chosen = [*healthy, *others[: MOMENTS - 1]]
    return sorted(chosen, key=lambda m: (m.at.replace(microsecond=0), order.index(m.kind), m.at))


def at(seconds: float) -> datetime:
    """A moment of ours, UTC, whole milliseconds."""
    return datetime.fromtimestamp(math.floor(seconds * 1000) / 1000, UTC)
