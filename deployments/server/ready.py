"""What `up` does about readiness: a plan that was edited or published, or whose people changed, is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blocks.journals.base import JournalStore
from deployments.server.paths import Paths
from deployments.server.remote import start_readiness
from deployments.server.settings import UNREACHABLE
from model.errors import ReinstateError
from tasks.readiness import basis
from tasks.readiness_page import history_of
from tasks.work import PlanFile

AGAIN_SECONDS = 120.0
"""So long a look that was started may take to be remembered: one is dropped where another one still runs."""


@dataclass
class _Plan:
    """A plan, what it rests on while its newest look is of that, and what a look was asked for, and when."""

    file: PlanFile
    settled: str = ""
    asked: str = ""
    since: float = 0.0


class Changes:
    """Notices what changed since the newest look; a plan without a schedule of readiness is looked at by hand only."""

    def __init__(self, store: JournalStore, plans: Sequence[PlanFile]) -> None:
        """Begin with what was looked at last."""
        self._store = store
        self._plans = [_Plan(file) for file in plans if file.plan.readiness.schedule]

    def look(self, where: Paths, say: Callable[[str], None]) -> None:
        """Start a look at every plan that changed.

        Args:
            where: the running installation.
            say: told what was started.
        """
        for one in self._plans:
            name = one.file.plan.name
            now = basis(self._store, name, one.file.path)
            if now == one.settled or (now == one.asked and time.monotonic() - one.since < AGAIN_SECONDS):
                continue
            latest = history_of(self._store, name).latest
            known = latest.basis if latest is not None else ""
            one.settled = now if now == known else ""
            if one.settled:
                continue
            try:
                start_readiness(where, name)
            except UNREACHABLE:
                continue  # it may be on its way back: the next look tries again
            except ReinstateError as error:  # such as a deployment that somebody removed
                say(
                    f"Plan {name} {'changed' if known else 'is new'}, and its readiness cannot be looked at: {error}"
                )
            else:
                say(f"Plan {name} {'changed' if known else 'is new'}: its readiness is looked at.")
            one.asked, one.since = now, time.monotonic()
