"""`recover`: the whole recovery as a loop over `next_step(journal)`. Started again, it goes on where the journal is."""

from __future__ import annotations

import asyncio
from datetime import datetime

from prefect import flow
from prefect.runtime import flow_run

from flows.gate import ask
from flows.informing import Informing
from flows.showing import name_run, show_end
from flows.stage import in_prefect, once_for_this_run, say
from flows.stages import STAGES, report
from model.command import printable
from model.errors import BadInput, ReinstateError, Transient, Withdrawn
from model.incident import Kind, Source
from model.mistake import Mistake
from model.outcome import Stage
from model.steps import Ask, Finished, Run, next_step
from tasks.drill_policy import stop_if_due
from tasks.work import Work, open_work

FINAL = frozenset({Stage.CLOSE, Stage.REVIEW})
"""Stages whose failure ends the run: after them the journal has nothing else to offer."""


def _first_name() -> str:
    """Name of a run until its incident is known."""
    given = flow_run.parameters
    return f"{given.get('plan') or given.get('incident')}: {printable(str(given.get('summary') or 'goes on'))[:80]}"


@flow(name="recover", flow_run_name=_first_name, persist_result=True, result_serializer="json")
async def recover(
    plan: str = "",
    incident: str = "",
    summary: str = "",
    reported_by: str = "",
    kind: Kind = Kind.REAL,
    source: Source = Source.UI,
    detected_at: datetime | None = None,
    mistakes: list[Mistake] | None = None,
) -> str:
    """Recover damaged software, from the report to the signed result.

    Args:
        plan: name of a registered plan or path of a plan file; needed to open a new incident.
        incident: id of an incident to go on with; empty opens a new one.
        summary: what was noticed (new incidents).
        reported_by: your id in the plan; whoever reports may not sign (new incidents).
        kind: real, drill or verification.
        source: how the report came in.
        detected_at: when the damage was noticed; empty means now.
        mistakes: rows deleted or changed by mistake, and since when (new incidents).

    Returns:
        The verdict and its sentence.
    """
    incident = incident or await _opened(
        plan, summary, reported_by, kind, source, detected_at, mistakes or []
    )
    work = await asyncio.to_thread(open_work, incident)
    if (
        await asyncio.to_thread(work.state)
    ).publication is not None:  # nobody is told about one as of an incident
        raise BadInput(
            "this is a publication of a plan, no incident.",
            incident,
            "`reinstate plan publish --publication ID`",
        )
    await name_run(work)
    async with Informing(work) as informing:
        return await _through(work, informing)


async def _through(work: Work, informing: Informing) -> str:
    """Step by step to the end; people are told at every edge (R-RESP-8)."""
    incident = work.incident.id
    while True:
        if why := await asyncio.to_thread(stop_if_due, work):
            say(f"The drill stops: {why}")
        step = next_step(await asyncio.to_thread(work.state))
        informing.poke()
        match step:
            case Finished(verdict=verdict, reason=reason):
                say(f"{verdict}: {reason}")
                await informing.flush()
                await show_end(work)
                return f"{verdict}: {reason}"
            case Ask(gate=gate):
                await informing.flush()
                await ask(work, gate)
            case Run(stage=stage):
                try:
                    stage_flow = STAGES[stage]
                    await (stage_flow if in_prefect() else stage_flow.fn)(incident)
                except Transient:
                    raise
                except Withdrawn as error:
                    say(f"{stage} stopped: {error}")
                except ReinstateError as error:
                    if stage in FINAL:
                        raise
                    say(f"{stage} failed: {error}")


async def _opened(
    plan: str,
    summary: str,
    reported_by: str,
    kind: Kind,
    source: Source,
    detected_at: datetime | None,
    mistakes: list[Mistake],
) -> str:
    """Open the incident of this flow run, or find it: a resumed run enters from the top and must not open a second."""
    missing = [
        n for n, v in (("plan", plan), ("summary", summary), ("reported_by", reported_by)) if not v.strip()
    ]
    if missing:
        raise BadInput(
            f"a new incident needs {', '.join(missing)}.",
            where="recover",
            remedy="fill in the fields, or name the incident to go on with",
        )
    opening = report if in_prefect() else report.fn
    return await once_for_this_run(
        lambda: opening(plan, summary, reported_by, kind, source, detected_at, mistakes)
    )
