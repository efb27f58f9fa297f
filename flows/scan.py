"""`scan`: the checks of a plan on a schedule, host after host; new damage opens an incident if the plan says so."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from prefect import flow
from prefect.deployments import arun_deployment

from flows.scheduled import skipped
from flows.showing import RUN_TAG, incident_tag
from flows.stage import in_prefect, run, say
from model.errors import ReinstateError
from model.finding import CheckResult, Verdict
from model.updates import UpdatesReport
from tasks import scanning
from tasks.work import load_plan


@flow(name="scan", flow_run_name="scan {plan}", persist_result=True, result_serializer="json")
async def scan(plan: str, scheduled: bool = False) -> str:
    """Look for damage and pending updates on the hosts that are due (R-PREV-2, R-PREV-3).

    Args:
        plan: name of a registered plan, or the path of a plan file.
        scheduled: nobody asked for it now: in a blackout window of the plan it does not run.

    Returns:
        What was found, in one sentence.

    Raises:
        ReinstateError: a host could not be looked at; everything else was, and is remembered.
    """
    began = time.time()
    file = await asyncio.to_thread(load_plan, plan)
    path, rule = str(file.path), file.plan.scan
    if scheduled and (end := skipped(rule, file.plan.name)):
        return cast("str", end)  # Prefect takes a state for the result
    hosts = await run(scanning.choose_hosts, path)
    results: list[CheckResult] = []
    reports: list[UpdatesReport] = []
    unseen: list[ReinstateError] = []
    for host in hosts:
        try:
            seen: tuple[CheckResult, ...] = await run(scanning.scan_host, path, host)
            results += seen
            if rule.updates:
                told: tuple[UpdatesReport, ...] = await run(scanning.look_for_updates, path, host)
                reports += told
        except ReinstateError as error:  # the others are looked at all the same
            if not any(result.host == host for result in results):
                results += scanning.unreachable(file.plan, host, error)
            unseen.append(error)
            say(f"{host} could not be scanned: {error}")
    sentence, incident = await run(scanning.conclude_scan, path, hosts, tuple(results), tuple(reports), began)
    say(sentence)
    troubles: list[str] = await run(scanning.look_at_points, path, hosts)
    for trouble in troubles:
        say(trouble)
    if troubles:
        sentence = f"{sentence} Recovery points: {' '.join(troubles)}"
    if incident:
        await _recover(file.plan.name, incident)
    blind = [result.sentence for result in results if result.verdict is Verdict.ERROR]
    if unseen or blind:
        raise ReinstateError(
            f"{sentence} Not looked at: {' '.join(blind) or unseen[0].what}", file.plan.name,
            "make the host reachable and its checks possible; the next scan begins with what is longest ago",
        )  # fmt: skip
    return sentence


async def _recover(plan: str, incident: str) -> None:
    """Start the recovery of an incident, so that people only have to sign; once for each incident."""
    if not in_prefect():
        say(f"Go on with `reinstate recover --incident {incident}`.")
        return
    await arun_deployment(
        f"recover/{plan}", parameters={"plan": plan, "incident": incident}, timeout=0, as_subflow=False,
        tags=[RUN_TAG, incident_tag(incident)], idempotency_key=f"scan-{incident}",
    )  # fmt: skip
