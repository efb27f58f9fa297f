"""A person at the Prefect UI, in headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from tests.conftest import BROWSERS
from tests.support.installation import Installation

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
USUAL: ViewportSize = {"width": 1366, "height": 900}
TALL: ViewportSize = {"width": 1366, "height": 2600}
PATIENCE = 60_000
"""Milliseconds the UI gets for one thing to show."""


class Browser:
    """A person at the UI, who keeps a picture of every page."""

    def __init__(self, page: Page, url: str, shots: Path) -> None:
        self.page, self.url, self.shots, self.number = page, url, shots, 0

    def shot(self, name: str) -> None:
        """Keep a picture of what is shown."""
        self.number += 1
        self.page.wait_for_timeout(350)  # for the animations
        self.page.screenshot(path=self.shots / f"{self.number:02d}-{name}.png")

    def go(self, path: str) -> None:
        """Open a page of the UI."""
        self.page.goto(f"{self.url}/{path}")

    def log_in(self, text: str) -> None:
        """Give the password to the login page."""
        self.go("login")
        self.page.get_by_placeholder("admin:pass").fill(text)
        self.page.get_by_role("button", name="Login").click()

    def start_recovery(self, reporter: str, summary: str) -> None:
        """Start `recover` from the form of its deployment."""
        recover = self.page.get_by_role("row").filter(
            has=self.page.get_by_role("link", name="recover", exact=True)
        )
        for _ in range(5):  # what is typed before the page is there is lost
            self.go("deployments")
            # Ten are on a page, those of one plan in any order.
            self.page.get_by_placeholder("Search deployments").fill("recover")
            with suppress(AssertionError):
                expect(recover).to_have_count(1, timeout=10_000)
                break
        expect(recover).to_have_count(1)
        self.shot("deployments")
        recover.get_by_role("link", name="demo-shop").click()
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()
        fields = self.page.locator("textarea")
        expect(fields.nth(0)).to_have_value("demo-shop")
        fields.nth(2).fill(summary)
        fields.nth(3).fill(reporter)
        self.shot("start")
        self.page.get_by_role("button", name="Submit").last.click()

    def form(self, name: str, *texts: str) -> Locator:
        """Open the form of the suspended run on this page; all these texts must be legible in it."""
        self.page.reload()
        self.page.get_by_role("button", name="Resume").click()
        form = self.page.locator(".p-modal")
        expect(form.get_by_text("Digest to sign")).to_be_visible()
        for text in texts:
            expect(form.get_by_text(text).first).to_be_visible()
        said = form.locator(".markdown-renderer").first
        assert said.evaluate("e => e.scrollHeight <= e.clientHeight + 1"), (
            "a slit: nobody sees that it scrolls"
        )
        wide = "e => [...e.querySelectorAll('*')].filter(x => x.scrollWidth > e.clientWidth).map(x => x.innerText)"
        assert [] == said.evaluate(wide), "wider than the form: nobody reads the end"
        self.page.set_viewport_size(TALL)
        self.shot(name)
        self.page.set_viewport_size(USUAL)
        return form

    def artifact(self, run: str, name: str, text: str) -> None:
        """Open an artifact from the run's own page, as a person finds it."""
        link = self.page.get_by_role("link", name=name).first
        for _ in range(5):  # the page keeps the list it had, also one without the newest
            self.page.goto(run)
            self.page.get_by_role("listitem").filter(has_text="Artifacts").click()
            with suppress(AssertionError):
                expect(link).to_be_visible(timeout=6000)
                break
        expect(link).to_be_visible()
        self.shot("artifacts")
        link.click()
        expect(self.page.get_by_text(text).first).to_be_visible()
        self.shot(name)

    def answer(self, form: Locator, person: str, digest: str, code: str, decision: str = "approve") -> None:
        """Fill the form and submit it."""
        for label, text in (
            ("Person", person), ("Reason", "I have read it."), ("Digest", digest), ("Code", code),
        ):  # fmt: skip
            field = form.locator(".p-label", has=self.page.get_by_text(label, exact=True))
            field.locator("textarea").fill(text)
        form.locator(".p-select-button").click()
        self.page.keyboard.press("ArrowDown")
        self.page.locator(".p-select-option", has_text=re.compile(f"^{decision}$")).click()
        form.get_by_role("button", name="Submit").click()
        expect(form).to_be_hidden()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where the pictures are kept: $REINSTATE_SCREENSHOTS, or the test's own folder."""
    folder = Path(os.environ.get("REINSTATE_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def browser(installation: Installation, shots: Path) -> Iterator[Browser]:
    """A browser; it may talk to nothing but this machine."""
    path = next(found for name in BROWSERS if (found := shutil.which(name)))
    hosts: set[str] = set()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = chromium.new_page(
            viewport=USUAL, reduced_motion="reduce"
        )  # what moves is drawn by the processor
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).hostname or ""))
        yield Browser(page, installation.where.url, shots)
        chromium.close()
    assert {"127.0.0.1"} == hosts - {""}, "the UI asked outside"
