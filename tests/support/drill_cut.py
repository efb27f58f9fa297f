"""A drill in a process of its own that kills itself: `python -m tests.support.drill_cut PLAN KIND CUT`.

CUT is `before:TYPE` or `after:TYPE` of a record in the drill's or the incident's journal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from blocks.journals.directory import DirectoryJournal
from flows.drill import drill
from model.journal import Payload, Record

_append = DirectoryJournal.append


def main(plan: str, kind: str, cut: str) -> None:
    """Run the drill until the cut."""
    when, _, wanted = cut.partition(":")

    def append(self: DirectoryJournal, incident: str, payload: Payload, expect: int | None = None) -> Record:
        mine = payload.type == wanted
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        record = _append(self, incident, payload, expect)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    DirectoryJournal.append = append  # type: ignore[method-assign]  # the only way to be killed between two records
    asyncio.run(drill.fn(plan=plan, seed=7, faults=[kind]))


if __name__ == "__main__":
    main(*sys.argv[1:])
