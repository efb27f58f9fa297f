"""What an incident teaches its plan: a new version of the file; all else in it stays as it is (R-REV-3). Pure."""

from __future__ import annotations

import json
import math
import re
from textwrap import wrap

from model.canonical import Value
from model.command import printable
from model.errors import BadInput, Refused
from model.journal import State
from model.plan import Plan
from model.planfile import place, read_plan

SHOWN = 300
"""Characters of one lesson in the file; the report has all of it."""


class Change(Value):
    """One value of the plan that is changed.

    Attributes:
        path: dotted path of the key.
        value: the new value, as it is written in the file.
        reason: why.
    """

    path: str
    value: str
    reason: str


class Revision(Value):
    """A proposed new version of a plan file.

    Attributes:
        changes: values that are changed, the version first.
        lessons: what only a person can decide; it is written as a comment above the version.
        text: the whole file.
    """

    incident: str
    version: str
    changes: tuple[Change, ...]
    lessons: tuple[str, ...]
    text: str


def next_version(version: str) -> str:
    """The version after this one: its last number plus one, or `.1` behind it.

    >>> [next_version(version) for version in ("1", "1.9", "2025-03b", "draft")]
    ['2', '1.10', '2025-04b', 'draft.1']
    """
    match = re.search(r"(.*?)([0-9]+)([^0-9]*)$", version)
    return f"{match[1]}{str(int(match[2]) + 1).zfill(len(match[2]))}{match[3]}" if match else f"{version}.1"


def span(seconds: float) -> str:
    """A duration as a plan writes it, in whole minutes, rounded up.

    >>> [span(seconds) for seconds in (30, 3600, 5401, 86400)]
    ['1m', '1h', '91m', '1d']
    """
    minutes = max(1, math.ceil(seconds / 60))
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def lessons_of(plan: Plan, state: State) -> tuple[str, ...]:
    """What only a person can decide: failed steps, what was not cured or not checked, people nobody can reach."""
    said = [f"Stage {one.stage} failed: {one.sentence}" for one in state.ended_stages.values() if not one.ok]
    said += [
        f"Action {effect.step} failed: {effect.sentence}"
        for effect in state.effects.values()
        if effect.result == "failed"
    ]
    said += [
        f"Not cured: {unmet.sentence} {unmet.remedy}"
        for unmet in (state.proposal.unmet if state.proposal else ())
    ]
    results = state.confirmed.results if state.confirmed else ()
    said += [f"Not checked: {note}" for note in sorted({note for r in results for note in r.not_checked})]
    said += [
        f"people.{name}: no e-mail address and no telephone number"
        for name, person in plan.people.items()
        if plan.roles.of(name) and not (person.email or person.phone)
    ]
    said += [f"To be put right ({item.id}): {item.text}" for item in state.items if item.state == "open"]
    return tuple(said)


def changes_of(plan: Plan, state: State) -> tuple[Change, ...]:
    """The values that follow from what was measured, the version first."""
    version = next_version(plan.version)
    found = [Change(path="version", value=json.dumps(version, ensure_ascii=False), reason="a new version")]
    for name in ("rto", "rpo"):
        measured: float | None = getattr(state.ended, name, None)
        if measured is not None and measured > getattr(plan.objectives, name):
            reason = f"{name.upper()} was missed: keep the target only if the next run can reach it"
            found.append(Change(path=f"objectives.{name}", value=span(measured), reason=reason))
    return tuple(found)


def revise(text: str, where: str, state: State) -> Revision:
    """Propose a new version of a plan file from an incident that has ended.

    Args:
        text: the plan file as it is now.
        where: its name for messages.
        state: the incident.

    Raises:
        BadPlan: the file is wrong. BadInput: it is another plan's, or has these lessons already.
        Refused: the incident has not ended.
    """
    plan, incident = read_plan(text, where), state.require_incident()
    if state.ended is None:
        raise Refused(
            "the incident has not ended.",
            incident.id,
            f"go on with `reinstate recover --incident {incident.id}`",
        )
    if plan.name != incident.plan:
        raise BadInput(
            f"this is plan {plan.name}, and {incident.id} followed plan {incident.plan}.",
            where,
            f"give the file of plan {incident.plan}",
        )
    mark = f"# Lessons of {incident.id}"
    if mark in text:
        raise BadInput(f"it has the lessons of {incident.id} already.", where, "edit the file by hand")
    changes, lessons = changes_of(plan, state), lessons_of(plan, state)
    edits = [(place(text, change.path), change.value) for change in changes]
    head = [mark + " (remove what is done):", *(f"#   - {_line(c.path, c.reason)}" for c in changes[1:])]
    for lesson in lessons:
        head += wrap(_line(lesson), 110, initial_indent="#   - ", subsequent_indent="#     ")
    begin = text.rfind("\n", 0, edits[0][0][0]) + 1
    if len(head) > 1:
        edits.append(((begin, begin), "".join(f"{line}\n" for line in head)))
    revised = text
    for (start, end), value in sorted(edits, reverse=True):
        revised = revised[:start] + value + revised[end:]
    version = read_plan(revised, where).version
    return Revision(incident=incident.id, version=version, changes=changes, lessons=lessons, text=revised)


def _line(*parts: str) -> str:
    """Tainted text as one line of a comment."""
    return printable(" ".join(": ".join(parts).split()))[:SHOWN]
