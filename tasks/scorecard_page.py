"""A scorecard as people read it: Markdown, and one self-contained HTML file with the trend (R-DRILL-2)."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from model.canonical import Value
from model.incident import Kind
from model.scorecard import Criterion, Scorecard
from tasks.render import duration, mark, safe, table

SHOWN = 30
"""Drills in the trend, the newest; the table has all."""

TICKS = (5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600, 12 * 3600, 86400)
"""Seconds between two lines of the picture."""

OK = {True: "yes", False: "no", None: "not shown"}


class Dot(Value):
    """A drill in the trend: where, from 0 to 1 on both axes, and what is said about it."""

    x: float
    y: float
    verdict: str
    title: str


def dots(cards: Sequence[Scorecard]) -> tuple[tuple[Dot, ...], float, float | None]:
    """The newest drills with a measured time, the seconds at the top of the picture, and where the RTO lies in it."""
    timed = [card for card in cards if card.lap("whole") is not None][-SHOWN:]
    allowed = next(
        (lap.objective for card in reversed(timed) for lap in card.laps if lap.name == "whole"), None
    )
    longest = max((card.lap("whole") or 0.0 for card in timed), default=0.0)
    if allowed is not None and allowed <= 3 * longest:  # a line far above would press all dots to the ground
        longest = max(longest, allowed)
    top = next((4.0 * tick for tick in TICKS if 4 * tick > longest), longest * 1.1)
    found = tuple(
        Dot(
            x=(number + 0.5) / len(timed), y=(card.lap("whole") or 0.0) / top, verdict=card.verdict,
            title=f"{card.began_at:%Y-%m-%d %H:%M} {card.drill}: {duration(card.lap('whole') or 0.0)}, {points(card)}",
        )
        for number, card in enumerate(timed)
    )  # fmt: skip
    return found, top, allowed / top if allowed is not None and allowed <= top else None


def points(card: Scorecard) -> str:
    """`5 of 7`."""
    met, shown = card.points
    return f"{met} of {shown}"


def measured(criterion: Criterion) -> str:
    """What was measured, for people."""
    if criterion.seconds is None or criterion.allowed is None:
        return criterion.sentence
    return f"{duration(criterion.seconds)} of {duration(criterion.allowed)}"


def laps_rows(card: Scorecard) -> list[tuple[str, str, str, str]]:
    """Name, measured, objective and whether it was kept."""
    return [
        (one.name, _said(one.seconds), _said(one.objective), "–" if one.objective is None else OK[one.kept])
        for one in card.laps
    ]


def _said(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def trend_rows(cards: Sequence[Scorecard]) -> list[tuple[str, ...]]:
    """Past drills, the newest first."""
    return [
        (
            f"{card.began_at:%Y-%m-%d %H:%M}", card.drill, card.verdict, points(card),
            ", ".join(dict.fromkeys(one.kind.value for one in card.faults)), _said(card.lap("detect")),
            _said(card.lap("whole")), _said(card.lost), str(len(card.by_hand)),
        )
        for card in reversed(cards)
    ]  # fmt: skip


TREND_HEAD = (
    "began (UTC)", "drill", "verdict", "criteria met", "damage", "detected after", "back after", "data lost", "by hand",
)  # fmt: skip


def scorecard_markdown(card: Scorecard, cards: Sequence[Scorecard]) -> str:
    """The scorecard as Markdown.

    Args:
        card: the drill.
        cards: it and those before it, oldest first.
    """
    parts = [
        f"{mark(Kind.DRILL)}# Drill {card.drill}",
        f"**{card.verdict}** – {points(card)} criteria met. Plan {safe(card.plan)} version {safe(card.plan_version)}, "
        f"mode {card.mode}, seed {card.seed}, signed by {card.sign_off}; the drill ended: {card.outcome or 'not yet'}, "
        f"the recovery: {card.result or 'none'}.",
        "## What it had to show",
        table(("criterion", "met", "measured"), [(c.name, OK[c.ok], measured(c)) for c in card.criteria]),
        "## Damage",
        table(
            ("kind", "asset", "host", "what was done", "noticed", "then"),
            [(f.kind, f.asset, f.host, f.sentence, f.seen, f.mended) for f in card.faults],
        ),
        "## Times",
        table(("stretch", "measured", "allowed", "kept"), laps_rows(card)),
        f"Data lost: {_said(card.lost)} of {duration(card.lost_allowed)} allowed. Messages: {card.messages} sent, "
        f"{card.unsent} did not arrive.",
        "## Called damaged without cause",
        _listed(card.unexplained),
        "## What needed a hand",
        _listed(card.by_hand),
        "## To look at",
        _listed(card.items),
        "## Past drills",
        table(TREND_HEAD, trend_rows(cards)),
    ]
    return "\n\n".join(parts)


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {safe(sentence, 600)}" for sentence in sentences) or "Nothing."


def scorecards_html(plan: str, cards: Sequence[Scorecard]) -> str:
    """The newest scorecard and the trend as one self-contained HTML file; every value is escaped.

    Args:
        plan: name of the plan.
        cards: its drills, oldest first.
    """
    environment = Environment(
        loader=PackageLoader("tasks", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"said": _said, "duration": duration, "measured": measured}
    found, top, allowed = dots(cards)
    return environment.get_template("scorecard.html.j2").render(
        plan=plan, cards=cards, card=cards[-1] if cards else None, dots=found, top=top, allowed=allowed, ok=OK,
        points=points, laps=laps_rows, head=TREND_HEAD, rows=trend_rows(cards),
    )  # fmt: skip
