"""Readiness as people read it: the page of a run, its table, and the few lines before a recovery starts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from blocks.journals.base import JournalStore
from model.canonical import now
from model.command import printable
from model.point_rules import span
from model.readiness import PlanReadiness, Qualification, Readiness, ReadinessHistory
from tasks.render import bar, duration, safe, table

STRIP = 96
"""Runs in the strip of the page: two days of every half hour."""

SIGNS = {Qualification.QUALIFIED: "■", Qualification.DEGRADED: "▲", Qualification.BLOCKED: "✗"}


def rows(seen: PlanReadiness) -> list[dict[str, str]]:
    """A row for the plan itself and for each asset."""
    return [
        {
            "asset": row.name, "state": row.state, "kind": row.kind, "host": row.host,
            "proven until": _moment(row.proven_until),
            "why": printable("; ".join(f"{gap.lack} {gap.place}: {gap.what}" for gap in row.gaps)),
            "remedy": printable("; ".join(dict.fromkeys(gap.remedy for gap in row.gaps if gap.remedy))),
            "looked at": ", ".join(row.checked),
        }
        for row in seen.rows
    ]  # fmt: skip


def as_data(seen: PlanReadiness) -> dict[str, Any]:
    """For `--json`: the model with the states that are derived from it."""
    kept = seen.model_dump(mode="json", exclude={"rows"})
    lines = [{"state": str(row.state), **row.model_dump(mode="json")} for row in seen.rows]
    return {"state": str(seen.state), "proven_until": seen.proven_until.isoformat(), **kept, "rows": lines}


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def page(seen: PlanReadiness, history: ReadinessHistory) -> str:
    """The dashboard: state, what is missing, days since proven, what changed, the runs before."""
    parts = [
        f"# {safe(seen.plan)}: {SIGNS[seen.state]} {seen.state}",
        f"{safe(seen.sentence)} Looked at {_moment(seen.at)} in {duration(seen.seconds)}; proven until "
        f"{_moment(seen.proven_until)}.",
        table(
            ("asset", "state", "host", "proven until", "gaps"),
            [
                (r.name, f"{SIGNS[r.state]} {r.state}", r.host, _moment(r.proven_until), _lacks(r))
                for r in seen.rows
            ],
        ),
    ]
    missing = [line for row in seen.rows if row.gaps for line in _gaps(row)]
    parts += ["## What is missing", "\n".join(missing) or "Nothing."]
    if any(row.backed_up for row in seen.rows):
        parts += ["## Days since proven", _proven(seen)]
    run = history.runs[-1]
    parts += ["## Since the run before", _changes([one.sentence for one in run.changes])]
    strip = "".join(SIGNS[run.state] for run in history.runs[-STRIP:])
    legend = ", ".join(f"{sign} {state}" for state, sign in SIGNS.items())
    parts += [f"## The last {len(history.runs[-STRIP:])} runs", f"`{strip}`\n\n{legend}; newest last."]
    return "\n\n".join(parts)


def _lacks(row: Readiness) -> str:
    return ", ".join(dict.fromkeys(gap.lack for gap in row.gaps)) or "none"


def _gaps(row: Readiness) -> list[str]:
    lines = [f"- **{safe(row.name)}** ({row.state})"]
    for gap in row.gaps:
        said = f"{safe(gap.lack)} {safe(gap.place)}: {safe(gap.what, 600)} {safe(gap.remedy, 300)}".strip()
        lines.append(f"    - {'**blocks** ' if gap.blocks else ''}{said}")
    return lines


def _changes(sentences: list[str]) -> str:
    return "\n".join(f"- {safe(one, 500)}" for one in sentences) or "Nothing changed."


def _proven(seen: PlanReadiness) -> str:
    """A bar per asset, full when the proof is as old as it may be."""
    lines = []
    for row in seen.rows:
        if not row.backed_up:
            continue
        point = "none" if row.point_at is None else f"{span((seen.at - row.point_at).total_seconds())} old"
        if row.proven_at is None:
            lines.append((row.name, "never", bar(None), point))
            continue
        age = (seen.at - row.proven_at).total_seconds()
        share = age / seen.window if seen.window else 0.0
        lines.append((row.name, f"{age / 86400:.1f}", bar(share), point))
    allowed = f"of {span(seen.window)}" if seen.window else ""
    return table(("asset", "days", allowed, "newest sound recovery point"), lines)


def history_of(store: JournalStore, plan: str) -> ReadinessHistory:
    """What is remembered of a plan's readiness."""
    data = store.get(key_of(plan))
    return ReadinessHistory() if data is None else ReadinessHistory.model_validate_json(data)


def key_of(plan: str) -> str:
    """Where it lies in the journal store."""
    return f"readiness/{plan}.json"


def blocked_before(store: JournalStore, plan: str, only: Collection[str] | None = None) -> list[str]:
    """What an incident must know of the newest look: nothing where nothing was blocked; see `in_short`."""
    history = history_of(store, plan)
    lines = in_short(history, plan, now(), only) if history.latest is not None else []
    return lines if len(lines) > 1 else []


def in_short(
    history: ReadinessHistory, plan: str, moment: datetime, only: Collection[str] | None = None
) -> list[str]:
    """The newest look in a few lines, as it is kept: nothing is asked now.

    Args:
        history: of the plan.
        plan: its name.
        moment: now.
        only: blocked assets to name; None: all.
    """
    latest = history.latest
    if latest is None:
        return [f"Readiness of {plan} was never looked at: `reinstate readiness {plan}`."]
    age = span((moment - latest.at).total_seconds())
    old = ""
    if latest.outdated(moment):
        old = " OUT OF DATE: the next look is missing."
    elif moment > latest.proven_until and latest.state is not Qualification.BLOCKED:
        old = f" Not all of it is proven any more: since {_moment(latest.proven_until)}."
    lines = [f"Readiness {age} ago ({_moment(latest.at)}): {latest.sentence}{old}"]
    for row in latest.in_state(Qualification.BLOCKED):
        if only is None or not row.asset or row.asset in only:
            gap = next((gap for gap in row.gaps if gap.blocks), None)
            why = gap.sentence if gap is not None else "nothing of it could be looked at."
            lines.append(printable(f"{row.name} is blocked: {why}"))
    return lines
