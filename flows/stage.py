"""Running tasks and stages: in a Prefect flow run they are task runs, without Prefect (`--local`) plain calls.

One code path: only `run` knows which of the two it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from prefect import Task
from prefect.context import FlowRunContext
from prefect.logging import get_logger, get_run_logger
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from blocks.home import open_store
from model.errors import PreconditionFailed, ReinstateError, Transient, Withdrawn
from model.journal import Noted, StageEnded, StageStarted
from model.outcome import Stage
from model.steps import Run, next_step
from tasks.tabletop import play
from tasks.work import Work, open_work

T = TypeVar("T")


def in_prefect() -> bool:
    """True inside a Prefect flow run."""
    return FlowRunContext.get() is not None


def say(sentence: str) -> None:
    """One plain sentence to the run's log (or the program's own without Prefect)."""
    (get_run_logger() if in_prefect() else get_logger("reinstate")).info(sentence)


async def run(task: Task[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - passed through to the task
    """Run a synchronous task off the event loop; as a task run in Prefect, as a retried plain call without it."""
    if in_prefect():
        future = task.submit(*args, **kwargs)
        result: T = await asyncio.to_thread(future.result)
        return result
    again = retry(
        retry=retry_if_exception_type(Transient), stop=stop_after_attempt(int(task.retries or 0) + 1),
        wait=wait_exponential(1, max=8), reraise=True,
    )  # fmt: skip
    return await asyncio.to_thread(again(task.fn), *args, **kwargs)


async def run_stage(incident: str, stage: Stage, body: Callable[[Work], Awaitable[str]]) -> str:
    """Run one stage of an incident between its two journal records.

    Args:
        incident: the incident's id.
        stage: the stage; it must be the journal's next step.
        body: does the work and returns the stage's one-sentence outcome.

    Returns:
        The sentence.

    Raises:
        PreconditionFailed: another step is due.
        Transient: interrupted; running the stage again continues it.
        Withdrawn: someone took their approval back before anything was changed; the gate is open again.
        ReinstateError: the stage failed for good; `next_step` now leads back or to a safe stop.
    """
    work = await asyncio.to_thread(open_work, incident)
    due = next_step(work.state())
    if due != Run(stage, due.reason):
        raise PreconditionFailed(
            f"{stage} is not the next step: {due}.", where=incident, remedy="run `recover` for this incident"
        )
    work.record(StageStarted(stage=stage, run=_run_name()))
    say(f"{stage}: {due.reason}")
    try:
        sentence = (play(work, stage) if work.incident.tabletop else "") or await body(work)
    except (Transient, Withdrawn) as error:
        work.record(Noted(sentence=f"{stage} was interrupted: {error}"))
        raise
    except ReinstateError as error:
        work.record(
            StageEnded(stage=stage, ok=False, sentence=str(error), remedy=error.remedy, code=error.code)
        )
        raise
    except Exception as error:
        # Anything else is a defect of ours; after an effect it must still lead back, never leave a host half done.
        what = f"a defect of Reinstate: {type(error).__name__}: {error}."
        remedy = "report it with the run's log"
        work.record(StageEnded(stage=stage, ok=False, sentence=what, remedy=remedy, code="DEFECT"))
        raise ReinstateError(what, str(stage), remedy) from error
    work.record(StageEnded(stage=stage, ok=True, sentence=sentence))
    say(sentence)
    return sentence


def _run_name() -> str:
    context = FlowRunContext.get()
    return context.flow_run.name if context is not None and context.flow_run is not None else "local"


async def once_for_this_run(opening: Callable[[], Awaitable[str]]) -> str:
    """Open a journal for this flow run, or find it: a resumed run enters from the top and must not open a second."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return await opening()
    store, key = await asyncio.to_thread(open_store), f"runs/{context.flow_run.id}"
    known = await asyncio.to_thread(store.get, key)
    if known is not None:
        return known.decode()
    opened = await opening()
    await asyncio.to_thread(store.put, key, opened.encode())
    return opened
