"""The report as people read it: Markdown, and one self-contained HTML file (R-REV-1)."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.diagnosis_page import sections
from tasks.render import OUTCOMES, duration, guide_markdown, mark, safe, size, table
from tasks.render_points import choices, reimport
from tasks.report_measured import BARS
from tasks.report_standards import rows as standards
from tasks.report_values import Report, StageTime


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
        "## Summary",
        f"{safe(i.summary, 600)} Reported by {safe(i.reported_by)} ({i.source}), detected "
        f"{i.detected_at:%Y-%m-%d %H:%M:%S} UTC. By {safe(i.follows)}, "
        f"digest `{i.plan_digest[:12]}`.",
        f"**{safe(report.severity.sentence)}**" if report.severity else "No damage was confirmed.",
        "## Objectives and measured times",
        objectives,
        table(
            ("stage", "took", "of the RTO"),
            [(s.stage, duration(s.end - s.begin), share(s, report)) for s in report.stages],
        ),
        table(
            ("asset", "host", "repaired after", "RTO", "data lost", "RPO"),
            [
                (
                    a.asset,
                    a.host,
                    _measured(a.back),
                    duration(report.rto_target),
                    _measured(a.lost),
                    duration(report.rpo_target),
                )
                for a in report.assets
            ],
        ),
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
        "## What went well",
        _listed(report.well),
        "## What went badly",
        _listed(report.badly),
        "## What to improve",
        _improvements(report),
        safe(report.next_drill),
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
        "## Where to find what each standard asks for",
        table(("standard", "asks for", "is found in"), standards()),
        f"Journal: {report.records} records, newest `{report.head}`.",
    ]
    return "\n\n".join(parts)


def share(stage: StageTime, report: Report) -> str:
    """How much of the time the plan allows a stage took."""
    if not report.rto_target:
        return "–"
    return f"{100 * (stage.end - stage.begin) / report.rto_target:.1f} %"


def _measured(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def _listed(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {safe(sentence, 600)}" for sentence in sentences) or "Nothing was noticed."


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
    environment.filters |= {
        "duration": duration,
        "size": size,
        "measured": _measured,
        "outcome": OUTCOMES.__getitem__,
    }
    span = max((bar.end for bar in report.bars), default=1.0) or 1.0
    return environment.get_template("report.html.j2").render(
        r=report,
        span=span,
        bars=report.bars[:BARS],
        standards=standards(),
        share=share,
        choices=choices(report.points),
        guide=reimport(report.reimport),
    )
