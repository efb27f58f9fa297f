"""The text of a message: what the journal says at this moment, in an audience's language and for its eyes (R-RESP-8).

An audience without `details` is told nothing that a host, a finding or a reporter said: no names of hosts, no paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jinja2 import PackageLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from model.command import printable
from model.communication import Audience, Language
from model.incident import Incident
from model.informing import Message
from model.journal import GateSettled, Record, StageStarted, State, fold
from model.messages import Moment
from model.outcome import Gate, Stage
from model.plan import GateRule, Plan
from model.signoff import Decision, signers
from model.steps import Ask, Finished, Publish, next_step
from tasks.message_words import (
    AT_DEADLINE,
    DECISIONS,
    DEGREES,
    DETAILS,
    GATES,
    MARKS,
    SCOPES,
    STEPS,
    duration_words,
)

SUBJECT = 160
"""Characters of a subject; more is cut."""


@dataclass(frozen=True)
class Text:
    """A message as it is sent.

    Attributes:
        short: the subject and the first paragraph, for channels to telephones.
        problem: why the plan's own template was not used; empty when it was, or there is none.
    """

    subject: str
    body: str
    short: str
    problem: str = ""


def compose(
    plan: Plan, incident: Incident, records: Sequence[Record], message: Message, at: datetime
) -> Text:
    """The text of a message, by the plan's own template; by ours where there is none, or it cannot be filled in.

    Args:
        plan: that the incident follows.
        incident: the incident.
        records: its journal so far.
        message: whom it is for, and why.
        at: the present moment.
    """
    told = plan.told
    assert told is not None  # noqa: S101 - there is no message without it
    audience = told.audiences[message.audience]
    moment = message.occasion.moment
    words = facts(plan, incident, records, audience, at, message.occasion.gate)
    environment = _environment()
    subject, body = _ours(environment, audience.language, moment, words)
    problem = ""
    try:
        if own := audience.templates.get(moment):
            body = environment.from_string(own).render(words)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        problem = f"The plan's template for {moment} to {message.audience} cannot be filled in: {error}"
    return _dressed(subject, body, incident, audience, _details(words) if audience.details else "", problem)


def public_text(
    plan: Plan,
    incident: Incident,
    records: Sequence[Record],
    moment: Moment,
    language: Language,
    at: datetime,
) -> tuple[str, str]:
    """What everybody may read of a moment: subject and text, without names of hosts, paths, or what a report said."""
    everybody = Audience(members=("everybody",), language=language)
    words = facts(plan, incident, records, everybody, at)
    subject, body = _ours(_environment(), language, moment, words)
    return " ".join(printable(subject).split()), _paragraphs(body)


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=PackageLoader("tasks", "templates/messages"), undefined=StrictUndefined, autoescape=False
    )  # plain text: what is shown or sent as HTML is escaped where that is made


def _ours(
    environment: ImmutableSandboxedEnvironment, language: Language, moment: Moment, words: dict[str, object]
) -> tuple[str, str]:
    subject, _, body = environment.get_template(f"{language}/{moment}.txt.j2").render(words).partition("\n")
    return subject, body


def _dressed(
    subject: str, body: str, incident: Incident, audience: Audience, details: str, problem: str
) -> Text:
    mark = MARKS[audience.language].get(incident.kind, "")
    heading = f"{DETAILS[audience.language]}\n{details}" if details else ""
    text = _paragraphs(body)
    subject = " ".join(printable(f"{mark} {subject}").split())
    subject = subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + "…"
    parts = [mark, text, heading, mark, incident.id]
    short = "\n".join(part for part in (subject, text.partition("\n\n")[0]) if part)
    return Text(subject, "\n\n".join(part for part in parts if part), short, problem)


def _paragraphs(text: str) -> str:
    """Printable, without blanks at the ends of lines, and with one empty line between paragraphs."""
    lines = [line.rstrip() for line in printable(text).strip().splitlines()]
    return "\n".join(line for number, line in enumerate(lines) if line or lines[number - 1])


def facts(
    plan: Plan,
    incident: Incident,
    records: Sequence[Record],
    audience: Audience,
    at: datetime,
    gate: Gate | None = None,
) -> dict[str, object]:
    """The words that a template may use; those about `gate` are empty where a message concerns none."""
    state, language = fold(records), audience.language
    severity = state.confirmed.severity if state.confirmed else None
    ended = state.ended
    approved = _approved(records)
    words: dict[str, object] = {
        "service": _line(plan.service.name), "description": _line(plan.service.description), "incident": incident.id,
        "level": str(severity.level) if severity else "–",
        "degree": DEGREES[language][severity.degree] if severity else "–",
        "scope": SCOPES[language][severity.scope] if severity else "–",
        "approved": approved, "decision": DECISIONS[language][approved],
        "going_back": any(
            isinstance(r.payload, StageStarted) and r.payload.stage is Stage.ROLL_BACK for r in records
        ),
        "verdict": str(ended.verdict) if ended else "",
        "lost": duration_words(ended.rpo, language) if ended and ended.rpo else "",
        "took": duration_words(ended.rto, language) if ended and ended.rto else "",
        "detected": clock(incident.detected_at), "at": clock(at),
        "target": clock(incident.detected_at + timedelta(seconds=plan.objectives.rto)),
        "next": STEPS[language][doing(state)],
        "steps": [_line(one.steps) for one in (state.proposal.reimport if state.proposal else ()) if one.steps],
        "summary": "", "details": [], **_gate_words(plan, state, language, gate),
    }  # fmt: skip
    if audience.details:
        words |= {"summary": _line(incident.summary), "details": _sentences(incident, state)}
    return words


def _gate_words(plan: Plan, state: State, language: Language, gate: Gate | None) -> dict[str, object]:
    """What is told to those who may sign, or who look for them."""
    opened = state.gates.get(gate) if gate is not None else None
    if gate is None or opened is None:
        return {"gate": "", "deadline": "", "missing": "", "at_deadline": ""}
    rule: GateRule = getattr(plan.signoff, gate.value)
    voted = {vote.person for vote in state.votes if vote.gate is gate and vote.digest == opened.digest}
    missing = [p for p in signers(plan, rule, state.require_incident().reported_by) if p not in voted]
    return {
        "gate": GATES[language][gate], "deadline": clock(opened.deadline),
        "missing": ", ".join(_line(plan.people[person].name) for person in missing) or "–",
        "at_deadline": AT_DEADLINE[language][rule.on_timeout],
    }  # fmt: skip


def doing(state: State) -> str:
    """What goes on now: a key of `STEPS`."""
    step = next_step(state)
    if isinstance(step, Finished) or state.ended is not None:
        return "over"
    if isinstance(step, Ask):
        return "acceptance" if step.gate is Gate.ACCEPT else "sign"
    if isinstance(step, Publish):
        return "over"
    return str(step.stage)


def clock(moment: datetime) -> str:
    """A moment for people everywhere."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _approved(records: Sequence[Record]) -> bool:
    settled = [p for r in records if isinstance(p := r.payload, GateSettled) and p.gate is Gate.DECIDE]
    return bool(settled) and settled[-1].decision is Decision.APPROVE


def _sentences(incident: Incident, state: State) -> list[str]:
    said = [f"{incident.summary} ({incident.reported_by})"]
    if state.confirmed and state.confirmed.severity:
        said.append(state.confirmed.severity.sentence)
    if state.confirmed:
        said += [finding.sentence for result in state.confirmed.results for finding in result.findings][:10]
    said += [settled.sentence for settled in state.settled.values()]
    said += [ended.sentence for ended in list(state.ended_stages.values())[-1:]]
    if state.ended:
        said += [state.ended.sentence, state.ended.next_human_step]
    return [_line(sentence) for sentence in said if sentence]


def _details(words: dict[str, object]) -> str:
    details = words["details"]
    assert isinstance(details, list)  # noqa: S101 - made above
    return "\n".join(f"- {sentence}" for sentence in details)


def _line(text: str) -> str:
    return " ".join(printable(text).split())
