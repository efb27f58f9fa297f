"""Scorecards of drills, built from the journals alone, and as an artifact in Prefect (R-DRILL-2)."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

from blocks.home import open_store
from blocks.journals.base import JournalStore
from model.command import printable
from model.drill_journal import fold_drill
from model.errors import BadInput, ReinstateError
from model.journal import fold
from model.scorecard import Scorecard, score
from tasks.one_act import one_act
from tasks.reviewing import add_item, items_of
from tasks.scorecard_page import scorecard_markdown
from tasks.work import kept_plan, open_work


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


def track(store: JournalStore, card: Scorecard) -> None:
    """Let what is to be looked at be tracked with the drill's incident until it is closed; each thing once."""
    if not card.incident:
        return
    work = open_work(card.incident, store)
    known = {item.text for item in items_of(work)}
    for text in dict.fromkeys(printable(one)[:1000] for one in card.items):
        if text not in known:
            add_item(work, text)


@one_act(name="score drill", task_run_name="score {drill}")
def score_drill(drill: str) -> str:
    """Track what is to be looked at, and show the scorecard with those before it as an artifact of the run.

    Returns:
        The score in one sentence.
    """
    store = open_store()
    card = card_of(store, drill)
    track(store, card)
    cards, _ = cards_of(store, card.plan)
    if TaskRunContext.get() is not None:
        create_markdown_artifact(
            markdown=scorecard_markdown(card, before(cards, card)),
            key="scorecard",
            description=f"Scorecard ({drill})",
        )
    met, shown = card.points
    return f"{card.verdict}: {met} of {shown} criteria met."
