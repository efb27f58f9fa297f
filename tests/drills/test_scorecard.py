"""Scorecards of drills that were really carried out: list, page and trend (R-DRILL-2)."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app
from flows.drill import drill
from tasks.reviewing import items_of
from tasks.scorecard import card_of, cards_of, score_drill, track
from tasks.scorecard_page import scorecard_markdown, scorecards_html
from tasks.work import open_work
from tests.support.drillworld import DrillSite, mark, servers, site

__all__ = ["servers", "site"]


def test_drills_are_scored_listed_and_drawn(site: DrillSite, tmp_path: Path) -> None:
    """Issue 6: detected what was planted and nothing else, times, data, hands, messages, trend."""
    kinds = ("overwritten-documents", "deleted-directory")
    for number, kind in enumerate(kinds):
        asyncio.run(drill.fn(plan=site.plan, seed=number, faults=[kind]))
    mark(site.staging, "production")
    with pytest.raises(Exception, match="staging"):
        asyncio.run(drill.fn(plan=site.plan, seed=9, faults=["permissions"]))
    cards, troubles = cards_of(site.store, site.drills()[0].opened.plan)
    assert [] == troubles
    assert ["PASSED", "PASSED", "NO SCORE"] == [card.verdict for card in cards], cards
    for kind, card in zip(kinds, cards, strict=False):
        assert [(kind, "found", "repaired")] == [(one.kind, one.seen, one.mended) for one in card.faults]
        assert () == card.unexplained == card.left_behind == card.by_hand
        assert all(one.seconds is not None for one in card.laps)
    assert cards[0] == card_of(site.store, cards[0].drill)
    lesson = cards[0].model_copy(update={"items": ("Look at the disk.", "Look at the disk.")})
    for _ in range(2):
        track(site.store, lesson)
    tracked = [item.text for item in items_of(open_work(lesson.incident))]
    assert 1 == tracked.count("Look at the disk.")
    assert re.fullmatch(r"PASSED: (\d) of \1 criteria met\.", score_drill.fn(cards[0].drill))

    page = tmp_path / "drills.html"
    said = CliRunner().invoke(app, ["drills", site.plan, "--html", str(page)])
    assert 0 == said.exit_code, said.output
    assert "3 drills" in said.output
    html = page.read_text(encoding="utf-8")
    assert 2 == html.count("<circle ")
    assert cards[2].drill in html
    listed = json.loads(CliRunner().invoke(app, ["drills", site.plan, "--json"]).output)
    assert [card.drill for card in reversed(cards)] == [one["drill"] for one in listed]
    text = scorecard_markdown(cards[1], cards[:2])
    assert "everything planted was noticed" in text
    assert "NOT REAL" in text


def test_names_that_are_markup_stay_text(site: DrillSite) -> None:
    """Reports of hosts whose file names are markup."""
    asyncio.run(drill.fn(plan=site.plan, seed=1, faults=["permissions"]))
    (card,), _ = cards_of(site.store, site.drills()[0].opened.plan)
    bad = "<script>alert(1)</script>"
    card = card.model_copy(update={"unexplained": (bad,), "items": (bad,)})
    assert bad not in scorecards_html(bad, [card])
    assert bad not in scorecard_markdown(card, [card])


def test_plan_without_drills_says_so(site: DrillSite, tmp_path: Path) -> None:
    page = tmp_path / "drills.html"
    said = CliRunner().invoke(app, ["drills", site.plan, "--html", str(page)])
    assert "There was no drill" in said.output
    assert "There was no drill" in page.read_text(encoding="utf-8")
