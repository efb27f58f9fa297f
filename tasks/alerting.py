"""What alerts lead to: an incident for each host and cause, diagnosed and proposed; never a repair (R-RESP-1, R-USE-6).

At most one incident is open for a host and a cause. What is said again, or that it is over, is noted on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from blocks.alerts.spool import Group, Spool
from blocks.journals.base import JournalStore
from model.incident import Kind, Source
from model.journal import Noted, fold
from model.steps import Finished, next_step
from tasks.work import PlanFile, open_incident

MOST_NOTES = 20
"""Notes of alerts on one incident; a storm says the same thing again and again."""


class Dealt(NamedTuple):
    """What was done about a group of alerts.

    Attributes:
        incident: opened or noted on; empty when nothing had to be done.
        opened: whether it was opened now, so that its recovery has to be started.
    """

    group: Group
    incident: str
    opened: bool
    sentence: str


def summary_of(host: str, cause: str) -> str:
    """How the summary of such an incident begins: it is found again by this, up to the first colon and space."""
    return f"{cause} on {host}".replace(": ", " – ")


About = tuple[str, str]
"""Plan, and the summary's begin, of an open incident that an alert led to."""

Start = Callable[[str, str], None]
"""Starts the recovery of an incident: (name of the plan, id of the incident); called twice, it starts one."""


class Alerting:
    """Deals with what the spool holds.

    Args:
        store: the journal store.
        spool: the alerts.
        plans: the plans as they are now, by name.
        start: starts the recovery of an incident that was opened.
    """

    def __init__(
        self, store: JournalStore, spool: Spool, plans: Callable[[], Mapping[str, PlanFile]], start: Start
    ) -> None:
        self._store, self._spool, self._plans, self._start = store, spool, plans, start
        self._about: dict[str, About | None] = {}

    def deal(self) -> list[Dealt]:
        """Deal with everything that waits, group by group.

        Raises:
            ReinstateError: the journal or the server takes nothing now; what waits goes on waiting.
        """
        return [self._deal(group) for group in self._spool.waiting()]

    def _deal(self, group: Group) -> Dealt:
        """An alert is dealt with only once its recovery is started: whoever is killed before is followed up."""
        dealt = self._once(group)
        started = f"alerts/{dealt.incident}.started"
        if dealt.incident and self._store.get(started) is None:
            self._start(group.plan, dealt.incident)
            self._store.put(started, group.plan.encode())
        self._spool.handled(group.ids)
        return dealt

    def _once(self, group: Group) -> Dealt:
        file = self._plans().get(group.plan)
        if file is None:
            return Dealt(group, "", False, f"Plan {group.plan} is no longer served; its alerts are dropped.")
        open_one = self._open_incident(group)
        if open_one:
            return self._note(open_one, group)
        if not group.firing:
            return Dealt(group, "", False, "What is over needs nothing.")
        first = group.firing[0]
        said = f": {first.alert.summary}" if first.alert.summary else ""
        work = open_incident(
            file, self._store, f"{summary_of(group.host, group.cause)}{said}", first.source, Source.WEBHOOK, Kind.REAL,
            detected_at=min(one.alert.since for one in group.firing),
        )  # fmt: skip
        if len(group.ids) > 1:
            self._note(work.incident.id, group)
        return Dealt(group, work.incident.id, True, f"{work.incident.summary}: {work.incident.id} is opened.")

    def _open_incident(self, group: Group) -> str:
        """The incident that is open for a host and a cause, by the journals, whoever was killed meanwhile; or none."""
        wanted = (group.plan, summary_of(group.host, group.cause))
        for ident in self._store.incidents():
            if self._about.get(ident, wanted) == wanted:
                self._about[ident] = self._read(ident)
                if self._about[ident] == wanted:
                    return ident
        return ""

    def _read(self, ident: str) -> About | None:
        state = fold(self._store.read(ident))
        one = state.require_incident()
        over = state.ended is not None or isinstance(next_step(state), Finished)
        return (
            None if over or one.source is not Source.WEBHOOK else (one.plan, one.summary.partition(": ")[0])
        )

    def _note(self, ident: str, group: Group) -> Dealt:
        notes = [r.payload.sentence for r in self._store.read(ident) if isinstance(r.payload, Noted)]
        sentence, what = "", summary_of(group.host, group.cause)
        if group.resolved:
            sentence = f"{group.resolved[-1].source} says that it is over: {what}. The recovery goes on."
        elif group.firing:
            sentence = f"{group.firing[-1].source} says it again: {what} ({len(group.firing)} alerts)."
        if sentence and sentence not in notes and len(notes) < MOST_NOTES:
            self._store.append(ident, Noted(sentence=sentence))
        return Dealt(group, ident, False, sentence)
