"""Recovery points as people read them: what was chosen and why, what is lost, what users must bring back themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model.command import printable
from model.plan import Plan
from model.proposal import PointChoice, Reimport
from tasks.recovery_points import AssetPoints


def choices(points: Sequence[PointChoice]) -> list[str]:
    """A sentence per chosen recovery point, and one per point that was passed over; not yet safe for Markdown."""
    lines = []
    for one in points:
        lines.append(f"{one.asset}: {one.sentence}")
        lines += [f"{one.asset}: not {point}: {why}" for point, why in one.passed_over]
    return lines


def reimport(items: Sequence[Reimport]) -> list[tuple[str, list[str], str]]:
    """What is missing, the things it is about, and the steps; not yet safe for Markdown."""
    found = []
    for item in items:
        things = list(item.things)
        if item.more:
            things.append(f"and {item.more} more")
        found.append((item.sentence, things, item.steps))
    return found


def helpers(plan: Plan) -> str:
    """Who guides the users."""
    people = [plan.people[one].name for one in plan.roles.user_service]
    return ", ".join(people) or "nobody is named in the role user_service"


def rows(found: Iterable[AssetPoints]) -> list[dict[str, Any]]:
    """A row per recovery point, newest first."""
    return [
        {
            "asset": about.asset, "point": one.point, "taken": f"{one.taken_at:%Y-%m-%d %H:%M} UTC",
            "source": one.source, "bytes": one.measure.bytes,
            "files or rows": one.measure.rows or one.measure.files, "verdict": one.verdict,
            "chosen": "yes" if one.point == about.chosen else "", "why": printable(one.sentence),
        }
        for about in found for one in about.judged
    ]  # fmt: skip


def told(found: Iterable[AssetPoints]) -> list[str]:
    """What a person must know at once: points that are gone, assets that are overdue."""
    return [
        printable(f"{about.asset}: {said}") for about in found for said in (*about.troubles, *about.remarks)
    ]


def as_data(found: Iterable[AssetPoints]) -> list[Mapping[str, Any]]:
    """For `--json`: the models with the verdicts that are derived from them."""
    return [
        {
            **about.model_dump(mode="json", exclude={"judged"}),
            "troubles": list(about.troubles),
            "points": [
                {
                    **one.model_dump(mode="json"), "verdict": one.verdict, "sentence": one.sentence,
                    "chosen": one.point == about.chosen,
                }
                for one in about.judged
            ],
        }
        for about in found
    ]  # fmt: skip
