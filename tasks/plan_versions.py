"""The Prefect tasks of publishing a plan."""

from __future__ import annotations

from blocks.home import open_store
from model.incident import Source
from tasks.one_act import one_act
from tasks.publishing import open_publication, publish
from tasks.work import load_plan, open_work


@one_act(name="propose version", task_run_name="propose {plan}")
def propose_version(plan: str, proposed_by: str, source: Source) -> str:
    """Put a plan to the vote as its next version; returns the publication's id."""
    store = open_store()
    return open_publication(load_plan(plan, store), store, proposed_by, source).incident.id


@one_act(name="publish version", task_run_name="publish {publication}")
def publish_version(publication: str) -> str:
    """Write down how the vote ended."""
    return publish(open_work(publication))
