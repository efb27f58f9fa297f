"""Regular checks: when hosts are scanned, what is remembered of it, and which damage is new. Pure (R-PREV-2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field

from model.canonical import Value
from model.finding import CheckResult, Code, Degree, Finding, Verdict

KEPT = 200
"""Runs remembered per plan; the journals of incidents are kept for ever, this is for people's eyes."""

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: tuple[Mapping[str, int], ...] = (
    {}, {}, {}, {name: n for n, name in enumerate(_MONTHS, 1)}, {name: n for n, name in enumerate(_DAYS)},
)  # fmt: skip
_PART = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/([0-9]{1,2}))?")


def _cron(text: str) -> str:
    fields = text.lower().split()
    if not text:
        return text
    if len(fields) != 5:
        raise ValueError("give five fields: minute hour day-of-month month day-of-week, such as `30 3 * * *`")
    for field, (low, high), names in zip(fields, RANGES, _NAMES, strict=True):
        for part in field.split(","):
            match = _PART.fullmatch(part)
            ends = [names.get(word, word) for word in match[1].split("-")] if match else []
            numbers = [int(end) for end in ends if str(end).isdigit()]
            right = match is not None and (match[1] == "*" or len(numbers) == len(ends))
            if not right or any(not low <= n <= high for n in numbers) or numbers != sorted(numbers):
                raise ValueError(f"{part!r} is no part of a cron line; here go numbers from {low} to {high}")
            if match is not None and match[2] == "0":
                raise ValueError(f"{part!r} steps by nothing")
    return " ".join(text.split())


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; give a name such as `UTC` or `Europe/Berlin`") from error
    return name


def ends_of(field: int, span: str) -> tuple[int, int]:
    """First and last number of `3`, `1-5` or `mon-fri` in a field of a cron line (0: minute)."""
    numbers = [int(_NAMES[field].get(word, word)) for word in span.split("-")]
    return numbers[0], numbers[-1]


class Schedule(Value):
    """When something runs by itself.

    Attributes:
        schedule: when, as a cron line; empty: only by hand.
        timezone: of the schedule.
    """

    schedule: Annotated[str, AfterValidator(_cron)] = ""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"


class BackUpRule(Schedule):
    """Regular backups of everything the plan backs up.

    Attributes:
        schedule: when, as a cron line; empty: only by hand.
        timezone: of the schedule.
    """


class ScanRule(Schedule):
    """Regular checks of a plan's hosts for damage and pending updates.

    Attributes:
        schedule: when, as a cron line; empty: only by hand.
        timezone: of the schedule.
        rotate: hosts per run, those first whose last scan is longest ago; 0: all.
        open_incident: whether damage that is new opens an incident by itself: `never`, `serious` (and worse) or `any`.
        updates: whether pending updates are looked up as well.
        refresh: fetch the package lists anew for that, into our own folder on the host; otherwise what the host has.
        advisories: file or folder of known vulnerabilities of Python distributions, beside the plan: OSV or PyPA
            advisories, or what `pip-audit --format json` wrote.
    """

    rotate: int = Field(default=0, ge=0)
    open_incident: Literal["never", "serious", "any"] = "never"
    updates: bool = True
    refresh: bool = False
    advisories: str | None = Field(default=None, min_length=1)


class AssetHistory(Value):
    """What is remembered of an asset: when it was last looked at, and last found without damage.

    Attributes:
        damaged: findings that ordinary work does not explain; a backup taken now may hold that damage.
    """

    host: str
    verdict: Verdict
    findings: int = 0
    damaged: int = 0
    last_scanned: AwareDatetime
    last_clean: AwareDatetime | None = None


class ScanRun(Value):
    """One scan of some hosts, for people."""

    at: AwareDatetime
    hosts: tuple[str, ...]
    findings: int
    errors: int
    new: int
    incident: str = ""
    seconds: float = 0.0


class Reported(Value):
    """Which incident a finding was reported in, and the asset it is of."""

    incident: str
    asset: str


