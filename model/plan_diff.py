"""What differs between two versions of a plan, value by value, and which differences weaken it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.canonical import Value
from model.outcome import Gate
from model.plan import GateRule, Plan
from model.signoff import signers


class Change(Value):
    """One value that differs. An absent value is None; a section that came or went is one change.

    Attributes:
        path: dotted path of the key.
    """

    path: str
    before: Any
    after: Any

    @property
    def word(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


class PlanDiff(Value):
    """Differences of two plans; defaults written out or left out are no difference.

    Attributes:
        warnings: sentences about changes that leave less protected, or let fewer or other people decide.
    """

    changes: tuple[Change, ...]
    warnings: tuple[str, ...]


def in_words(value: object) -> str:
    """A value of a plan on one line: words as they are, what has parts as JSON."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "nothing"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def compare_plans(before: Plan, after: Plan) -> PlanDiff:
    """Compare two plans by what they mean, not by their text."""
    changes = _changes("", before.model_dump(mode="json"), after.model_dump(mode="json"))
    return PlanDiff(changes=tuple(changes), warnings=tuple(_warnings(before, after)))


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:  # noqa: ANN401 - JSON data
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from _changes(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif _rows(before) and _rows(after):
        for number in range(max(len(before), len(after))):
            one, other = (rows[number] if number < len(rows) else None for rows in (before, after))
            yield from _changes(f"{path}.{number}", one, other)
    elif before != after:
        yield Change(path=path, before=before, after=after)


def _rows(value: Any) -> bool:  # noqa: ANN401 - JSON data
    """Whether it is a list of mappings: compared item by item. A list of words is one value."""
    return isinstance(value, Sequence) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _warnings(before: Plan, after: Plan) -> Iterator[str]:
    yield from _less_protected(before, after)
    yield from _others_decide(before, after)


def _less_protected(before: Plan, after: Plan) -> Iterator[str]:
    for section in ("hosts", "backups", "package_stores", "assets"):
        for name in getattr(before, section):
            if name not in getattr(after, section):
                yield f"{section}.{name} is no longer part of the plan."
    for key in ("rto", "rpo"):
        if getattr(after.objectives, key) > getattr(before.objectives, key):
            yield f"objectives.{key} allows more time than before."
    for key in ("probes", "tables"):
        if (left := len(getattr(after.checks, key))) < (had := len(getattr(before.checks, key))):
            yield f"checks.{key} has {left} instead of {had} checks."


def _others_decide(before: Plan, after: Plan) -> Iterator[str]:
    for name, host in before.hosts.items():
        other = after.hosts.get(name)
        if other is not None and (host.host_key, host.machine_id) != (other.host_key, other.machine_id):
            yield f"hosts.{name} is another machine: compare its host key and machine-id on its console."
    for gate in Gate:
        old: GateRule = getattr(before.signoff, gate.value)
        new: GateRule = getattr(after.signoff, gate.value)
        if new.quorum < old.quorum:
            yield f"signoff.{gate} needs {new.quorum} instead of {old.quorum} signatures."
        if more := sorted(set(signers(after, new, "")) - set(signers(before, old, ""))):
            yield f"signoff.{gate} may now be signed by {', '.join(more)}."
    for person, who in before.people.items():
        now = after.people.get(person)
        if now is not None and (who.totp, who.ssh_keys) != (now.totp, now.ssh_keys):
            yield f"people.{person} proves who they are by another code or key: ask {now.name} in person."
