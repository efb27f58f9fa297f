"""`publish_plan`: a new version of a plan, read as a difference, signed by the rule of the version before (R-REV-3)."""

from __future__ import annotations

import asyncio

from prefect import flow

from flows.gate import ask
from flows.showing import name_run
from flows.stage import once_for_this_run, run, say
from model.errors import BadInput
from model.incident import Source
from model.steps import Ask, Finished, Publish, next_step
from tasks import plan_versions
from tasks.work import open_work


@flow(
    name="publish_plan", flow_run_name="{plan}{publication}", persist_result=True, result_serializer="json"
)  # fmt: skip
async def publish_plan(
    plan: str = "", proposed_by: str = "", publication: str = "", source: Source = Source.UI
) -> str:
    """Publish the present text of a plan as its next version; real incidents follow no other text from then on.

    Args:
        plan: name of a registered plan or path of a plan file; needed for a new publication.
        proposed_by: your id in the plan; who proposes may not sign (new publications).
        publication: id of a publication to go on with; empty puts the plan to the vote.
        source: how it was proposed.

    Returns:
        How it ended, in one sentence.

    Raises:
        WaitingForSignOff: outside Prefect, while people must sign; calling again goes on.
    """
    if not publication and not (plan.strip() and proposed_by.strip()):
        raise BadInput(
            "a new version needs the plan and who proposes it.", "publish_plan",
            "fill in `plan` and `proposed_by`, or name the publication to go on with",
        )  # fmt: skip
    ident = publication or await once_for_this_run(
        lambda: run(plan_versions.propose_version, plan, proposed_by, source)
    )
    work = await asyncio.to_thread(open_work, ident)
    await name_run(work)
    while True:
        match step := next_step(await asyncio.to_thread(work.state)):
            case Ask(gate=gate):
                await ask(work, gate)
            case Publish():
                await run(plan_versions.publish_version, ident)
            case Finished(reason=reason):
                say(reason)
                return reason
            case _:
                raise BadInput(
                    f"this is an incident: {step.reason}", ident, "go on with `reinstate recover --incident`"
                )
