"""What `up` does while a recovery waits for people: gates are kept, due messages sent, pages written (R-RESP-8)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from blocks.journals.base import JournalStore
from flows.informing import LOOK_SECONDS
from model.errors import Transient
from model.steps import Finished, next_step
from tasks.deadlines import keep_gate
from tasks.inform import something_due, tell
from tasks.status_page import Memory, write_status_page
from tasks.work import PlanFile, load_plan, open_work


def tell_open(store: JournalStore, over: set[str], say: Callable[[str], None]) -> None:
    """Tell what is due about every incident.

    Args:
        store: the journal store.
        over: incidents about which nothing is left to tell; added to, so that no journal is read again for nothing.
        say: told what went wrong; that incident is then left to its own recovery.
    """
    for incident in set(store.incidents()) - over:
        try:
            work = open_work(incident, store)
            if something_due(work):
                tell(work)
            elif work.plan.communication is None or isinstance(next_step(work.state()), Finished):
                over.add(incident)
        except Transient:  # its own recovery tells about it just now
            continue
        except Exception as error:  # noqa: BLE001 - one journal's trouble leaves nobody else untold
            say(f"People could not be told about {incident}: {error}")
            over.add(incident)


def keep_gates(store: JournalStore, over: set[str], say: Callable[[str], None]) -> None:
    """Remind, escalate, and let the plan decide at deadlines, for every incident and publication that waits.

    Args:
        store: the journal store.
        over: those that have ended, and sentences on what went wrong; added to, so that none is read or told again.
        say: told what was done, and what went wrong.
    """
    for ident in {*store.incidents(), *store.publications()} - over:
        try:
            work = open_work(ident, store)
            for sentence in keep_gate(work):
                say(f"{ident}: {sentence}")
            if isinstance(next_step(work.state()), Finished):
                over.add(ident)
        except Transient:
            continue
        except Exception as error:  # noqa: BLE001 - one journal's trouble holds up nobody else
            sentence = f"The gate of {ident} cannot be kept: {error}"
            if sentence not in over:
                say(sentence)
            over.add(sentence)  # it is tried again: a full disk passes, and a deadline must not pass unseen


def keep_pages(
    store: JournalStore,
    plans: Sequence[PlanFile],
    say: Callable[[str], None],
    said: set[str],
    memory: Memory | None = None,
) -> None:
    """Write the status page of every plan that has one, where it says something else by now.

    Args:
        store: the journal store.
        plans: that this installation serves.
        say: told what went wrong.
        said: what was told already; added to.
        memory: see `tasks.status_page.read_status`.
    """
    for file in plans:
        try:
            latest = load_plan(str(file.path), store)
            if latest.plan.status_page is not None:
                write_status_page(latest, store, memory=memory)
        except Transient:  # a recovery writes it just now
            continue
        except Exception as error:  # noqa: BLE001 - one page's trouble leaves the others
            sentence = f"The status page of {file.plan.name} could not be written: {error}"
            if sentence not in said:
                say(sentence)
            said.add(sentence)


def keep_telling(
    store: JournalStore, plans: Sequence[PlanFile], stopping: threading.Event, say: Callable[[str], None]
) -> threading.Thread:
    """Do that again and again beside everything else, until told to stop."""
    over: set[str] = set()
    ended: set[str] = set()
    said: set[str] = set()
    memory: Memory = {}

    def keep() -> None:
        keep_pages(store, plans, say, said, memory)
        while not stopping.wait(LOOK_SECONDS):
            keep_gates(store, ended, say)
            tell_open(store, over, say)
            keep_pages(store, plans, say, said, memory)

    thread = threading.Thread(target=keep, name="informer", daemon=True)
    thread.start()
    return thread
