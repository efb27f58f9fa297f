"""Alternatives: links of a group that lead nowhere or elsewhere, read from dpkg's own records (update-alternatives(1)).

A group is a link of a package directory → `/etc/alternatives/NAME` → the chosen program; slaves follow their master.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from checks.dpkg import Database
from checks.fact import Fact
from model.manifest import FileType

FOLDER = "/etc/alternatives"
RECORD = "a record of the group"
"""What is expected where dpkg's record of a group is damaged: then nothing says where its links lead."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group of alternatives.

    Attributes:
        name: of the master.
        automatic: the best choice is taken; else a person chose.
        links: name → where its link lies, the master first.
        choices: path of the master → (priority, slave name → path; a slave without a path has no link).
    """

    name: str
    automatic: bool
    links: Mapping[str, str]
    choices: Mapping[str, tuple[int, Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Broken:
    """One link that is not what its group says; `target` is what it should lead to, empty when nothing is known."""

    path: str
    target: str
    actual: str
    owner: str = ""


def parse(name: str, text: str) -> Group | None:
    """A group from its record; None when the record is damaged."""
    lines = iter(text.split("\n"))
    try:
        status, link = next(lines), next(lines)
        links, choices = {name: link}, dict[str, tuple[int, Mapping[str, str]]]()
        while slave := next(lines):
            links[slave] = next(lines)
        slaves = list(links)[1:]
        while path := next(lines):
            priority = int(next(lines))
            choices[path] = priority, {slave: next(lines) for slave in slaves}
    except (StopIteration, RuntimeError, ValueError):
        return None
    right = (
        status in {"auto", "manual"}
        and choices
        and all(p.startswith("/") for p in (*links.values(), *choices))
    )
    return Group(name, status == "auto", links, choices) if right else None


def groups(database: Database) -> Iterator[tuple[str, Group | None]]:
    """Every group by name; None: its record is damaged."""
    for name, text in sorted(database.alternatives.items()):
        yield name, parse(name, text)


def paths(database: Database, root: str) -> Iterator[str]:
    """Everything that must be looked at to judge the groups."""
    for name, group in groups(database):
        yield f"{root}{FOLDER}/{name}"
        if group is not None:
            yield from (root + link for link in group.links.values())
            yield from (f"{root}{FOLDER}/{name}" for name in group.links)
            for path, (_, slaves) in group.choices.items():
                yield from (root + place for place in (path, *slaves.values()) if place.startswith("/"))


def judge(database: Database, facts: Mapping[str, Fact], root: str) -> Iterator[Broken]:
    """Every link that is missing, no link, or leads elsewhere. A choice that is gone is not the link's damage."""
    for name, group in groups(database):
        if group is None:
            record = f"{root}/var/lib/dpkg/alternatives/{name}"
            chosen = _target(facts, f"{root}{FOLDER}/{name}")
            yield Broken(record, "", "a record that cannot be read", chosen)
            continue
        there = [path for path in group.choices if _present(facts, root, path)]
        if not there:  # nothing left to choose: the packages' own findings say so
            continue
        chosen = _chosen(group, there, _target(facts, f"{root}{FOLDER}/{name}"))
        yield from _wrong(group, name, chosen, facts, root)
        for slave, path in group.choices[chosen][1].items():
            if path.startswith("/") and _present(facts, root, path):
                yield from _wrong(group, slave, path, facts, root)


def _chosen(group: Group, there: Sequence[str], current: str) -> str:
    """What the group leads to: a person's choice, else the best that is there."""
    best = max(there, key=lambda path: group.choices[path][0])
    as_good = current in there and group.choices[current][0] == group.choices[best][0]
    return current if current in there and (as_good or not group.automatic) else best


def _wrong(group: Group, name: str, path: str, facts: Mapping[str, Fact], root: str) -> Iterator[Broken]:
    for link, target in ((f"{FOLDER}/{name}", path), (group.links[name], f"{FOLDER}/{name}")):
        fact = facts[root + link]
        if fact.type is not FileType.LINK or fact.link != target:
            said = f"link to {fact.link}" if fact.type is FileType.LINK else str(fact.type)
            yield Broken(root + link, target, said, path)


def _target(facts: Mapping[str, Fact], path: str) -> str:
    fact = facts.get(path)
    return fact.link if fact is not None and fact.type is FileType.LINK else ""


def _present(facts: Mapping[str, Fact], root: str, path: str) -> bool:
    return facts[root + path].type is not FileType.ABSENT
