"""Gates with people at them in a running installation: two signatures, a question, a denial, and nobody (R-RESP-3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from playwright.sync_api import Locator, expect
from prefect.client.schemas.objects import StateType
from ruamel.yaml import YAML

from model.outcome import Gate, RunVerdict
from model.signoff import Decision
from tasks.voting import gate_digest
from tests.support.browser import Browser, browser, shots
from tests.support.installation import Installation
from tests.support.waiting import wait_for

__all__ = ["browser", "shots"]

pytestmark = pytest.mark.slow

Rule = Callable[..., None]


@pytest.fixture
def decide(installation: Installation) -> Iterator[Rule]:
    """Sets the plan's rule for the decision, until the test ends; the shop is whole again then."""
    before = installation.plan.read_text()

    def write(**rule: object) -> None:
        yaml = YAML()
        plan = yaml.load(before)
        plan["signoff"]["decide"] = {"roles": ["leading_group"], **rule}
        with installation.plan.open("w") as stream:
            yaml.dump(plan, stream)

    config = installation.world.facts.shop.config
    healthy = config.read_bytes()
    yield write
    config.write_bytes(healthy)
    installation.plan.write_text(before)


@pytest.mark.browser
def test_two_signatures_a_question_and_a_denial_in_the_browser(
    installation: Installation, browser: Browser, decide: Rule
) -> None:
    """Issue 5, must show 3: who signed and who must still sign, what was asked, and what a denial does."""
    decide(quorum=2)
    installation.damage("config")
    run, work = installation.recover(summary="Prices are shown without tax.")
    damaged = installation.gate(work, Gate.DECIDE)
    first = gate_digest(damaged, Gate.DECIDE)[:12]
    page = browser.page
    browser.log_in(installation.where.auth)
    page.wait_for_url("**/dashboard")

    def form_of(name: str, *texts: str) -> Locator:
        browser.go(f"runs/flow-run/{run}")
        return browser.form(name, *texts)

    def answer(form: Locator, person: str, digest: str, decision: str = "approve") -> None:
        browser.answer(form, person, digest, installation.code(person), decision)
        page.goto("about:blank")  # the UI draws all the time: it would take the processor from the recovery

    form = form_of("quorum-none", "0 of 2 signed; may sign: lena, omar", "has not signed", first, "shop.ini")
    answer(form, "lena", first)
    installation.gate(work, Gate.DECIDE, asked=1)
    form = form_of("quorum-one", "1 of 2 signed; may sign: omar", "approved at", "I have read it.")
    answer(form, "omar", first, "ask for more")

    state = wait_for(
        "a new proposal is asked",
        lambda: s if gate_digest(s := installation.gate(work, Gate.DECIDE), Gate.DECIDE)[:12] != first else None, 120,
    )  # fmt: skip
    second = gate_digest(state, Gate.DECIDE)[:12]
    form = form_of(
        "asked-for-more",
        "Asked for more",
        "After this question everything was examined",
        "0 of 2 signed",
        second,
    )
    answer(form, "lena", first)  # the digest of the proposal before
    installation.gate(work, Gate.DECIDE, asked=3)
    form = form_of("old-digest", "The last answer was refused", "it changed")
    answer(form, "lena", second)
    installation.gate(work, Gate.DECIDE, asked=4)
    form = form_of("quorum-one-again", "1 of 2 signed; may sign: omar")
    answer(form, "omar", second)

    state = installation.gate(work, Gate.ACCEPT)
    form = form_of("accept", "Deny to roll everything back", "may sign: lena, omar")
    answer(form, "omar", gate_digest(state, Gate.ACCEPT)[:12], "deny")
    state = installation.finish(work, RunVerdict.ROLLED_BACK)
    assert [
        ("lena", Decision.APPROVE), ("omar", Decision.ASK), ("lena", Decision.APPROVE), ("omar", Decision.APPROVE),
        ("omar", Decision.DENY),
    ] == [(vote.person, vote.decision) for vote in state.votes]  # fmt: skip
    browser.go(f"runs/flow-run/{run}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    browser.shot("rolled-back")
    browser.artifact(page.url, "report", "ROLLED_BACK")


def test_gate_that_nobody_signs_is_settled_by_its_deadline_though_everything_was_killed_meanwhile(
    installation: Installation, decide: Rule
) -> None:
    """Issue 5, must show 2: the run neither hangs nor dies silently."""
    decide(quorum=1, deadline="2m", on_timeout="deny", remind=["110s"], escalate="100s")
    installation.damage("config")
    run, work = installation.recover()
    installation.gate(work, Gate.DECIDE)
    installation.kill()
    installation.start()
    state = installation.finish(work, RunVerdict.STOPPED_SAFE)
    assert {} == state.intents
    assert state.settled[Gate.DECIDE].timed_out
    assert ["reminder", "escalation"] == [one.what for one in state.reminded]
    wait_for("its run is completed", lambda: _state(installation, run) is StateType.COMPLETED, 60)
    assert re.search(f"{work.incident.id}: Nobody settled decide in time", installation.said)


def _state(installation: Installation, run: UUID) -> StateType:
    return StateType(
        installation.ask("flow_runs/filter", flow_runs={"id": {"any_": [str(run)]}})[0]["state"]["type"]
    )
