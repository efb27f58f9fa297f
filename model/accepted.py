"""Differences from the packages that a person looked at and accepted; never in code, never by themselves (R-PREV-2)."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from model.canonical import Value
from model.finding import Code
from model.manifest import Entry


class Accepted(Value):
    """One path that may differ from its package, exactly as it was when a person accepted it.

    Attributes:
        entry: the path as it was; ABSENT where it was accepted that it is gone.
        codes: how it differed; empty: a configuration file people edited.
        package: that delivered it; empty: none.
        person: who accepted it, by id in the plan.
        reason: why.
        at: when.
    """

    entry: Entry
    codes: tuple[Code, ...] = ()
    package: str = ""
    person: str
    reason: str = Field(min_length=1)
    at: AwareDatetime
