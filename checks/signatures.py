"""Known signatures: which line shows which cause. The table is data (`signatures.yaml`), read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field
from ruamel.yaml import YAML

from model.canonical import Value
from model.diagnosis import Cause, shown

TABLE = Path(__file__).with_name("signatures.yaml")
NAME_LIMIT = 120
"""Characters of a name from a log line that a sentence repeats."""


class Entry(Value):
    """One entry of the table."""

    code: Cause
    depth: int = Field(ge=1, le=3)
    words: tuple[str, ...] = Field(min_length=1)
    sentence: str
    patterns: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Shown:
    """What a line shows.

    Attributes:
        depth: 3 where things begin, 2 what the damage shows, 1 what follows from it.
        sentence: in words; tainted, as it repeats names of the line.
        groups: the names found in the line.
    """

    code: Cause
    depth: int
    sentence: str
    groups: Mapping[str, str]


@cache
def table() -> tuple[tuple[Entry, tuple[re.Pattern[str], ...]], ...]:
    """Entries with their patterns, in the order in which they are tried."""
    entries = [
        Entry.model_validate(entry) for entry in YAML(typ="safe", pure=True).load(TABLE.read_text("utf-8"))
    ]
    return tuple((entry, tuple(re.compile(pattern) for pattern in entry.patterns)) for entry in entries)


_WORDS = {
    "process": "a process",
    "object": "a program or library",
    "path": "A file",
    "what": "see the line",
    "unit": "A unit",
}


def match(text: str) -> Shown | None:
    """What a line shows; None for an ordinary line."""
    for entry, patterns in table():
        if not any(word in text for word in entry.words):
            continue
        for found in filter(None, (pattern.search(text) for pattern in patterns)):
            groups = {name.rstrip("2"): value for name, value in found.groupdict().items() if value}
            return Shown(entry.code, entry.depth, _sentence(entry.sentence, groups), groups)
    return None


def _sentence(template: str, groups: Mapping[str, str]) -> str:
    sentence = template
    for name in ("process", "object", "path", "what", "unit"):
        sentence = sentence.replace(f"{{{name}}}", shown(groups.get(name, _WORDS[name]), NAME_LIMIT))
    device = groups.get("device", "")
    return sentence.replace("{device}", f" {shown(device, NAME_LIMIT)}" if device else "")
