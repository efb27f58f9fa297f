"""A proposal while it is made: what there is to work with and what was decided so far; estimates and wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

from model.finding import Finding
from model.manifest import Entry
from model.outcome import Stage
from model.plan import Plan
from model.proposal import Action, Loss, Unmet
from model.supplies import PointSupply, Supplies

UNNUMBERED = "a00"
"""Id of an action until the order of all is known."""

BYTES_PER_MINUTE = 60 * 20 * 1024 * 1024
"""Expected transfer rate: 20 MiB/s, what paramiko reaches on one core (speed.md)."""

WorkStage = Literal[Stage.REPAIR, Stage.RESTORE]


def minutes(fixed: float, count: int) -> float:
    """Expected minutes: a fixed part for the kind of action plus the transfer of `count` bytes."""
    return round(fixed + count / BYTES_PER_MINUTE, 2)


def counted(count: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def absolute(root: str, path: str) -> str:
    """The path on the host of a manifest's entry; `.` is the root itself."""
    return root if path == "." else str(PurePosixPath(root) / path)


@dataclass
class Draft:
    """A proposal while it is made: what there is to work with, and what was decided so far."""

    plan: Plan
    machine_ids: Mapping[str, str]
    supplies: Supplies
    baselines: Mapping[str, Sequence[Entry]]
    detected_at: datetime
    actions: list[Action] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    unmet: list[Unmet] = field(default_factory=list)

    def miss(self, finding: Finding, sentence: str, remedy: str) -> None:
        """Say that nothing cures a finding."""
        self.unmet.append(
            Unmet(finding=finding.id, sentence=f"{finding.sentence}: {sentence}", remedy=remedy)
        )

    def cured(self) -> set[str]:
        """Ids of the findings the actions so far cure."""
        return {finding for action in self.actions for finding in action.findings}

    def point(self, name: str, host: str) -> tuple[PointSupply | None, str]:
        """The newest recovery point of this very host from before the damage was noticed, or why there is none."""
        points = sorted((p for p in self.supplies.points if p.asset == name), key=lambda p: p.point.id)
        own = [p for p in points if p.manifest.machine_id == self.machine_ids.get(host)]
        before = [p for p in own if p.point.taken_at <= self.detected_at]
        if before:
            return before[-1], ""
        if own:
            return None, f"every recovery point is newer than the damage (the oldest is {own[0].point.id})"
        if points:
            return None, f"its backups are another host's (machine-id {points[-1].manifest.machine_id})"
        return None, "there is no recovery point that verifies"
