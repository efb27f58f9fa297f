"""Lessons become a new version of the plan; nothing else in the file changes (R-REV-3)."""

from __future__ import annotations

import doctest
from difflib import ndiff

import pytest

from model import revision
from model.errors import BadInput, Refused
from model.journal import Ended, Payload, Reviewed, State, fold
from model.outcome import RunVerdict, Stage
from model.planfile import read_plan
from model.revision import revise

from .builders import ID, PLAN_TEXT, chain, effect, failed, good_run

RUN = [payload for _, payload in good_run()]
TEXT = PLAN_TEXT.replace("objectives: {rto", "# agreed in May\nobjectives: {rto")


def state(rto: float = 60.0, rpo: float = 0.0, *more: Payload) -> State:
    end = Ended(verdict=RunVerdict.RECOVERED, sentence="Back.", rto=rto, rpo=rpo)
    return fold(
        chain([*RUN[:-3], *more, end, Reviewed(report="r", sha256="0" * 64, items=("Train people.",))])
    )


def added_lines(text: str) -> list[str]:
    return [line[2:] for line in ndiff(TEXT.splitlines(), text.splitlines()) if line.startswith("+ ")]


def test_examples_are_right() -> None:
    assert 0 == doctest.testmod(revision).failed


def test_missed_objectives_become_what_was_measured() -> None:
    new = revise(TEXT, "plan.yaml", state(rto=5 * 3600 + 1, rpo=2 * 86400)).text
    plan = read_plan(new)
    assert ("1.1", 301 * 60, 2 * 86400) == (plan.version, plan.objectives.rto, plan.objectives.rpo)
    assert "# agreed in May\nobjectives: {rto: 301m, rpo: 2d}" in new


def test_kept_objectives_stay_and_only_version_and_comment_are_new() -> None:
    assert [
        f"# Lessons of {ID} (remove what is done):",
        "#   - people.bob: no e-mail address and no telephone number",
        "#   - people.cyd: no e-mail address and no telephone number",
        "#   - people.dan: no e-mail address and no telephone number",
        f"#   - To be put right ({ID}.1): Train people.",
        'version: "1.1"',
    ] == added_lines(revise(TEXT, "plan.yaml", state()).text)


def test_failures_are_told_as_inert_comments() -> None:
    """What a host said cannot end the comment."""
    bad = effect("a02", "failed").model_copy(update={"sentence": "gone\nname: evil\x1b[31m\u2028name: evil"})
    new = revise(TEXT, "plan.yaml", state(60.0, 0.0, failed(Stage.REPAIR), bad)).text
    assert "#   - Stage repair failed: repair did not work." in new
    assert "#   - Action a02 failed: gone name: evil\\x1b[31m name: evil" in new
    assert read_plan(TEXT).model_copy(update={"version": "1.1"}) == read_plan(new)


def test_lessons_are_not_written_twice() -> None:
    with pytest.raises(BadInput, match="already"):
        revise(revise(TEXT, "plan.yaml", state()).text, "plan.yaml", state())


def test_plan_of_another_name_is_refused() -> None:
    with pytest.raises(BadInput, match="give the file of plan shop"):
        revise(TEXT.replace("name: shop\n", "name: other\n"), "plan.yaml", state())


def test_incident_that_has_not_ended_teaches_nothing_yet() -> None:
    with pytest.raises(Refused, match="has not ended"):
        revise(TEXT, "plan.yaml", fold(chain(RUN[:5])))
