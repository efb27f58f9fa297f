"""What people read, as Markdown and tables. Host output is tainted: always escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from model.command import printable
from model.drill_records import DrillRecord
from model.finding import CheckResult, Finding, Verdict
from model.incident import Kind
from model.journal import (
    Confirmed,
    Effect,
    Ended,
    GateOpened,
    GateReminded,
    GateSettled,
    GlassNeeded,
    Intent,
    LeaseReleased,
    LeaseTaken,
    Noted,
    Opened,
    PlanProposed,
    PlanPublished,
    Preserved,
    Proposed,
    Record,
    Reviewed,
    StageEnded,
    StageStarted,
    State,
    Verified,
    Voted,
    VoteRefused,
)
from model.messages import MessageHeld, MessageReleased, Telling, Told
from model.outcome import Gate
from model.plan import GateRule, Plan
from model.proposal import (
    Action,
    Proposal,
    RebuildInterpreter,
    Reimport,
    RestoreCluster,
    RestoreDatabase,
    RestoreFiles,
    RestoreLinks,
    RestoreRows,
    SetAside,
    SetMetadata,
)
from model.review import ItemAdded, ItemAssigned, ItemClosed, Opinion
from model.review import sentence as about_item
from model.signoff import Decision, Standing, Vote, signers
from tasks.message_words import AT_DEADLINE
from tasks.render_points import choices, helpers, reimport
from tasks.render_system import what_of_system

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$%@]|:(?=//)|(?<=www)\.)")
OUTCOMES = {
    "delivered": "delivered", "failed": "not delivered", "unknown": "may have been sent", "": "may have been sent",
}  # fmt: skip
"""What became of a message; empty: nobody knows."""

ROW_LIMIT = 200
"""Rows shown in a table; the journal holds all of them and the table says how many are left out."""


def safe(text: object, limit: int = 300) -> str:
    """Tainted text as inert Markdown: markup escaped, control characters shown, newlines as spaces, cut at `limit`.

    Prefect renders descriptions as Jinja templates and Markdown as HTML, so `{{` and `<` never survive as such; nor do
    the addresses that its Markdown would make links of.
    """
    plain = printable(str(text)).replace("\n", " ").replace("\t", " ")
    cut = plain if len(plain) <= limit else plain[: limit - 1] + "…"
    return _MARKUP.sub(r"\\\1", cut).replace(r"\<", "&lt;").replace(r"\>", "&gt;")


def size(count: float) -> str:
    """Bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """A duration for people: `45 s`, `3 min 20 s`, `1 h 2 min`, `2 days`; rounded to its two largest units."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    units = (("day", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(number for number, (_, size) in enumerate(units) if seconds >= size)
    (large, size), (small, step) = units[first : first + 2]
    many, rest = divmod(round(seconds / step) * step, size)
    name = f"{large}s" if large == "day" and many > 1 else large
    return f"{many:.0f} {name}" + (f" {rest / step:.0f} {small}" if rest else "")


BAR = 10
"""Characters of a full bar: a table of the UI breaks longer words."""


def bar(share: float | None) -> str:
    """How much of what is allowed is used up, 1: all of it; None: it is not known."""
    if share is None:
        return "?" * BAR
    filled = round(max(0.0, min(1.0, share)) * BAR)
    return "█" * filled + "░" * (BAR - filled)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with every cell made safe."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    kept = list(rows)
    lines += ["| " + " | ".join(safe(cell) for cell in row) + " |" for row in kept[:ROW_LIMIT]]
    if len(kept) > ROW_LIMIT:
        lines.append(f"\n… and {len(kept) - ROW_LIMIT} more in the journal.")
    return "\n".join(lines)


def mark(kind: Kind) -> str:
    """The unmistakable mark of anything that is not real (G12)."""
    return "" if kind is Kind.REAL else f"**{kind.value.upper()} – NOT REAL**\n\n"


def findings_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as rows of a table artifact."""
    return [
        {
            "host": f.host, "asset": f.asset, "code": str(f.code), "what": printable(f.subject),
            "package": f"{f.package} {f.version}".strip(), "expected": f.expected[:80],
            "found": printable(f.actual)[:80], "degree": f.degree.name.lower(),
        }
        for f in findings
    ]  # fmt: skip


