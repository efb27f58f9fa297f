"""Scorecards of drills, built from the journals alone, and as an artifact in Prefect (R-DRILL-2)."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

from blocks.home import open_store
from blocks.journals.base import JournalStore
from model.drill_journal import fold_drill
from model.errors import BadInput, ReinstateError
from model.journal import fold
from model.scorecard import Scorecard, score
from tasks.one_act import one_act
from tasks.scorecard_page import scorecard_markdown
from tasks.work import kept_plan


def card_of(store: JournalStore, drill: str) -> Scorecard:
    """The scorecard of a drill as it stands now.

    Raises:
        BadInput: there is no such drill. Damaged: a journal is wrong. ReinstateError: its plan is missing or altered.
    """
    records = store.read(drill)
    if not records:
        raise BadInput(f"there is no drill {drill!r}.", remedy="see `reinstate drills PLAN`")
    known = fold_drill(records)
    recovery = store.read(known.incident) if known.incident else []
    return score(kept_plan(store, known.opened).plan, known, recovery, fold(recovery) if recovery else None)


def cards_of(store: JournalStore, plan: str) -> tuple[list[Scorecard], list[str]]:
    """The drills of a plan, oldest first, and what is wrong with those that cannot be read."""
    cards: list[Scorecard] = []
    troubles: list[str] = []
    for drill in store.drills():
        try:
            card = card_of(store, drill)
        except ReinstateError as error:  # the others are worth seeing all the same
            troubles.append(f"{drill}: {error}")
            continue
        if card.plan == plan:
            cards.append(card)
    return cards, troubles


def before(cards: Sequence[Scorecard], card: Scorecard) -> list[Scorecard]:
    """A drill and those before it."""
    return [one for one in cards if one.began_at <= card.began_at]


@one_act(name="score drill", task_run_name="score {drill}")
def score_drill(drill: str) -> str:
    """Show the scorecard of a drill, with those before it, as an artifact of the run; returns it in one sentence."""
    store = open_store()
    card = card_of(store, drill)
    cards, _ = cards_of(store, card.plan)
    if TaskRunContext.get() is not None:
        create_markdown_artifact(
            markdown=scorecard_markdown(card, before(cards, card)),
            key="scorecard",
            description=f"Scorecard ({drill})",
        )
    met, shown = card.points
    return f"{card.verdict}: {met} of {shown} criteria met."
