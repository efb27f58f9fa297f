"""Runs that nobody asked for now: what falls into a blackout window of the plan does not start, and says so."""

from __future__ import annotations

from datetime import datetime

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.stage import in_prefect, say
from model.canonical import now
from model.schedule import Schedule

SKIPPED = "Skipped"
"""Name of the state in which such a run ends."""


def skipped(rule: Schedule, plan: str) -> State | None:
    """The state in which a scheduled run ends that is due or comes within a blackout window; None: it goes on.

    Args:
        rule: the plan's, as it is now.
        plan: its name.
    """
    comes = now()
    moments = (_due() or comes, comes)
    window = next((found for moment in moments if (found := rule.held(moment))), None)
    if window is None:
        return None
    following = rule.following(plan, max(moments))
    said = f"{following:%Y-%m-%d %H:%M} {rule.timezone}" if following else "never, as the plan is now"
    sentence = f"Not run: it falls into the blackout window {window}. The next run: {said}."
    say(sentence)
    return Completed(name=SKIPPED, message=sentence)


def _due() -> datetime | None:
    due: datetime | None = runtime.flow_run.scheduled_start_time if in_prefect() else None
    return due
