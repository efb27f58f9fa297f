"""The diagnosis as one page a tired person can decide from: the headline first, then five short sections.

All text from hosts is tainted and made inert by `safe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from model.diagnosis import Cause, CauseHint, Confidence, Diagnosis, Impact, Moment, Reach
from model.finding import CheckResult, Code, Finding
from model.severity import Severity
from tasks.render import safe

FINDINGS, CAUSES, LINES, IMPACTS, NOTES = 6, 3, 3, 6, 8
"""Rows of each section; the journal and the `findings` table hold the rest."""

_WORDS = {
    Code.FILE_MISSING: "is missing", Code.CONFFILE_MISSING: "is missing", Code.FILE_CONTENT_DIFFERS: "was changed",
    Code.FILE_MODE_DIFFERS: "has other permissions", Code.FILE_OWNER_DIFFERS: "has another owner",
    Code.FILE_TYPE_DIFFERS: "is something else than a file should be", Code.FILE_LINK_DIFFERS: "points elsewhere",
    Code.FILE_ATTRIBUTES_DIFFER: "has other extended attributes or another access control list",
    Code.FILE_HARD_LINK_BROKEN: "is no longer the same file under each of its names",
    Code.FILE_UNREADABLE: "cannot be read", Code.PACKAGE_STATE_BROKEN: "is not completely installed",
    Code.PACKAGE_NOT_INSTALLED: "is not installed", Code.DATABASE_UNREACHABLE: "does not answer",
    Code.DATABASE_TABLE_UNREADABLE: "cannot be read", Code.DATABASE_CHECKSUM_FAILED: "fails its checksums",
    Code.SERVICE_DOWN: "is down", Code.UNIT_FAILED: "has failed", Code.DISK_FULL: "is full",
    Code.DISK_READ_ONLY: "is read-only", Code.PROBE_FAILED: "does not answer as it should",
}  # fmt: skip
_NOUNS = (("PACKAGE_STATE", "package "), ("PACKAGE_NOT", "package "), ("DATABASE_TABLE", "table "),
          ("DATABASE_CHECKSUM", "table "), ("DATABASE_", "database "))  # fmt: skip
_LAST = (
    Code.SERVICE_DOWN,
    Code.UNIT_FAILED,
    Code.PROBE_FAILED,
    Code.DATABASE_UNREACHABLE,
    Code.EXPECTATION_FAILED,
)
_MARKS = {
    "healthy": "✓ last known good",
    "before": "just before",
    "damage": "✗ damage",
    "sign": "first sign",
    "report": "reported",
}
_KINDS = {"service": "service", "unit": "unit", "port": "port", "probe": "probe", "asset": "asset", "table": "table",
          "process": "process"}  # fmt: skip


def headline(results: Sequence[CheckResult], diagnosis: Diagnosis) -> str:
    """What stands still, what is damaged and the probable cause, in one or two sentences of Markdown."""
    findings = _ordered(finding for result in results for finding in result.findings)
    stopped = _names(diagnosis, Reach.STOPPED)
    using = _names(diagnosis, Reach.USES)
    who = f"{stopped} stopped: " if stopped else f"{using} at risk: " if using else ""
    more = (
        f" (and {len(findings) - 1} more finding{'s' if len(findings) > 2 else ''})"
        if len(findings) > 1
        else ""
    )
    first = f"**{who}{_said(findings[0])} on {safe(findings[0].host)}**{more}."
    return f"{first} {_cause(diagnosis)}"


def _cause(diagnosis: Diagnosis) -> str:
    if not diagnosis.causes:
        return "No log line shows a cause."
    top = diagnosis.causes[0]
    sure = {Confidence.HIGH: "Probable", Confidence.MEDIUM: "Possible", Confidence.LOW: "Only a hint of the"}
    return f"{sure[top.confidence]} cause: {safe(top.sentence)}"


def summary(results: Sequence[CheckResult], diagnosis: Diagnosis) -> str:
    """Three lines for the sign-off, above the proposal."""
    return "\n\n".join(
        [
            headline(results, diagnosis),
            f"**Since:** {since(diagnosis)} **How sure:** {diagnosis.confidence}, {safe(diagnosis.because)}.",
        ]
    )


def since(diagnosis: Diagnosis) -> str:
    """The window of the onset, with its reasons."""
    onset = diagnosis.onset
    latest = f"{_clock(onset.latest)} ({safe(onset.latest_because)})"
    if onset.earliest is None:
        return f"not later than {latest}; {safe(onset.earliest_because)}."
    same = onset.earliest.date() == onset.latest.date()
    day = f"{onset.latest:%Y-%m-%d}, " if same else ""
    earliest = _clock(onset.earliest) if same else f"{onset.earliest:%Y-%m-%d %H:%M:%S}"
    latest = latest if same else f"{onset.latest:%Y-%m-%d} {latest}"
    return f"{day}between {earliest} ({safe(onset.earliest_because)}) and {latest}, UTC."


def page(
    results: Sequence[CheckResult], severity: Severity | None, diagnosis: Diagnosis, mark: str = ""
) -> str:
    """The whole page as Markdown.

    Args:
        results: of the checks.
        severity: the grading.
        diagnosis: the rest.
        mark: of a drill or a verification, put before everything.
    """
    findings = _ordered(finding for result in results for finding in result.findings)
    parts = [f"{mark}## Diagnosis", headline(results, diagnosis)]
    if severity is not None:
        parts.append(safe(severity.sentence))
    return "\n\n".join([*parts, *sections(findings, diagnosis)])


def sections(findings: Sequence[Finding], diagnosis: Diagnosis) -> list[str]:
    """The five sections, each a heading and its text."""
    return [
        "### What is damaged", _damaged(_ordered(findings)),
        "### Since when", f"{since(diagnosis)[:1].upper()}{since(diagnosis)[1:]}",
        _timeline(diagnosis.onset.moments),
        "### Probable cause", _causes(diagnosis.causes),
        "### Who is affected", _affected(diagnosis.impacts),
        "### How sure we are, and what was not checked", _sure(diagnosis),
    ]  # fmt: skip


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    """What is damaged itself before what follows from it, the worst first."""
    return sorted(findings, key=lambda finding: (finding.code in _LAST, -finding.degree))


def _said(finding: Finding) -> str:
    words = _WORDS.get(finding.code, finding.code.replace("_", " ").lower())
    owner = (
        f" (package {safe(finding.package)})"
        if finding.package and finding.package != finding.subject
        else ""
    )
    noun = next((noun for start, noun in _NOUNS if finding.code.startswith(start)), "")
    return f"{noun}{safe(finding.subject)}{owner} {words}"


def _names(diagnosis: Diagnosis, reach: Reach) -> str:
    for kind in ("service", "unit"):
        names = [impact.name for impact in diagnosis.affected(kind) if impact.reach is reach]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"{safe(', '.join(names[:3]))}{more} {'is' if len(names) == 1 else 'are'}"
    return ""


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


def _damaged(findings: Sequence[Finding]) -> str:
    lines = [
        f"- {_said(finding)}: **{safe(finding.code)}**, {finding.degree.name.lower()}, on {safe(finding.host)}"
        for finding in findings[:FINDINGS]
    ]
    if len(findings) > FINDINGS:
        lines.append(f"- and {len(findings) - FINDINGS} more: see the findings")
    return "\n".join(lines)


def _timeline(moments: Sequence[Moment]) -> str:
    days = {moment.at.date() for moment in moments}
    form = "%H:%M:%S" if len(days) == 1 else "%m-%d %H:%M:%S"
    return "\n".join(
        f"- {moment.at:{form}} · **{_MARKS[moment.kind]}**{f' on {safe(moment.host)}' if moment.host else ''} · "
        f"{safe(moment.sentence, 200)}"
        for moment in moments
    )


def _causes(causes: Sequence[CauseHint]) -> str:
    if not causes:
        return "No log line shows a cause. That the logs are silent is no proof that nothing happened."
    parts = []
    telling = [hint for hint in causes if hint.code is not Cause.UNIT_FAILED] or list(causes)
    rest_of = [hint for hint in causes if hint not in telling[:CAUSES]]
    for number, hint in enumerate(telling[:CAUSES], start=1):
        parts.append(
            f"**{number}. {safe(hint.sentence)}**  \n{safe(hint.code)} on {safe(hint.host)}, how sure: "
            f"**{hint.confidence}**, because {safe(hint.because)}."
        )
        parts.append("\n".join(f"- {_line(hint, n)}" for n in range(min(LINES, len(hint.lines)))))
    if rest_of:
        rest = ", ".join(dict.fromkeys(f"{safe(hint.code)} ({hint.confidence})" for hint in rest_of))
        parts.append(f"Seen as well: {rest}.")
    return "\n\n".join(parts)


def _line(hint: CauseHint, number: int) -> str:
    line = hint.lines[number]
    when = f"{line.at:%H:%M:%S} " if line.at is not None else ""
    return f"{when}*{safe(line.source, 80)}*: {safe(line.text, 260)}"


def _affected(impacts: Sequence[Impact]) -> str:
    if not impacts:
        return "Nothing is known to use what is damaged."
    parts = []
    for reach, title in (
        (Reach.STOPPED, "Stopped"), (Reach.USES, "Damaged, or uses what is damaged"), (Reach.DEPENDS, "Depends on it"),
    ):  # fmt: skip
        here = [impact for impact in impacts if impact.reach is reach]
        if not here:
            continue
        main = [i for i in here if i.kind == "service" or (i.kind == "unit" and not _told(i, impacts))]
        shown = [_impact(impact) for impact in main[:IMPACTS]]
        for kind in ("port", "probe", "asset", "table", "process"):
            names = [impact.name for impact in here if impact.kind == kind]
            if names:
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                plural = {"process": "processes"}.get(kind, f"{kind}s") if len(names) > 1 else kind
                shown.append(f"- {plural} **{safe(', '.join(names[:8]))}**{more}")
        if len(main) > IMPACTS:
            shown.append(f"- and {len(main) - IMPACTS} more services and units")
        parts.append(f"**{title}**\n\n" + "\n".join(shown))
    return "\n\n".join(parts)


def _told(unit: Impact, impacts: Sequence[Impact]) -> bool:
    """Whether a service of the plan that is shown is this unit."""
    return any(
        i.kind == "service" and i.host == unit.host and unit.name in i.chain[-1].split() for i in impacts
    )


def _impact(impact: Impact) -> str:
    chain = " → ".join(safe(link, 160) for link in impact.chain)
    return f"- {_KINDS[impact.kind]} **{safe(impact.name)}** on {safe(impact.host)}: {chain}"


def _sure(diagnosis: Diagnosis) -> str:
    parts = [f"**{diagnosis.confidence.value.capitalize()}**: {safe(diagnosis.because)}."]
    if diagnosis.not_checked:
        notes = [f"- not checked: {safe(note)}" for note in diagnosis.not_checked[:NOTES]]
        if len(diagnosis.not_checked) > NOTES:
            notes.append(f"- and {len(diagnosis.not_checked) - NOTES} more notes in the checks")
        parts.append("\n".join(notes))
    else:
        parts.append("Everything that was asked for was checked.")
    return "\n\n".join(parts)
