"""`verify_backups`: recovery points restored into a sandbox on a schedule, checked, and removed again (R-USE-5)."""

from __future__ import annotations

import asyncio
from typing import cast

from prefect import flow

from flows.scheduled import skipped
from flows.stage import run, say
from model.errors import ReinstateError
from model.verification import Trial, Verified
from tasks import verifying
from tasks.work import load_plan


@flow(
    name="verify_backups", flow_run_name="verify backups of {plan}", persist_result=True, result_serializer="json"
)  # fmt: skip
async def verify_backups(
    plan: str, assets: list[str] | None = None, point: str = "", scheduled: bool = False
) -> str:
    """Prove that backups restore, before they are needed (R-PREV-1): nothing live is touched.

    Args:
        plan: name of a registered plan, or the path of a plan file.
        assets: only these; empty: all that are backed up.
        point: this recovery point of the only asset given; empty: as the turn comes.
        scheduled: nobody asked for it now: in a blackout window of the plan it does not run.

    Returns:
        What was found, in one sentence.

    Raises:
        ReinstateError: a recovery point is not whole, missing or overdue, or its check is blind; all were tried.
    """
    if scheduled:
        file = await asyncio.to_thread(load_plan, plan)
        if end := skipped(file.plan.verification, file.plan.name):
            return cast("str", end)  # Prefect takes a state for the result
    seen = await try_points(plan, assets or [], point)
    if seen.wrong:
        raise ReinstateError(
            f"{seen.sentence} To look at: {' '.join(seen.wrong)}", plan,
            "see `reinstate backups`; back up anew what is not whole, and keep the old one for the investigation",
        )  # fmt: skip
    return seen.sentence


async def try_points(plan: str, assets: list[str], point: str) -> Verified:
    """Choose, try and conclude; one that could not be tried stops no other."""
    file = await asyncio.to_thread(load_plan, plan)
    path = str(file.path)
    chosen, troubles = await run(verifying.choose_points, path, assets, point)
    tried: list[Trial] = []
    for asset, ident in chosen:
        try:
            tried.append(await run(verifying.verify_point, path, asset, ident))
            say(f"{asset} {ident}: {tried[-1].sentence}")
        except ReinstateError as error:
            troubles.append(f"{asset} {ident} could not be tried: {error}")
            say(troubles[-1])
    seen: Verified = await run(verifying.conclude_trials, path, tuple(tried), tuple(troubles))
    say(seen.sentence)
    return seen
