"""The recovery in the Prefect UI, in a real browser: start, read, be refused, sign, see it end (R-USE-2…4)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from model.outcome import Gate
from tasks.voting import gate_digest
from tasks.work import Work, open_work
from tests.support.browser import Browser, browser, shots
from tests.support.installation import Installation
from tests.support.schedules import registered
from tests.support.waiting import wait_for

__all__ = ["browser", "shots"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = (
    ("verify_backups", "backups-proven-demo-shop", "░░░░"),
    ("verify_backups", "backup-trials-demo-shop", "shop-files"),
    ("readiness", "readiness-page-demo-shop", "Days since proven"),
)
"""Flow, what it shows, and a word of it."""
SUMMARY = "Customers see a broken shop <b>now</b> {{ 7*7 }}"


def _opened(installation: Installation, before: set[str]) -> Work:
    incident = wait_for(
        "the incident is open", lambda: next(iter(set(installation.store.incidents()) - before), None)
    )
    return open_work(incident, installation.store)


def _deployment(installation: Installation, flow: str) -> str:
    named = {"deployments": {"name": {"any_": ["demo-shop"]}}, "flows": {"name": {"any_": [flow]}}}
    (deployment,) = installation.ask("deployments/filter", **named)
    return str(deployment["id"])


def _run(installation: Installation, flow: str) -> None:
    """Run a deployment to its end."""
    run = installation.ask(f"deployments/{_deployment(installation, flow)}/create_flow_run")["id"]

    def completed() -> bool:
        (seen,) = installation.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        assert seen["state_type"] not in {"FAILED", "CRASHED", "CANCELLED"}, seen["state"]["message"]
        return bool(seen["state_type"] == "COMPLETED")

    wait_for(f"{flow} is done", completed, 240)


def _see_what_runs_by_itself(installation: Installation, browser: Browser) -> None:
    """Issue 6, must show 7: automations and schedules are in the UI."""
    page = browser.page
    browser.go("automations")
    for name in ("a run lost its process", "demo-shop: an opened incident is examined"):
        expect(page.get_by_text(f"Reinstate: {name}")).to_be_visible()
    browser.shot("automations")
    registered(installation, {"schedule": "0 2 29 2 *", "timezone": "Europe/Berlin"}, "back_up")
    browser.go(f"deployments/deployment/{_deployment(installation, 'back_up')}")
    expect(page.get_by_text(re.compile("At 02:00 AM.*29")).first).to_be_visible()
    browser.shot("schedule")
    registered(installation, {}, "back_up")


def test_recovery_started_refused_signed_and_seen_in_the_browser(
    installation: Installation, browser: Browser
) -> None:
    """R-USE-2…4, G6: a wrong code and a self-approval are refused visibly; two signatures end it Completed."""
    installation.damage("package-file", "config", "data-file")
    page, before = browser.page, set(installation.store.incidents())
    browser.log_in("admin:wrong")
    expect(page.get_by_text("Authentication failed.").first).to_be_visible()
    browser.log_in(installation.where.auth)
    page.wait_for_url("**/dashboard")
    _see_what_runs_by_itself(installation, browser)
    browser.start_recovery("mia", SUMMARY)
    work = _opened(installation, before)
    state = installation.gate(work, Gate.DECIDE)
    digest = gate_digest(state, Gate.DECIDE)[:12]

    browser.go("runs")
    browser.shot("runs")
    page.get_by_role("link", name=re.compile("^demo-shop: Customers see")).first.click()
    expect(page.get_by_text(f"incident:{work.incident.id}")).to_be_visible()
    browser.shot("run")
    run = page.url
    browser.artifact(run, "findings", "FILE_CONTENT_DIFFERS")
    browser.artifact(run, "proposal", "Undo:")
    page.goto(run)

    form = browser.form("sign", "may sign: lena, omar", digest, "Data that will be lost", "Undo", "shop.ini")
    expect(form.get_by_text("<b>now</b> {{ 7*7 }}")).to_be_visible()  # inert: neither markup nor template
    browser.answer(form, "lena", digest, "000000")
    installation.gate(work, Gate.DECIDE, asked=1)
    form = browser.form("wrong-code", "The last answer was refused", "is not right")
    browser.answer(form, "mia", digest, installation.code("mia"))
    state = installation.gate(work, Gate.DECIDE, asked=2)
    assert {} == state.settled
    assert {} == state.intents
    form = browser.form("self-approval", "The last answer was refused", "may not sign")
    browser.answer(form, "lena", digest, installation.code("lena"))

    state = installation.gate(work, Gate.ACCEPT)
    form = browser.form("accept", "Deny to roll everything back", "may sign: lena, omar")
    digest = gate_digest(state, Gate.ACCEPT)[:12]
    browser.answer(form, "omar", digest, installation.code("omar"))
    state = installation.finish(work)
    assert [("lena", "totp"), ("omar", "totp")] == [(vote.person, vote.proof) for vote in state.votes]
    assert ["lena", "mia"] == [refusal.person for refusal in state.refused]
    page.goto(run)
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    browser.shot("done")
    browser.artifact(run, "report", "RECOVERED")


def test_pages_of_coverage_and_readiness_are_legible(installation: Installation, browser: Browser) -> None:
    """Issue 6, must show 7: which backups are proven since when, and what a recovery would lack."""
    browser.log_in(installation.where.auth)
    browser.page.wait_for_url("**/dashboard")
    for flow in dict.fromkeys(flow for flow, _, _ in PAGES):
        _run(installation, flow)
    for _, key, text in PAGES:
        browser.go(f"artifacts/key/{key}")
        browser.page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
        expect(browser.page.get_by_text(text).first).to_be_visible()
        browser.shot(key)
