"""The diagnosis as people see it: its artifact on the run's page in the real Prefect UI, for each kind of damage."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import expect, sync_playwright

from blocks.home import open_store
from deployments.server.remote import start_run, wait_for_gate
from deployments.server.up import Up
from model.incident import Source
from model.outcome import Gate
from tasks.work import open_work
from tests.conftest import BROWSERS, find_tool
from tests.e2e.test_lab_recovery import running, wait_for
from tests.support.browser import FLAGS, PATIENCE, Browser, shots
from tests.support.installation import apart
from tests.support.labworld import LabWorld
from tests.support.locally import back_up_locally
from tests.support.scenarios import Scenario, changes, prepare, scenarios

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

SECTIONS = (
    "What is damaged", "Since when", "Probable cause", "Who is affected", "How sure we are, and what was not checked",
)  # fmt: skip
ALWAYS = {"bit-flipped-library", "deleted-configuration"}
"""The longest pages; the others are looked at too where pictures are asked for ($REINSTATE_SCREENSHOTS)."""

assert callable(shots)  # the fixture lives beside the other browser test


def confirmed(up: Up, scenario: Scenario) -> UUID:
    """Start a recovery and wait until it asks for the sign-off."""
    summary = f"Something is wrong ({scenario.name})."
    run, _ = apart(
        start_run, up.where, "lab-shop", summary=summary, reported_by="monitor", source=Source.WEBHOOK
    )
    incident = wait_for(lambda: open_store().get(f"runs/{run}"), "incident").decode()
    work = open_work(incident)
    wait_for(lambda: Gate.DECIDE in work.state().gates and apart(wait_for_gate, up.where, work), "form")
    state = work.state()
    assert state.confirmed is not None
    assert state.confirmed.diagnosis is not None
    assert scenario.top == state.confirmed.diagnosis.causes[0].code
    return run


def picture(browser: Browser, run: UUID, scenario: Scenario) -> None:
    """Open the artifact from the run's own page as a person does, and read it."""
    page = browser.page
    page.set_viewport_size({"width": 1180, "height": 900})
    # Not the first title: the run's own page has a card of that name, and would be taken for the artifact.
    browser.artifact(f"{browser.url}/runs/flow-run/{run}", "diagnosis", SECTIONS[1])
    shown = page.get_by_role("tabpanel", name="Artifact")
    for title in SECTIONS:
        expect(shown.get_by_role("heading", name=title)).to_be_visible()
    expect(shown.get_by_text(scenario.top.value).first).to_be_visible()
    assert "\\" not in shown.inner_text(), "an escape is shown to people"
    assert 0 == shown.get_by_role("link").count(), "text of a host became a link"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the screen"
    box = shown.bounding_box()
    assert box is not None
    page.set_viewport_size({"width": 1180, "height": int(box["y"] + box["height"] + 40)})
    page.wait_for_timeout(350)
    page.screenshot(path=browser.shots / f"diagnosis-{scenario.name}.png")


def test_diagnosis_is_legible_in_the_ui_for_each_kind_of_damage(
    make_lab_world: Callable[..., LabWorld], shots: Path
) -> None:
    """Must show 7, R-USE-3: one page a person can decide from, found on the page of the run that asks."""
    world = make_lab_world(changes())
    prepare(world.host)
    back_up_locally(world)
    path = next(found for name in BROWSERS if (found := find_tool(name)))
    with running(world) as up, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        browser = Browser(page, up.where.url, shots)
        browser.log_in(up.where.auth)
        page.wait_for_url("**/dashboard")
        for scenario in scenarios():
            if scenario.name not in ALWAYS and not os.environ.get("REINSTATE_SCREENSHOTS"):
                continue
            scenario.act(world.host)
            picture(browser, confirmed(up, scenario), scenario)
            scenario.undo(world.host)
        chromium.close()
