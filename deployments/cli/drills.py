"""`reinstate drills`: past drills of a plan with their scores, and the page with their trend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import JSON, PlanRef, emit, out, quiet_prefect, reported, show_table


@reported
def drills(
    plan: PlanRef,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Write the newest scorecard and the trend to this HTML file.", show_default=False
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """List the drills of a plan with what they showed; the newest first."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.scorecard import cards_of
    from tasks.scorecard_page import TREND_HEAD, scorecards_html, trend_rows
    from tasks.work import load_plan

    store = open_store()
    name = load_plan(plan, store).plan.name
    cards, troubles = cards_of(store, name)
    if html is not None:
        from blocks.durable import explained

        with explained(html):
            html.write_text(scorecards_html(name, cards), encoding="utf-8")

    def text() -> None:
        if cards:
            title = f"{len(cards)} drill{'s' if len(cards) != 1 else ''} of {name}"
            # Without the first column: the id, never broken, has the time in it.
            show_table(title, TREND_HEAD[1:], [row[1:] for row in trend_rows(cards)])
        else:
            out(f"There was no drill of {name} yet.")
        for trouble in troubles:
            out(trouble)
        if html is not None:
            out(str(html))

    emit(
        [card.model_dump(mode="json") | {"verdict": card.verdict} for card in reversed(cards)], as_json, text
    )
