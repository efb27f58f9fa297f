"""The incidents of this installation as their journals say, and which of them are open on a host."""

from __future__ import annotations

from blocks.journals.base import JournalStore
from model.errors import ReinstateError
from model.journal import State, fold
from model.plan import Plan


def states_of(store: JournalStore, since: str = "") -> list[tuple[str, State]]:
    """Every incident whose journal verifies; a damaged one is told by `reinstate incidents`.

    Args:
        store: the journal store.
        since: only incidents whose id sorts after this; ids begin with the moment they were opened.
    """
    found = []
    for ident in store.incidents():
        if ident < since:
            continue
        try:
            found.append((ident, fold(store.read(ident))))
        except ReinstateError:
            continue
    return found


def open_on(store: JournalStore, plan: Plan, host: str) -> list[tuple[str, frozenset[str] | None]]:
    """Unfinished incidents of a plan that concern a host.

    Returns:
        Id and the assets of that host that are damaged; None while nobody has looked yet.
    """
    found: list[tuple[str, frozenset[str] | None]] = []
    for ident, state in states_of(store):
        if state.ended is not None or state.require_incident().kept_as != plan.kept_as:
            continue
        if state.confirmed is None:
            found.append((ident, None))
            continue
        findings = [f for result in state.confirmed.results for f in result.findings if f.host == host]
        if findings:
            found.append((ident, frozenset(finding.asset for finding in findings)))
    return found
