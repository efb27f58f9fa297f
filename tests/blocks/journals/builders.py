"""Incidents, journals with every kind of trouble, and processes that write into a store."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from blocks.journals.base import JournalStore
from blocks.journals.directory import DirectoryJournal
from model.incident import Incident, Kind, Source
from model.journal import Noted, Opened

ID = "inc-20250101-120000-00aa"
OTHER = "inc-20250102-120000-00bb"
MOMENT = datetime(2025, 1, 1, 12, tzinfo=UTC)

Factory = Callable[[Path], JournalStore]
STORES: dict[str, Factory] = {"directory": DirectoryJournal}
"""Every store joins the contract suite by a line here: a function of a fresh local folder."""

FORK = multiprocessing.get_context("fork")


def opened(incident: str = ID) -> Opened:
    return Opened(
        incident=Incident(
            id=incident, kind=Kind.DRILL, plan="shop", plan_version="1", plan_digest="0" * 64, summary="down",
            reported_by="ann", source=Source.CLI, detected_at=MOMENT, opened_at=MOMENT,
        )
    )  # fmt: skip


def noted(number: int | str = 0) -> Noted:
    return Noted(sentence=f"Note {number}: größer ✓ \u2028 and so on.")


def filled(store: JournalStore, records: int, incident: str = ID) -> JournalStore:
    store.append(incident, opened(incident))
    for number in range(2, records + 1):
        store.append(incident, noted(number))
    return store


def run_all(
    target: Callable[..., None], argument_lists: list[tuple[object, ...]], seconds: float = 60
) -> None:
    """Run one process for each argument list, all at once; each must end well."""
    workers: list[multiprocessing.context.ForkProcess] = []
    for arguments in argument_lists:
        worker = FORK.Process(target=target, args=arguments)
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.join(seconds)
    assert [0] * len(workers) == [worker.exitcode for worker in workers]