def checks_rows(results: Iterable[CheckResult]) -> list[dict[str, str | int | float]]:
    """Check results as rows of a table artifact."""
    return [
        {
            "verdict": str(r.verdict), "check": r.check, "host": r.host, "asset": r.asset, "examined": r.examined,
            "findings": len(r.findings), "sentence": printable(r.sentence), "seconds": round(r.seconds, 2),
            "not checked": "; ".join(r.not_checked),
        }
        for r in results
    ]  # fmt: skip


def what(action: Action) -> str:
    """The thing an action changes, in a few words."""
    match action:
        case RestoreFiles():
            names = ", ".join(entry.path for entry in action.files[:5])
            more = f" and {len(action.files) - 5} more" if len(action.files) > 5 else ""
            return f"{names}{more} below {action.root}, from {action.point.id}"
        case RestoreDatabase():
            return f"database {action.database}, from {action.point.id}"
        case RestoreCluster():
            end = "to the end of its WAL" if action.replays else "as it was backed up"
            return f"data directory {action.data_directory}, from {action.point.id} {end}"
        case RestoreRows():
            tables = ", ".join(one.table for one in action.tables)
            return f"rows of {tables} in {action.database}, as just before {action.mistake.when}"
        case _:
            if action.kind == "rebuild_rpm_database":
                source = (
                    f"from {action.point.id}" if action.point else f"{len(action.lost)} records from packages"
                )
                return f"rpm database {action.database}, {source}"
            if action.kind == "reinstall_package" or action.kind == "reinstall_rpm":
                return f"{action.package} {action.version} ({action.source})"
            if action.kind == "reinstall_distribution":
                return f"{action.distribution} {action.version} ({action.filename})"
            if action.kind == "restore_package_database":
                return f"{action.path}, {len(action.restored)} entries from {action.base}"
            if action.kind == "configure_packages":
                return f"dpkg --configure -a: {', '.join(action.packages[:5])}"
            if action.kind == "restart_service":
                return action.service
            if isinstance(action, SetAside | RebuildInterpreter | RestoreLinks | SetMetadata):
                return _what_of_paths(action)
            return what_of_system(action)


def _what_of_paths(action: SetAside | RebuildInterpreter | RestoreLinks | SetMetadata) -> str:
    match action:
        case SetAside(paths=paths):
            return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        case RebuildInterpreter():
            parts = [
                *(entry.path for entry in action.links),
                *([action.config_path] if action.config else []),
            ]
            return f"{', '.join(parts)} → {action.base} {action.version}"
        case RestoreLinks(links=links):
            return ", ".join(f"{entry.path} → {entry.link}" for entry in links[:5])
        case SetMetadata(files=files):
            return ", ".join(f"{entry.path} → {entry.mode:04o}" for entry in files[:5])


def findings_markdown(findings: Sequence[Finding]) -> str:
    """What is damaged, by asset; tables do not wrap paths, lists do."""
    parts: list[str] = []
    for asset in dict.fromkeys((f.asset, f.host) for f in findings):
        here = [f for f in findings if (f.asset, f.host) == asset]
        parts.append(f"### {safe(asset[0])} on {safe(asset[1])}: {len(here)} damaged")
        parts.append("\n".join(f"- {_finding(f)}" for f in here[:ROW_LIMIT]))
        if len(here) > ROW_LIMIT:
            parts.append(f"… and {len(here) - ROW_LIMIT} more in the journal.")
    return "\n\n".join(parts) or "Nothing is damaged."


