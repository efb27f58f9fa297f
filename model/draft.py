"""A proposal while it is made: what there is to work with and what was decided so far; estimates and wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from model.finding import Finding
from model.manifest import Entry
from model.outcome import Stage
from model.plan import Plan
from model.point_rules import order, span
from model.points import Judgement, Why
from model.proposal import Action, Loss, PointChoice, Unmet
from model.supplies import PointSupply, Supplies

SHOWN = 5
"""Refused recovery points named in one sentence."""

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
    chosen: dict[str, PointSupply] = field(default_factory=dict)

    def miss(self, finding: Finding, sentence: str, remedy: str) -> None:
        """Say that nothing cures a finding."""
        self.unmet.append(
            Unmet(finding=finding.id, sentence=f"{finding.sentence}: {sentence}", remedy=remedy)
        )

    def cured(self) -> set[str]:
        """Ids of the findings the actions so far cure."""
        return {finding for action in self.actions for finding in action.findings}

    def point(self, name: str, host: str) -> tuple[PointSupply | None, str]:
        """The best recovery point of this very host from before the damage was noticed, or why there is none."""
        points = sorted(
            (p for p in self.supplies.points if p.asset == name), key=lambda p: p.point.id, reverse=True
        )
        origin = self.plan.hosts[host].recorded_as
        own = [p for p in points if p.manifest.machine_id == origin]
        before = [p for p in own if p.point.taken_at <= self.detected_at]
        if before:
            ranked = order([p.judgement for p in before if p.judgement is not None])
            best = ranked[0].point if ranked else before[0].point.id
            self.chosen[name] = next(p for p in before if p.point.id == best)
            return self.chosen[name], ""
        refused = [j for j in self.supplies.judged if j.asset == name and j.refused]
        if refused:
            more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
            said = "; ".join(f"{j.point}: {j.sentence}" for j in refused[:SHOWN])
            return None, f"no recovery point of it may be used: {said}{more}"
        if own:
            return None, f"every recovery point is newer than the damage (the oldest is {own[-1].point.id})"
        if points:
            return None, f"its backups are another host's (machine-id {points[0].manifest.machine_id})"
        return None, "there is no recovery point that verifies"

    def choices(self) -> tuple[PointChoice, ...]:
        """The recovery points that actions use, what they cost, and why no other."""
        used = {
            (action.asset, point.id)
            for action in self.actions
            if (point := getattr(action, "point", None)) is not None
        }
        rpo = self.plan.objectives.rpo
        return tuple(
            choice(supply, self.supplies.judged, self.detected_at, rpo)
            for name, supply in sorted(self.chosen.items())
            if (name, supply.point.id) in used
        )


def choice(
    supply: PointSupply, judged: Sequence[Judgement], detected_at: datetime, rpo: float
) -> PointChoice:
    """What using a recovery point means, in words."""
    age = max(0.0, (detected_at - supply.point.taken_at).total_seconds())
    within = "within" if age <= rpo else "MORE THAN"
    said = (
        f"{supply.point.id} was taken {span(age)} before the damage was noticed, {within} what the plan allows "
        f"({span(rpo)}, RPO)."
    )
    others = [r for r in (supply.judgement.reasons if supply.judgement else ()) if r.why is not Why.STALE]
    if others:
        said += " " + "; ".join(f"{r.sentence[:1].upper()}{r.sentence[1:]}" for r in others) + "."
    passed = tuple(
        (j.point, j.sentence)
        for j in judged
        if j.asset == supply.asset and j.point > supply.point.id and (j.refused or j.against or j.reasons)
    )
    return PointChoice(
        asset=supply.asset, point=supply.point.id, taken_at=supply.point.taken_at, age=age, rpo=rpo, sentence=said,
        passed_over=passed,
    )  # fmt: skip
