"""`inform` at the edges of every stage: beside the recovery, which neither waits for a channel nor fails with one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from flows.stage import run, say
from model.errors import ReinstateError, Transient
from tasks.inform import inform, something_due
from tasks.status_page import write_status_page
from tasks.work import Work

LOOK_SECONDS = 15.0
"""Seconds between two looks while a stage goes on: messages of progress are due by the clock."""


class Informing:
    """Tells people what is due, from entry to exit; `poke` at each edge, `flush` before nothing runs any more."""

    def __init__(self, work: Work) -> None:
        """For this incident."""
        self._work = work
        self._poked = asyncio.Event()
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def _busy(self) -> bool:
        return self._work.plan.communication is not None or self._work.plan.status_page is not None

    async def __aenter__(self) -> Self:
        """Begin, if the plan names anybody to tell or has a status page."""
        if self._busy:
            self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell what is left, unless the run itself is being ended (a signal, a suspension: `flush` came before)."""
        if kind is None or issubclass(kind, Exception):
            await self.flush()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def poke(self) -> None:
        """Something happened."""
        self._poked.set()

    async def flush(self) -> None:
        """Tell everything that is due now, and return when it was told or cannot be."""
        if not self._busy:
            return
        async with self._one:
            await tell(self._work)
            await show(self._work)

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), LOOK_SECONDS)
            self._poked.clear()
            await self.flush()


async def tell(work: Work) -> None:
    """Tell what is due; whatever goes wrong is noted and never stops a recovery (R-RESP-8)."""
    try:
        if await asyncio.to_thread(something_due, work):
            say(await run(inform, work.incident.id))
    except Transient:
        pass  # another process is telling people about this incident
    except Exception as error:  # noqa: BLE001 - people not told are no reason to leave a host half repaired
        said = str(error) if isinstance(error, ReinstateError) else f"{type(error).__name__}: {error}"
        with suppress(
            ReinstateError
        ):  # the recovery itself meets, and tells, what keeps records from being written
            await asyncio.to_thread(work.note_once, f"People could not be told: {said}")


async def show(work: Work) -> None:
    """Write the status page, if the plan has one; what goes wrong is noted, and the next change tries again."""
    if work.plan.status_page is None:
        return
    try:
        await asyncio.to_thread(write_status_page, work.file, work.store)
    except Transient:
        pass  # another process is writing it
    except Exception as error:  # noqa: BLE001 - a page that cannot be written is no reason to stop a recovery
        said = str(error) if isinstance(error, ReinstateError) else f"{type(error).__name__}: {error}"
        with suppress(ReinstateError):
            await asyncio.to_thread(work.note_once, f"The status page could not be written: {said}")
