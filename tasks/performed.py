"""What a performed act hands back to the journal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Performed:
    """The end of one act that did what it was signed for.

    Attributes:
        sentence: one plain sentence for the log, the timeline and the report.
        bytes: bytes moved to, on or from the host for it.
    """

    sentence: str
    bytes: int = 0
