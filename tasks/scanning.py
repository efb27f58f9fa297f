"""The Prefect tasks of `scan`: which hosts, one host's checks, its pending updates, and an incident for what is new."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from blocks.home import open_store
from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from checks import updates as looking
from checks.examine import failed
from model.canonical import now
from model.command import printable
from model.errors import ReinstateError
from model.finding import CheckResult, Finding
from model.incident import Source
from model.journal import Noted, State
from model.outcome import RunVerdict
from model.plan import Plan
from model.scanning import History, due, forget_cured, new_damage, remember
from model.updates import UpdatesReport
from tasks.one_act import one_act
from tasks.open_incidents import states_of
from tasks.progress import Progress, table_artifact
from tasks.recovery_points import survey
from tasks.render import checks_rows, findings_rows
from tasks.render_points import rows, told
from tasks.steps import look
from tasks.work import PlanFile, load_plan, open_incident

REPORTER = "scan"
"""Who reports what a scan found: no person, so everybody may sign."""


def history_of(store: JournalStore, plan: str) -> History:
    """What is remembered of a plan's scans."""
    data = store.get(f"scans/{plan}.json")
    return History() if data is None else History.model_validate_json(data)


def save_history(store: JournalStore, plan: str, history: History) -> None:
    """Remember it."""
    store.put(f"scans/{plan}.json", history.model_dump_json().encode())


@one_act(name="choose hosts", task_run_name="choose the hosts of {plan} that are due")
def choose_hosts(plan: str) -> list[str]:
    """The hosts whose scan is longest ago."""
    file = load_plan(plan)
    return due(file.plan.hosts, history_of(open_store(), file.plan.name), file.plan.scan.rotate)


@one_act(name="scan host", task_run_name="scan {host}")
def scan_host(plan: str, host: str) -> tuple[CheckResult, ...]:
    """Every check of one host's assets; changes nothing."""
    file = load_plan(plan)
    mine = {name for name, asset in file.plan.assets.items() if asset.host == host}
    results = look(file, open_store(), mine, Progress(f"scan {host}", f"scan-{host}")) if mine else ()
    table_artifact(f"scan-{host}", checks_rows(results), f"Checks of {host}")
    return results


def unreachable(plan: Plan, host: str, error: ReinstateError) -> tuple[CheckResult, ...]:
    """The results of a host that could not be looked at: errors, never passes (G11)."""
    return tuple(
        failed(asset.kind, host, name, printable(str(error)))
        for name, asset in plan.assets.items()
        if asset.host == host
    )


@one_act(name="look for updates", task_run_name="pending updates of {host}")
def look_for_updates(plan: str, host: str) -> tuple[UpdatesReport, ...]:
    """What one host's software could be updated to."""
    return updates_of(load_plan(plan), [host])


@one_act(name="look at recovery points", task_run_name="recovery points of {plan} on {hosts}")
def look_at_points(plan: str, hosts: list[str]) -> list[str]:
    """Whether every recovery point that should be there is, and none is overdue; says what is not so (R-PREV-1)."""
    file = load_plan(plan)
    found = survey(file, open_store(), hosts)
    table_artifact("recovery-points", rows(found), f"Recovery points ({file.plan.name})")
    return told(found)


def updates_of(
    file: PlanFile, hosts: Iterable[str], refresh: bool | None = None
) -> tuple[UpdatesReport, ...]:
    """What the software of hosts could be updated to.

    Args:
        file: the plan.
        hosts: names of hosts.
        refresh: fetch the package lists; default: as the plan says.
    """
    rule, found = file.plan.scan, []
    known = file.path.parent / rule.advisories if rule.advisories else None
    for host in hosts:
        with file.connect(host) as connection:
            prove(connection)
            for name, asset in file.plan.assets.items():
                if asset.host == host:
                    fresh = rule.refresh if refresh is None else refresh
                    report = looking.look(name, asset, connection, refresh=fresh, known=known)
                    found += [report] if report is not None else []
    return tuple(found)


@one_act(name="remember", task_run_name="remember the scan of {plan}")
def conclude_scan(
    plan: str,
    hosts: list[str],
    results: tuple[CheckResult, ...],
    reports: tuple[UpdatesReport, ...],
    began: float,
) -> tuple[str, str]:
    """Open an incident for what is new, remember the scan, show what was found.

    Returns:
        One sentence, and the id of the incident that must be recovered from; empty when there is none.
    """
    file, store = load_plan(plan), open_store()
    states = {
        ident: state
        for ident, state in states_of(store)
        if state.require_incident().kept_as == file.plan.kept_as
    }
    history = _without_cured(history_of(store, file.plan.name), states)
    new = new_damage(results, file.plan.scan, history, _in_hand(states))
    incident = _report(file, store, new, states) if new else ""
    moment = now()
    history = remember(
        history, moment, hosts, results, new=new, incident=incident, seconds=time.time() - began
    )  # fmt: skip
    save_history(store, file.plan.name, history)
    findings = [finding for result in results for finding in result.findings]
    table_artifact("scan-findings", findings_rows(findings), f"What is damaged ({file.plan.name})")
    table_artifact(
        "scan-checks", checks_rows(results), f"Every check and what it examined ({file.plan.name})"
    )
    table_artifact(
        "scan-history", history_rows(history), f"When each asset was last found whole ({file.plan.name})"
    )
    if reports:
        table_artifact("updates", updates_rows(reports), f"Pending updates ({file.plan.name})")
    # A person's own report is recovered by that person's run; what a scan opened, by the one that is started now.
    theirs = incident in states and states[incident].require_incident().source is not Source.SCHEDULE
    return _sentence(hosts, results, reports, new, incident), "" if theirs else incident or _left_lying(
        states
    )


