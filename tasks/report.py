"""The report of an incident, built from its journal alone: Markdown, one self-contained HTML file, JSON (R-REV-1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from model.canonical import Value, canonical_json
from model.diagnosis import Diagnosis
from model.finding import CheckResult, Finding
from model.incident import Incident
from model.informing import OVERDUE, unreached
from model.journal import Effect, Ended, Intent, Noted, Preserved, Record, StageEnded, StageStarted, State
from model.messages import Telling, Told
from model.outcome import Stage
from model.proposal import Loss, PointChoice, Proposal, Reimport
from model.review import Item, Said
from model.severity import Severity
from model.signoff import Vote
from tasks.diagnosis_page import sections
from tasks.render import OUTCOMES, duration, guide_markdown, line, mark, safe, size, table, what
from tasks.render_points import choices, helpers, reimport
from tasks.reviewing import items_of
from tasks.work import Work


class TimelineLine(Value):
    """One moment: seconds since detection, clock time, sentence."""

    after: float
    at: str
    sentence: str


class StageTime(Value):
    """When a stage ran, in seconds since the incident was opened."""

    stage: Stage
    begin: float
    end: float


class ActionLine(Value):
    """One executed action and the findings it cured."""

    id: str
    kind: str
    host: str
    what: str
    reason: str
    undo: str
    result: str
    sentence: str
    seconds: float
    bytes: int
    findings: tuple[str, ...]


class MessageLine(Value):
    """One message over one channel to one recipient, and what became of it."""

    at: str
    message: str
    audience: str
    subject: str
    channel: str
    to: str
    result: str
    sentence: str
    sha256: str


class Report(Value):
    """Everything the report says.

    Attributes:
        rto: measured seconds from detection to acceptance, and `rto_target` of the plan; None when not recovered.
        rpo: measured seconds of data lost, and `rpo_target`.
        items: what to improve, as the journal says now.
        tracked: the rectification items of the report that was written, and those people added, as they stand.
        opinions: what the leading group said of it.
        head: digest of the journal's newest record: an anchor outside the journal store.
    """

    incident: Incident
    service: str
    severity: Severity | None
    diagnosis: Diagnosis | None = None
    ended: Ended | None
    rto: float | None
    rto_target: float
    rpo: float | None
    rpo_target: float
    findings: tuple[Finding, ...]
    actions: tuple[ActionLine, ...]
    losses: tuple[Loss, ...]
    points: tuple[PointChoice, ...] = ()
    reimport: tuple[Reimport, ...] = ()
    user_service: str = ""
    checks: tuple[CheckResult, ...]
    votes: tuple[Vote, ...]
    messages: tuple[MessageLine, ...] = ()
    preserved: tuple[Preserved, ...]
    stages: tuple[StageTime, ...]
    timeline: tuple[TimelineLine, ...]
    items: tuple[str, ...]
    tracked: tuple[Item, ...] = ()
    opinions: tuple[Said, ...] = ()
    proposal_digest: str
    records: int
    head: str


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
    items += _not_told(work, records)
    if state.refused:
        items.append(f"{len(state.refused)} sign-off answers were refused; see the timeline.")
    kept = [
        a.database for a in (state.proposal.actions if state.proposal else ()) if a.kind == "restore_database"
    ]
    if state.ended and state.ended.verdict == "RECOVERED":
        items += [f"Drop the damaged copy of database {name} once its retention has passed." for name in kept]
    return tuple(items)


def _not_told(work: Work, records: list[Record]) -> list[str]:
    """What to improve about telling people."""
    plan = work.plan.communication
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


def report_markdown(report: Report) -> str:
    """The report as Markdown."""
    i, ended = report.incident, report.ended
    verdict = f"**{ended.verdict}** – {safe(ended.sentence, 600)}" if ended else "The incident is still open."
    after = (
        f"\n\nNext step for people: {safe(ended.next_human_step, 600)}"
        if ended and ended.next_human_step
        else ""
    )
    objectives = table(
        ("objective", "target", "measured"),
        [
            ("RTO", duration(report.rto_target), "–" if report.rto is None else duration(report.rto)),
            ("RPO", duration(report.rpo_target), "–" if report.rpo is None else duration(report.rpo)),
        ],
    )
    parts = [
        f"{mark(i.kind)}# {safe(report.service)}: report of {i.id}",
        f"{verdict}{after}",
        f"{safe(i.summary, 600)} Reported by {safe(i.reported_by)} ({i.source}), detected "
        f"{i.detected_at:%Y-%m-%d %H:%M:%S} UTC. Plan {safe(i.plan)} version {safe(i.plan_version)}, "
        f"digest `{i.plan_digest[:12]}`.",
        f"**{safe(report.severity.sentence)}**" if report.severity else "No damage was confirmed.",
        objectives,
        "## What was damaged",
        table(("host", "asset", "finding"), [(f.host, f.asset, f.sentence) for f in report.findings]),
        *(["## Diagnosis", *sections(report.findings, report.diagnosis)] if report.diagnosis else []),
        "## What was done",
        table(
            ("#", "action", "host", "what", "result", "moved", "took"),
            [
                (
                    a.id,
                    a.kind.replace("_", " "),
                    a.host,
                    a.what,
                    a.sentence or a.result,
                    size(a.bytes),
                    duration(a.seconds),
                )
                for a in report.actions
            ],
        ),
        "## What was lost",
        "\n".join(f"- {safe(loss.sentence, 600)}" for loss in report.losses) or "Nothing.",
        *(
            ["## Recovery points", "\n".join(f"- {safe(said, 600)}" for said in choices(report.points))]
            if report.points
            else []
        ),
        *(
            [
                f"## What users must bring back themselves\n\nUser service: {safe(report.user_service)}.",
                guide_markdown(report.reimport),
            ]
            if report.reimport
            else []
        ),
        "## Who decided",
        table(
            ("when (UTC)", "who", "role", "gate", "decision", "proof", "reason"),
            [
                (f"{v.at:%H:%M:%S}", v.person, v.role, v.gate, v.decision, v.proof, v.reason)
                for v in report.votes
            ],
        ),
        *(
            [
                "## Messages",
                table(
                    ("when (UTC)", "message", "to", "channel", "result", "subject"),
                    [
                        (
                            m.at,
                            m.message,
                            m.to or m.channel,
                            m.channel,
                            f"{OUTCOMES[m.result]}. {m.sentence}".strip(),
                            m.subject,
                        )
                        for m in report.messages
                    ],
                ),
            ]
            if report.messages
            else []
        ),
        "## What proves it",
        table(
            ("verdict", "check", "asset", "examined", "sentence"),
            [(c.verdict, c.check, c.asset, c.examined, c.sentence) for c in report.checks],
        ),
        "## Evidence and snapshots",
        table(
            ("what", "host", "files", "bytes", "SHA-256 of its manifest"),
            [(p.what, p.host, p.files, size(p.bytes), p.sha256) for p in report.preserved],
        ),
        "## What to improve",
        _improvements(report),
        "## What the leading group said",
        table(
            ("when (UTC)", "who", "decision", "proof", "opinion"),
            [
                (
                    f"{s.at:%Y-%m-%d %H:%M:%S}",
                    s.opinion.person,
                    s.opinion.decision,
                    s.opinion.proof,
                    s.opinion.text,
                )
                for s in report.opinions
            ],
        ),
        "## Timeline",
        table(
            ("time (UTC)", "since detection", "what"),
            [(t.at, f"{t.after:+.1f} s", t.sentence) for t in report.timeline],
        ),
        f"Journal: {report.records} records, newest `{report.head}`.",
    ]
    return "\n\n".join(parts)


def _improvements(report: Report) -> str:
    """The items as they are tracked; before there are any, what the journal says so far."""
    if not report.tracked:
        return "\n".join(f"- {safe(item, 600)}" for item in report.items) or "Nothing was noticed."
    rows = [
        (i.id, i.state, i.owner, i.due, i.text + (f" – {i.note}" if i.note else "")) for i in report.tracked
    ]
    return table(("item", "state", "owner", "due", "what"), rows)


def report_html(report: Report) -> str:
    """The report as one self-contained HTML file; every value is escaped by the template engine."""
    environment = Environment(
        loader=PackageLoader("tasks", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"duration": duration, "size": size, "outcome": OUTCOMES.__getitem__}
    span = max((stage.end for stage in report.stages), default=1.0) or 1.0
    return environment.get_template("report.html.j2").render(
        r=report, span=span, choices=choices(report.points), guide=reimport(report.reimport)
    )


def write_reports(work: Work) -> Written:
    """Write the report in all formats beside the journal."""
    report = build_report(work)
    folder = work.folder("report")
    markdown, html = report_markdown(report), report_html(report)
    (folder / "report.md").write_text(markdown, encoding="utf-8")
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "report.json").write_bytes(canonical_json(report))
    return Written(folder / "report.html", hashlib.sha256(html.encode()).hexdigest(), markdown, report.items)