def _finding(finding: Finding) -> str:
    owner = f" of {safe(finding.package)} {safe(finding.version)}" if finding.package else ""
    said = "".join(
        f"  \n  {word}: {safe(text)}"
        for word, text in (("expected", finding.expected), ("found", finding.actual))
        if text
    )
    return f"**{safe(finding.code)}** {safe(finding.subject)}{owner}, {finding.degree.name.lower()}{said}"


def proposal_markdown(plan: Plan, state: State, proposal: Proposal) -> str:
    """The proposal as people read it: loss and what is not cured first, then what, where, why, undo, digest."""
    incident = state.require_incident()
    severity = state.confirmed.severity if state.confirmed else None
    parts = [mark(incident.kind) + f"## Proposal for {safe(plan.service.name)}"]
    parts.append(f"Reported by {safe(incident.reported_by)}: {safe(incident.summary, 500)}")
    if state.glass is not None:
        parts.append(f"**⚠ {safe(state.glass.sentence, 500)}**")
    parts.append(f"By {safe(incident.follows)}.")
    if severity is not None:
        parts.append(f"**{safe(severity.sentence)}**")
    if proposal.losses:
        parts += ["### Data that will be lost", _list(safe(loss.sentence, 500) for loss in proposal.losses)]
    else:
        parts.append("**No data will be lost.**")
    parts += _points(plan, proposal)
    if proposal.unmet:
        parts += [
            "### Not cured by this proposal",
            _list(f"{safe(unmet.sentence, 500)} {safe(unmet.remedy, 300)}" for unmet in proposal.unmet),
        ]
    count = len(proposal.actions)
    parts.append(f"### What will be done: {count} action{'' if count == 1 else 's'}")
    parts += [
        f"**{a.id} {safe(a.kind.replace('_', ' '))}** on {safe(a.host)}, {size(a.bytes)}, {a.minutes:.1f} min  \n"
        f"**What:** {safe(what(a), 500)}  \n**Why:** {safe(a.reason, 500)}  \n**Undo:** {safe(a.undo, 300)}"
        + _optional(plan, a)
        for a in proposal.actions[:ROW_LIMIT]
    ]
    if count > ROW_LIMIT:
        parts.append(f"… and {count - ROW_LIMIT} more; `reinstate report` shows all.")
    parts.append(
        f"In all {size(proposal.bytes)} to move, about {proposal.minutes:.1f} min. "
        f"The proposal expires {proposal.expires_at:%Y-%m-%d %H:%M} UTC.\n\n"
        f"Whole digest: {_digest(proposal.digest)}"
    )
    return "\n\n".join(parts)


def _optional(plan: Plan, action: Action) -> str:
    return (
        ""
        if plan.assets[action.asset].step.critical
        else "  \n**Not critical:** if it fails, the recovery goes on without it"
    )


def _points(plan: Plan, proposal: Proposal) -> list[str]:
    """Where the data comes from, and what users must bring back themselves."""
    parts: list[str] = []
    if proposal.points:
        parts += ["### Recovery points", _list(safe(said, 500) for said in choices(proposal.points))]
    if proposal.reimport:
        parts += [f"### What users must bring back themselves (user service: {safe(helpers(plan))})"]
        parts += [guide_markdown(proposal.reimport)]
    return parts


