"""The report of an incident, built from its journal alone: Markdown, one self-contained HTML file, JSON (R-REV-1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model.canonical import canonical_json, now
from model.drill import DrillRule
from model.finding import CheckResult
from model.informing import OVERDUE, unreached
from model.journal import Effect, Intent, Noted, Record, StageEnded, StageStarted, State
from model.messages import Telling, Told
from model.outcome import Gate, Stage
from model.proposal import Proposal
from model.signoff import Decision
from tasks.render import duration, line, mark, table, what
from tasks.render_points import helpers
from tasks.report_measured import asset_times, bars, went_badly, went_well
from tasks.report_pages import report_html, report_markdown
from tasks.report_values import ActionLine, MessageLine, Report, StageTime, TimelineLine
from tasks.reviewing import items_of
from tasks.work import Work


@dataclass(frozen=True)
class Written:
    """Where the report lies."""

    html: Path
    sha256: str
    markdown: str
    items: tuple[str, ...]


def build_report(work: Work) -> Report:
    """Build the report of an incident as it stands now."""
    records = work.store.read(work.incident.id)
    state = work.state()
    found = state.confirmed.results if state.confirmed else ()
    ended = state.ended
    return Report(
        incident=work.incident,
        service=work.plan.service.name,
        severity=state.confirmed.severity if state.confirmed else None,
        diagnosis=state.confirmed.diagnosis if state.confirmed else None,
        ended=ended,
        rto=ended.rto if ended else None,
        rto_target=work.plan.objectives.rto,
        rpo=ended.rpo if ended else None,
        rpo_target=work.plan.objectives.rpo,
        findings=tuple(finding for result in found for finding in result.findings),
        actions=_actions(state.proposal, state.intents, state.effects),
        losses=state.proposal.losses if state.proposal else (),
        points=state.proposal.points if state.proposal else (),
        reimport=state.proposal.reimport if state.proposal else (),
        user_service=helpers(work.plan),
        checks=_last_checks(state) or found,
        votes=state.votes,
        messages=_messages(records),
        preserved=state.preserved,
        stages=_stage_times(records),
        bars=bars(records),
        assets=asset_times(records, state),
        well=went_well(state, work.plan.objectives),
        badly=went_badly(records, state, work.plan.objectives),
        timeline=tuple(
            TimelineLine(
                after=(record.at - work.incident.detected_at).total_seconds(),
                at=f"{record.at:%H:%M:%S}",
                sentence=line(record),
            )
            for record in records
        ),
        items=_items(work, records),
        tracked=items_of(work, state),
        opinions=state.opinions,
        next_drill=_next_drill(work.plan.drill, work.plan.name),
        proposal_digest=state.proposal.digest if state.proposal else "",
        records=len(records),
        head=records[-1].digest,
    )


def _actions(
    proposal: Proposal | None, intents: dict[str, Intent], effects: dict[str, Effect]
) -> tuple[ActionLine, ...]:
    lines = []
    for action in proposal.actions if proposal else ():
        effect = effects.get(action.id)
        begun = "begun, not ended" if action.id in intents else "not begun"
        lines.append(
            ActionLine(
                id=action.id, kind=action.kind, host=action.host, what=what(action), reason=action.reason,
                undo=action.undo, result=effect.result if effect else begun,
                sentence=effect.sentence if effect else "", seconds=effect.seconds if effect else 0.0,
                bytes=effect.bytes if effect else 0, findings=action.findings,
            )
        )  # fmt: skip
    return tuple(lines)


def _last_checks(state: State) -> tuple[CheckResult, ...]:
    """What proves the end: the last checks of the whole plan, and the last acceptance probes."""
    last = {verified.stage: verified.results for verified in state.verified}
    return (*last.get(Stage.VERIFY, ()), *last.get(Stage.ACCEPT, ())) or next(reversed(last.values()), ())


def _stage_times(records: list[Record]) -> tuple[StageTime, ...]:
    start, times = records[0].at, []
    begun: dict[Stage, datetime] = {}
    for record in records:
        match record.payload:
            case StageStarted(stage=stage):
                begun.setdefault(stage, record.at)
            case StageEnded(stage=stage) if stage in begun:
                times.append(
                    StageTime(
                        stage=stage,
                        begin=(begun.pop(stage) - start).total_seconds(),
                        end=(record.at - start).total_seconds(),
                    )
                )
    return tuple(times)


def _messages(records: list[Record]) -> tuple[MessageLine, ...]:
    """Who was told what, when, by which channel, and the proof that it was delivered (R-RESP-8)."""
    told = {(p.message, p.channel, p.to): p for r in records if isinstance(p := r.payload, Told)}
    lines = []
    for record in records:
        if not isinstance(sent := record.payload, Telling):
            continue
        outcome = told.get((sent.message, sent.channel, sent.to))
        lines.append(
            MessageLine(
                at=f"{record.at:%H:%M:%S}", message=sent.message, audience=sent.audience, subject=sent.subject,
                channel=sent.channel, to=sent.to, result=outcome.result if outcome else "unknown",
                sentence=outcome.sentence if outcome else "", sha256=sent.sha256,
            )
        )  # fmt: skip
    return tuple(lines)


def _items(work: Work, records: list[Record]) -> tuple[str, ...]:
    """Rectification items that follow from the journal (R-REV-2)."""
    state, objectives = work.state(), work.plan.objectives
    items = []
    if state.ended and state.ended.rto is not None and state.ended.rto > objectives.rto:
        items.append(
            f"RTO missed: {duration(state.ended.rto)} instead of {duration(objectives.rto)}; "
            "shorten the slowest stage."
        )
    if state.ended and state.ended.rpo is not None and state.ended.rpo > objectives.rpo:
        items.append(
            f"RPO missed: {duration(state.ended.rpo)} of data lost, {duration(objectives.rpo)} allowed; "
            "back up more often."
        )
    items += [
        f"Find out why {e.step} failed: {e.sentence}" for e in state.effects.values() if e.result == "failed"
    ]
    items += [f"Not cured: {unmet.sentence}" for unmet in (state.proposal.unmet if state.proposal else ())]
    unchecked = sorted(
        {note for r in (state.confirmed.results if state.confirmed else ()) for note in r.not_checked}
    )
    items += [f"Not checked: {note}" for note in unchecked]
    items += state.remarks
    glass = state.settled.get(Gate.BREAK_GLASS)
    if state.glass is not None and glass is not None and glass.decision is Decision.APPROVE:
        items.append(
            f"The glass was broken; say whether that was right, and publish the plan. {state.glass.sentence}"
        )
    items += _not_told(work, records)
    if state.refused:
        items.append(f"{len(state.refused)} sign-off answers were refused; see the timeline.")
    kept = [
        a.database for a in (state.proposal.actions if state.proposal else ()) if a.kind == "restore_database"
    ]
    if state.ended and state.ended.verdict == "RECOVERED":
        items += [f"Drop the damaged copy of database {name} once its retention has passed." for name in kept]
        items += [
            f"Remove the damaged copy beside {a.data_directory} once its retention has passed."
            for a in (state.proposal.actions if state.proposal else ())
            if a.kind == "restore_cluster"
        ]
    return tuple(items)


def _next_drill(rule: DrillRule, plan: str) -> str:
    """When the next drill is, for the review (R-DRILL-1)."""
    at = rule.following(plan, now())
    if at is None:
        return "No drill is scheduled: give `drill.schedule` in the plan."
    within = f", and begins at some moment within {duration(rule.window)}" if rule.window else ""
    return f"The next drill is scheduled for {at:%Y-%m-%d %H:%M} {rule.timezone}{within}."


def _not_told(work: Work, records: list[Record]) -> list[str]:
    """What to improve about telling people."""
    plan = work.plan.told
    if plan is None:
        return []
    overdue = [
        p.sentence for r in records if isinstance(p := r.payload, Noted) and p.sentence.startswith(OVERDUE)
    ]
    return [
        *(
            f"The message {name} did not surely reach {member}: see Messages and mend their channels."
            for name, member in unreached(records, plan, work.plan.people)
        ),
        *overdue,
    ]


def timeline_markdown(work: Work) -> str:
    """The journal as a table, and the stages as a Gantt diagram."""
    report = build_report(work)
    rows = [(entry.at, f"{entry.after:+.1f} s", entry.sentence) for entry in report.timeline]
    return mark(work.incident.kind) + table(("time (UTC)", "since detection", "what"), rows)


def write_reports(work: Work) -> Written:
    """Write the report in all formats beside the journal."""
    report = build_report(work)
    folder = work.folder("report")
    markdown, html = report_markdown(report), report_html(report)
    (folder / "report.md").write_text(markdown, encoding="utf-8")
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "report.json").write_bytes(canonical_json(report))
    return Written(folder / "report.html", hashlib.sha256(html.encode()).hexdigest(), markdown, report.items)
