"""The diagnosis of really made damages, one after the other on one host whose logs keep all of them (R-RESP-2)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.home import open_store
from model.diagnosis import Reach
from model.finding import Verdict
from model.journal import Confirmed
from tasks.diagnosis_page import page
from tasks.progress import Progress
from tasks.steps import look_and_diagnose
from tasks.work import load_plan
from tests.support.labworld import LabWorld
from tests.support.locally import back_up_locally
from tests.support.scenarios import Scenario, changes, prepare, scenarios, timed

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def diagnosed(world: LabWorld) -> Confirmed:
    """What a confirmation says now."""
    return look_and_diagnose(load_plan(str(world.plan_file)), open_store(), Progress("examine", "examine"))


def test_cause_onset_and_impact_of_five_kinds_of_damage_are_found(
    make_lab_world: Callable[..., LabWorld], tmp_path: Path
) -> None:
    """Must show 7: most probable cause, a window that holds the true moment, the affected services and ports."""
    world = make_lab_world(changes())
    host = world.host
    prepare(host)
    back_up_locally(world)
    pages = Path(os.environ.get("REINSTATE_PAGES") or tmp_path)
    wrong: list[str] = []
    for scenario in scenarios():
        healthy = diagnosed(world)
        assert not any(r.findings for r in healthy.results), (
            scenario.name,
            [r.sentence for r in healthy.results],
        )
        assert healthy.diagnosis is None
        assert Verdict.ERROR not in {r.verdict for r in healthy.results}
        begun, ended = timed(scenario.act, host)
        start = time.monotonic()
        seen = diagnosed(world)
        print(f"{scenario.name}: {time.monotonic() - start:.1f} s")
        assert seen.diagnosis is not None
        text = page(seen.results, seen.severity, seen.diagnosis)
        (pages / f"{scenario.name}.md").write_text(text)
        (pages / f"{scenario.name}.json").write_text(seen.model_dump_json(indent=1))
        wrong += judged(scenario, seen, begun, ended)
        scenario.undo(host)
    assert [] == wrong


def judged(scenario: Scenario, seen: Confirmed, begun: object, ended: object) -> list[str]:
    """What is not as it should be, in words."""
    diagnosis, wrong = seen.diagnosis, []
    assert diagnosis is not None
    codes = [hint.code for hint in diagnosis.causes]
    if codes[:1] != [scenario.top] or not scenario.also <= set(codes):
        wrong.append(f"causes: {codes}")
    onset = diagnosis.onset
    second = timedelta(seconds=1)
    assert onset.earliest is not None, scenario.name
    if not (onset.earliest <= ended and begun - second <= onset.latest <= ended + 5 * second):  # type: ignore[operator]
        wrong.append(f"onset: {onset.earliest} … {onset.latest}, true: {begun} … {ended}")
    services = {i.name for i in diagnosis.affected("service") if i.reach is not Reach.DEPENDS}
    if not scenario.services <= services:
        wrong.append(f"services: {services}")
    ports = {i.name for i in diagnosis.affected("port")}
    if scenario.port not in ports:
        wrong.append(f"ports: {ports}")
    return [f"{scenario.name}: {what}" for what in wrong]
