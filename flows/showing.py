"""What the page of a `recover` run shows: a name that says what it is about, the incident as tag, what people read.

The stages' own artifacts hang on the stages' runs; a person who signs looks at the run that asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

import httpx
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.context import FlowRunContext

from model.command import printable
from model.journal import State
from model.outcome import Gate
from tasks.diagnosis_page import page
from tasks.gate_page import asked_markdown
from tasks.render import findings_markdown, mark
from tasks.report import build_report
from tasks.report_pages import report_markdown
from tasks.work import Work

COSMETIC = (OSError, httpx.HTTPError)
"""What does not stop a recovery when it happens here: the journal has everything that is shown."""


_ARTIFACT: Mapping[Gate, str] = {
    Gate.DECIDE: "proposal", Gate.ACCEPT: "result", Gate.BREAK_GLASS: "break-glass", Gate.PUBLISH: "plan-version",
}  # fmt: skip
"""Key of what is put on the run's page at each gate."""

RUN_TAG = "reinstate"
"""Tag of every run of ours."""


def incident_tag(incident: str) -> str:
    """Tag of every `recover` run of an incident."""
    return f"incident:{incident}"


async def name_run(work: Work) -> None:
    """Name this run after its incident, so that people find it in the list of runs."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    name = f"{work.incident.plan}: {printable(work.incident.summary)[:80]}"
    tags = {*context.flow_run.tags, incident_tag(work.incident.id)}
    with suppress(*COSMETIC):
        async with get_client() as client:
            await client.update_flow_run(context.flow_run.id, name=name, tags=sorted(tags))


async def show_question(work: Work, state: State, gate: Gate, digest: str) -> None:
    """Put what is asked at a gate on this run's page, in full width."""
    with suppress(*COSMETIC):
        await _show_question(work, state, gate, digest)


async def _show_question(work: Work, state: State, gate: Gate, digest: str) -> None:
    if gate is Gate.DECIDE and state.proposal is not None and state.confirmed is not None:
        findings = [finding for result in state.confirmed.results for finding in result.findings]
        title = f"What is damaged ({work.incident.id})"
        if await _new("findings", title):
            text = findings_markdown(findings)
            await acreate_markdown_artifact(markdown=text, key="findings", description=title)
        if state.confirmed.diagnosis is not None and await _new(
            "diagnosis", f"Diagnosis ({work.incident.id})"
        ):
            await acreate_markdown_artifact(
                markdown=page(
                    state.confirmed.results, state.confirmed.severity, state.confirmed.diagnosis,
                    mark(work.incident.kind),
                ),
                key="diagnosis", description=f"Diagnosis ({work.incident.id})",
            )  # fmt: skip
    text = asked_markdown(work, state, gate)
    key, title = _ARTIFACT[gate], f"To sign: {digest[:12]} ({work.incident.id})"
    if await _new(key, title):
        await acreate_markdown_artifact(markdown=text, key=key, description=title)


async def show_end(work: Work) -> None:
    """Put the report on this run's page."""
    title = f"Report ({work.incident.id})"
    with suppress(*COSMETIC):
        if await _new("report", title):
            report = await asyncio.to_thread(build_report, work)
            await acreate_markdown_artifact(markdown=report_markdown(report), key="report", description=title)


async def _new(key: str, title: str) -> bool:
    """Whether this run has no such artifact yet: a resumed run enters from the top."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return False
    async with get_client() as client:
        known = await client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[context.flow_run.id]),
                key=ArtifactFilterKey(any_=[key]),
            )
        )
    return title not in {artifact.description for artifact in known}


class _Waiting(logging.Filter):
    """Prefect logs the end of a suspended run as an error; a gate is none, and a red line frightens people."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.ERROR and "Finished in state Suspended" in record.getMessage():
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


_WAITING = _Waiting()


def waiting_is_no_error() -> None:
    """Let the log say that a run waits without calling it an error."""
    logging.getLogger("prefect.flow_runs").addFilter(_WAITING)