def guide_markdown(items: Sequence[Reimport]) -> str:
    """The guide for re-import as a list."""
    lines = []
    for sentence, things, steps in reimport(items):
        lines.append(f"- {safe(sentence, 500)}  \n  **What to do:** {safe(steps, 4000)}")
        lines += [f"  - {safe(thing)}" for thing in things]
    return "\n".join(lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _digest(text: str) -> str:
    """A digest in pieces that fit the narrow form of the UI."""
    return " ".join(f"`{text[start : start + 16]}`" for start in range(0, len(text), 16))


def standing_markdown(plan: Plan, rule: GateRule, state: State, gate: Gate, where: Standing) -> str:
    """Why the last answer was refused, where the gate stands, then everyone of the rule: what they said or may do."""
    refusal = state.refusal.get(gate, "")
    head = f"### ⚠ The last answer was refused: {safe(refusal, 500)}\n\n" if refusal else ""
    reporter = state.require_incident().reported_by
    asked = state.gates.get(gate)
    said = {
        vote.person: vote
        for vote in state.votes
        if vote.gate is gate and asked is not None and vote.digest == asked.digest
        if vote.decision is not Decision.APPROVE or vote.person in where.approvals  # the others do not count
    }
    people = [
        f"**{safe(plan.people[one].name)}** ({safe(one)}): "
        + _said(plan, one, said.get(one), one == reporter, where.instead)
        for one in dict.fromkeys((*signers(plan, rule, requester=""), *where.instead.values()))
        if one in plan.people
    ]
    until = ""
    if asked is not None:
        until = (
            f" Deadline: {asked.deadline:%Y-%m-%d %H:%M} UTC; after it {AT_DEADLINE['en'][rule.on_timeout]}."
        )
    return f"{head}{_questions(plan, state, gate)}{safe(where.sentence, 500)}{until}\n\n{_list(people)}"


def _questions(plan: Plan, state: State, gate: Gate) -> str:
    """What people asked before this was made, so that whoever signs sees that it was looked at again, and why."""
    asked = state.gates.get(gate)
    lines = [
        f"**{safe(plan.people[one.person].name)}** at {one.at:%Y-%m-%d %H:%M} UTC: {safe(one.reason)}"
        for one in state.questions(gate)
        if asked is not None and one.digest != asked.digest
    ]
    if not lines:
        return ""
    again = "the result was checked" if gate is Gate.ACCEPT else "everything was examined and proposed"
    said = f"After {'this question' if len(lines) == 1 else 'these questions'} {again} again"
    return (
        f"### Asked for more\n\n{_list(lines)}\n\n{said}; what was signed before does not count for this.\n\n"
    )


def _said(plan: Plan, ident: str, vote: Vote | None, reported: bool, instead: Mapping[str, str]) -> str:
    """What a person did at a gate, or how they may sign it."""
    if vote is not None:
        word = {
            Decision.APPROVE: "approved", Decision.DENY: "denied", Decision.ASK: "asked for more",
            Decision.WITHDRAW: "took it back",
        }  # fmt: skip
        return f"{word[vote.decision]} at {vote.at:%Y-%m-%d %H:%M} UTC: {safe(vote.reason)}"
    if reported:
        return "reported or proposed this and may not sign"
    if ident in instead:
        return f"{safe(instead[ident])} signs in their place"
    person = plan.people[ident]
    ways = [way for way, has in (("one-time code", person.totp), ("SSH key", person.ssh_keys)) if has]
    return (
        f"has not signed; signs by {' or '.join(ways)}"
        if ways
        else "cannot sign: no code and no key in the plan"
    )


def result_markdown(plan: Plan, state: State) -> str:
    """What people accept or deny at the second gate: what is not right first, then the checks, then what was done."""
    incident = state.require_incident()
    results = [r for v in state.verified[-2:] for r in v.results]
    bad = [r for r in results if r.verdict is not Verdict.PASSED]
    good = [r for r in results if r.verdict is Verdict.PASSED]
    parts = [
        mark(incident.kind) + f"## Result for {safe(plan.service.name)}",
        "Approve to end the recovery. **Deny to roll everything back** to the state before it.",
    ]
    if bad:
        parts += [f"### {len(bad)} checks did not pass", _list(_check(r) for r in bad[:ROW_LIMIT])]
    parts += [f"### {len(good)} checks passed", _list(_check(r) for r in good[:ROW_LIMIT])]
    parts += [
        f"### {len(state.effects)} actions done",
        _list(
            f"**{safe(step)} {e.result}** ({duration(e.seconds)}): {safe(e.sentence)}"
            for step, e in list(state.effects.items())[:ROW_LIMIT]
        ),
    ]
    return "\n\n".join(parts)


def _check(result: CheckResult) -> str:
    where = f"{safe(result.asset)} on {safe(result.host)}" if result.asset else safe(result.host)
    return f"**{result.verdict}** {safe(result.check)} of {where}, {result.examined} examined: {safe(result.sentence)}"


def line(record: Record) -> str:  # noqa: C901 - one branch for each kind of record is the plainest form
    """One record as one sentence of the timeline."""
    match record.payload:
        case Opened(incident=i):
            return f"Incident opened by {i.reported_by} ({i.source}): {i.summary}"
        case StageStarted(stage=stage):
            return f"{stage} began."
        case StageEnded(stage=stage, ok=ok, sentence=sentence):
            return f"{stage} {'ended' if ok else 'FAILED'}: {sentence}"
        case Confirmed(results=results, severity=severity):
            count = sum(len(r.findings) for r in results)
            return (
                f"{len(results)} checks, {count} findings. {severity.sentence if severity else 'No damage.'}"
            )
        case Proposed(proposal=p, digest=d):
            return f"Proposal {d[:12]} with {len(p.actions)} actions."
        case GateOpened(gate=gate, digest=d):
            return f"Sign-off asked at {gate} for {d[:12]}."
        case Voted(vote=v):
            return f"{v.person} ({v.role}) said {v.decision} at {v.gate}, proven by {v.proof}: {v.reason}"
        case VoteRefused(gate=gate, person=person, reason=reason):
            return f"An answer of {person} at {gate} was refused: {reason}"
        case GateSettled(gate=gate, sentence=sentence):
            return f"{gate} settled: {sentence}"
        case GateReminded(sentence=sentence):
            return sentence
        case GlassNeeded(sentence=sentence):
            return f"Two people must break the glass. {sentence}"
        case PlanProposed(plan=name, version=version, number=number, digest=d):
            return f"Version {number} of plan {name} ({version}, {d[:12]}) is put to the vote."
        case PlanPublished(sentence=sentence):
            return sentence
        case LeaseTaken(host=host, token=token):
            return f"{host} held under token {token}."
        case LeaseReleased(host=host):
            return f"{host} given back."
        case Preserved(what=kind, host=host, files=files, bytes=count):
            return f"{kind} of {host} preserved: {files} items, {size(count)}."
        case Intent(step=step, attempt=attempt, host=host):
            return f"{step} on {host}, attempt {attempt}: about to begin."
        case Effect(step=step, result=result, sentence=sentence):
            return f"{step} {result}: {sentence}"
        case Verified(stage=stage, results=results, remarks=remarks):
            return f"Checks after {stage}: " + " ".join((*(r.sentence for r in results), *remarks))
        case Ended(verdict=verdict, sentence=sentence):
            return f"{verdict}: {sentence}"
        case Reviewed(report=report):
            return f"Report written: {report}"
        case MessageHeld(message=message):
            return f"Message {message} waits until its text is approved."
        case MessageReleased(message=message, person=person, decision=decision, proof=proof):
            return f"{person} said {decision} to the text of message {message}, proven by {proof}."
        case Telling(message=message, channel=channel, to=to):
            return f"Message {message} about to be sent{f' to {to}' if to else ''} by {channel}."
        case Told(message=message, channel=channel, to=to, result=result, sentence=sentence):
            return f"Message {message}{f' to {to}' if to else ''} by {channel}: {OUTCOMES[result]}. {sentence}".strip()
        case ItemAdded() | ItemAssigned() | ItemClosed() as step:
            return about_item(step)
        case Opinion(person=person, role=role, decision=decision, text=text, proof=proof):
            return f"{person} ({role}) said {decision} of the report, proven by {proof}: {text}"
        case Noted(sentence=sentence) | DrillRecord(sentence=sentence):
            return sentence
