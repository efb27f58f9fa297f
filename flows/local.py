"""`recover` without any Prefect server: the same flows and tasks as plain calls; the orchestrator may be down."""

from __future__ import annotations

from collections.abc import Callable

from flows.recover import recover
from flows.stages import report
from model.incident import Kind, Source
from model.mistake import Mistake


async def recover_here(
    plan: str,
    incident: str,
    summary: str,
    reported_by: str,
    kind: Kind,
    source: Source,
    say: Callable[[str], None],
    mistakes: list[Mistake] | None = None,
) -> dict[str, str]:
    """Run or continue a recovery in this process.

    Returns:
        The incident's id and the outcome.

    Raises:
        WaitingForSignOff: people must sign first; calling again goes on.
    """
    if not incident:
        incident = await report.fn(plan, summary, reported_by, kind, source, None, mistakes)
        say(f"Incident {incident} is open.")
    return {"incident": incident, "outcome": await recover.fn(incident=incident)}
