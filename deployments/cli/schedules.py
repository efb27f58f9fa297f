"""`reinstate schedules`: what runs by itself and when, from the plan alone, or with what a running `up` knows."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deployments.cli.output import JSON, emit, out, quiet_prefect, reported, say, show_table
from model.errors import BadInput

if TYPE_CHECKING:
    from deployments.server.paths import Running
    from model.schedule import Schedule
    from tasks.work import PlanFile

SHOWN = 3
"""Runs to come that are shown of each."""


@reported
def schedules(
    plan: Annotated[
        str,
        typer.Argument(
            help="A plan file, or the name of a registered plan; left out: all that `up` serves.",
            show_default=False,
        ),
    ] = "",
    as_json: JSON = False,
) -> None:
    """Show what runs by itself: when next, in which time zone, what holds it back, and how the last run ended."""
    quiet_prefect()
    from blocks.home import open_store
    from deployments.server.paths import running
    from tasks.work import load_plan

    up, store = running(), open_store()
    files = [load_plan(name, store) for name in ([plan] if plan else _served(up))]
    rows = [_row(file, rule, up) for file in files for rule in file.plan.schedules.values()]

    def text() -> None:
        for row in rows:
            out(f"{row['flow']} of {row['plan']}: {_sentence(row)}")
        due = sorted((at, row["flow"], row["plan"], held) for row in rows for at, held in row["next"])
        if due:
            cells = [(f"{at:%Y-%m-%d %H:%M %Z}", *more) for at, *more in due]
            show_table("Coming next", ("at", "what", "plan", "held back by"), cells)
        if up is None:
            say("No `up` runs: nothing of this starts, and nothing is known of earlier runs.")

    emit([{**row, "next": _as_data(row)} for row in rows], as_json, text)


def _served(up: Running | None) -> list[str]:
    from deployments.server.schedules import served

    if up is None:
        raise BadInput("no plan is given, and no `up` runs that serves some.", "PLAN", "give a plan")
    return served(up.paths)


def _row(file: PlanFile, rule: Schedule, up: Running | None) -> dict[str, Any]:
    from deployments.server.schedules import known
    from deployments.server.settings import UNREACHABLE
    from model.canonical import now

    name = file.plan.name
    row: dict[str, Any] = {
        "plan": name, "flow": rule.flow, "schedule": rule.schedule, "timezone": rule.timezone,
        "jitter_minutes": int(rule.jitter) // 60, "later_by_minutes": rule.late(name) if rule.schedule else 0,
        "blackout": [str(window) for window in rule.blackout],
        "next": [(at, str(held or "")) for at, held in islice(rule.upcoming(name, now()), SHOWN)],
        "switched_on": None, "last_run": None, "last_result": "",
    }  # fmt: skip
    try:
        seen = known(up.paths, rule.flow, name) if up is not None else None
    except UNREACHABLE:
        say("The Prefect server does not answer; only the plan is shown.")
        return row
    if seen is not None:
        zone = ZoneInfo(rule.timezone)
        last = seen.last.astimezone(zone).isoformat(timespec="minutes") if seen.last else None
        row |= {"switched_on": seen.active, "last_run": last, "last_result": seen.result}
        if seen.active is False or seen.upcoming:
            coming = [moment.astimezone(zone) for moment in seen.upcoming[:SHOWN]]
            row["next"] = [(at, str(rule.held(at) or "")) for at in coming]
    return row


def _sentence(row: dict[str, Any]) -> str:
    if not row["schedule"]:
        when = "only by hand"
    else:
        when = f"{row['schedule']} {row['timezone']}"
        if row["jitter_minutes"]:
            when += f", {row['later_by_minutes']} of up to {row['jitter_minutes']} minutes later"
        when += "".join(f", not {window}" for window in row["blackout"])
    off = " SWITCHED OFF in the UI." if row["switched_on"] is False else ""
    last = f" Last run {row['last_run']}: {row['last_result']}" if row["last_run"] else ""
    return f"{when}.{off}{last}"


def _as_data(row: dict[str, Any]) -> list[dict[str, str]]:
    return [{"at": at.isoformat(timespec="minutes"), "held_back_by": held} for at, held in row["next"]]
