"""The grammar of ids and paths that become file names or object keys: nothing leaves the store (G10)."""

from __future__ import annotations

import re

from model.errors import BadInput

_JOURNAL = re.compile(r"(inc|pub|drl)-[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=,-]{0,127}")
MAX_SEGMENTS = 12


def incident_id(text: str) -> str:
    """The id, when it is one (`inc-YYYYMMDD-HHMMSS-xxxx`, `pub-…` of a plan's publication, `drl-…` of a drill).

    Raises:
        BadInput: it is not.
    """
    if not _JOURNAL.fullmatch(text):
        raise BadInput(
            f"{text[:80]!r} is not the id of an incident.", remedy="`reinstate list` shows the ids there are"
        )
    return text


def is_id(text: str, prefix: str) -> bool:
    """Whether this is the id of an incident (`inc`), a publication (`pub`) or a drill (`drl`)."""
    return _JOURNAL.fullmatch(text) is not None and text.startswith(f"{prefix}-")


def segment(text: str, noun: str) -> str:
    """One path segment: a lease key, a person.

    Raises:
        BadInput: it holds a separator, is empty, too long, or begins with a dot or dash.
    """
    if not _SEGMENT.fullmatch(text):
        raise BadInput(
            f"{text[:80]!r} cannot be used as {noun}.",
            remedy="use letters, digits and _ . @ + = , - (at most 128, the first one a letter, digit or _)",
        )
    return text


def document_path(text: str) -> str:
    """A relative path of segments joined by `/`.

    Raises:
        BadInput: it is absolute, holds `..`, or a character that is not allowed.
    """
    parts = text.split("/")
    if len(parts) > MAX_SEGMENTS:
        raise BadInput(f"{text[:80]!r} is nested too deeply.", remedy=f"use at most {MAX_SEGMENTS} levels")
    for part in parts:
        segment(part, f"a part of the path {text[:80]!r}")
    return text