def _without_cured(history: History, states: dict[str, State]) -> History:
    over = [i for i, s in states.items() if s.ended is not None and s.ended.verdict is RunVerdict.RECOVERED]
    declared = {
        unmet.finding for i in over if (proposal := states[i].proposal) is not None for unmet in proposal.unmet
    }  # fmt: skip
    return forget_cured(history, over, declared)


def _in_hand(states: dict[str, State]) -> set[str]:
    """Findings that an unfinished incident, however it was opened, deals with."""
    return {
        finding.id
        for state in states.values() if state.ended is None and state.confirmed is not None
        for result in state.confirmed.results for finding in result.findings
    }  # fmt: skip


def _report(file: PlanFile, store: JournalStore, new: Sequence[Finding], states: dict[str, State]) -> str:
    """The incident of new findings: one that nobody has confirmed yet looks at everything anyway; else a new one."""
    waiting = [ident for ident, state in states.items() if state.ended is None and state.confirmed is None]
    if waiting:
        return waiting[-1]
    hosts = sorted({finding.host for finding in new})
    first = f"{new[0].code} {printable(new[0].subject)}"
    more = f" and {len(new) - 1} more" if len(new) > 1 else ""
    work = open_incident(
        file, store, f"A scan found new damage on {', '.join(hosts)}: {first}{more}."[:2000], REPORTER,
        Source.SCHEDULE,
    )  # fmt: skip
    work.record(Noted(sentence=f"Opened by a scan for {len(new)} new findings."))
    return work.incident.id


def _left_lying(states: dict[str, State]) -> str:
    """An incident a scan opened and nobody began: the scan ended before its recovery was started."""
    return next(
        (
            ident for ident, state in states.items()
            if state.ended is None and state.confirmed is None and state.require_incident().source is Source.SCHEDULE
        ),
        "",
    )  # fmt: skip


def _sentence(
    hosts: Sequence[str], results: Sequence[CheckResult], reports: Sequence[UpdatesReport], new: Sequence[Finding],
    incident: str,
) -> str:  # fmt: skip
    count = sum(len(result.findings) for result in results)
    errors = sum(result.verdict == "ERROR" for result in results)
    said = (
        f"{len(hosts)} host{'s' if len(hosts) != 1 else ''} scanned: {count} findings, {len(new)} of them new"
    )
    said += f", {errors} checks could not run." if errors else "."
    if incident:
        said += f" Incident {incident} is open."
    if reports:
        pending = sum(len(report.security) for report in reports)
        blind = sum(not report.looked for report in reports)
        said += f" {pending} security updates are pending"
        said += f"; of {blind} assets it is not known." if blind else "."
    return said


def history_rows(history: History) -> list[dict[str, Any]]:
    """The history by asset, as rows of a table."""

    def moment(at: datetime | None) -> str:
        return f"{at:%Y-%m-%d %H:%M} UTC" if at else "never"

    return [
        {
            "asset": name, "host": one.host, "verdict": str(one.verdict), "findings": one.findings,
            "last scanned": moment(one.last_scanned), "last whole": moment(one.last_clean),
        }
        for name, one in sorted(history.assets.items())
    ]  # fmt: skip


def updates_rows(reports: Iterable[UpdatesReport]) -> list[dict[str, str]]:
    """Pending updates as rows of a table: security first; an asset of which nothing is known has a row, too."""
    rows = []
    for report in reports:
        for update in sorted(report.updates, key=lambda update: (not update.security, update.package)):
            cves = ", ".join(update.cves) or ("not known" if update.security else "")
            rows.append(
                {
                    "host": report.host, "asset": report.asset, "package": printable(update.package),
                    "installed": printable(update.installed), "candidate": printable(update.candidate) or "none",
                    "security": "yes" if update.security else "", "vulnerabilities": printable(cves),
                    "advisories": printable(", ".join(update.advisories)), "from": printable(update.origin),
                    "held back": "yes" if update.held else "",
                }
            )  # fmt: skip
        said = "; ".join((report.sentence, *(f"not known: {note}" for note in report.notes)))
        rows.append({"host": report.host, "asset": report.asset, "package": "", "from": printable(said)})
    return rows