class History(Value):
    """All that is remembered of a plan's scans.

    Attributes:
        hosts: when each host was last scanned.
        assets: by asset, and by the name of a probe.
        runs: newest last.
        reported: finding → the incident it was reported in; gone once a scan finds the thing whole.
    """

    hosts: dict[str, AwareDatetime] = {}
    assets: dict[str, AssetHistory] = {}
    runs: tuple[ScanRun, ...] = ()
    reported: dict[str, Reported] = {}


def due(hosts: Iterable[str], history: History, rotate: int) -> list[str]:
    """The hosts to scan now: never scanned first, then those whose scan is longest ago; in the plan's order."""
    order = list(hosts)
    waiting = sorted(
        order, key=lambda host: (host in history.hosts, history.hosts.get(host), order.index(host))
    )
    chosen = set(waiting[:rotate] if rotate else waiting)
    return [host for host in order if host in chosen]


def new_damage(
    results: Sequence[CheckResult], rule: ScanRule, history: History, open_elsewhere: Iterable[str]
) -> list[Finding]:
    """The findings that open an incident: grave enough, and not reported before.

    Args:
        results: of the scan.
        rule: the plan's.
        history: with what was reported by scans.
        open_elsewhere: ids of findings that unfinished incidents already deal with.
    """
    if rule.open_incident == "never":
        return []
    least = Degree.SLIGHT if rule.open_incident == "any" else Degree.SERIOUS
    known = {*history.reported, *open_elsewhere}
    found = {
        f.id: f for result in results for f in result.findings if f.degree >= least and f.id not in known
    }
    return list(found.values())


_NEVER_WANTED = frozenset({Code.FILE_CONTENT_DIFFERS, Code.FILE_TYPE_DIFFERS, Code.FILE_UNREADABLE})


def unexplained(check: str, finding: Finding) -> bool:
    """Whether ordinary work does not explain a finding: people write, delete and rename files between two backups.

    Of a set of files that is a content that changed though no time says so, and what cannot be read any more.
    """
    return check != "files" or (finding.code in _NEVER_WANTED and not finding.detail)


def remember(
    history: History, at: AwareDatetime, hosts: Sequence[str], results: Sequence[CheckResult], *,
    new: Sequence[Finding] = (), incident: str = "", seconds: float = 0.0,
) -> History:  # fmt: skip
    """The history after a scan; what could not be looked at is neither clean nor forgotten."""
    assets = dict(history.assets)
    for result in results:
        before = assets.get(result.asset)
        clean = result.verdict is Verdict.PASSED
        assets[result.asset] = AssetHistory(
            host=result.host, verdict=result.verdict, findings=len(result.findings),
            damaged=sum(unexplained(result.check, finding) for finding in result.findings), last_scanned=at,
            last_clean=at if clean else before.last_clean if before else None,
        )  # fmt: skip
    looked = {result.asset for result in results if result.verdict is not Verdict.ERROR}
    there = {finding.id for result in results for finding in result.findings}
    reported = {
        ident: where for ident, where in history.reported.items()
        if ident in there or where.asset not in looked
    }  # fmt: skip
    reported |= {f.id: Reported(incident=incident, asset=f.asset) for f in new if incident}
    run = ScanRun(
        at=at, hosts=tuple(hosts), findings=sum(len(r.findings) for r in results),
        errors=sum(r.verdict is Verdict.ERROR for r in results), new=len(new), incident=incident,
        seconds=round(seconds, 1),
    )  # fmt: skip
    return History(
        hosts=history.hosts | dict.fromkeys(hosts, at), assets=assets, runs=(*history.runs, run)[-KEPT:],
        reported=reported,
    )  # fmt: skip


def forget_cured(history: History, incidents: Iterable[str], kept: Iterable[str]) -> History:
    """Drop findings of incidents that ended with everything well: if they come back, they are new.

    Args:
        history: so far.
        incidents: ids of incidents that ended recovered.
        kept: ids of findings that those incidents declared they would not cure.
    """
    over, still = set(incidents), set(kept)
    left = {
        ident: where for ident, where in history.reported.items()
        if ident in still or where.incident not in over
    }  # fmt: skip
    return history.model_copy(update={"reported": left})
