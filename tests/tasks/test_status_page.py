"""The page for everybody: what the journals say, without a host, a path or a name, whole at every moment (R-RESP-8)."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import shutil
import signal
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from blocks.home import open_store
from deployments.server.informer import keep_pages
from flows.informing import show
from model.canonical import now
from model.errors import BadInput, PreconditionFailed
from model.incident import Kind, Source
from model.journal import (
    Confirmed,
    Ended,
    GateOpened,
    Noted,
    Payload,
    Record,
    Reviewed,
    StageEnded,
    StageStarted,
)
from model.outcome import Gate, RunVerdict, Stage
from model.status_page import ShownIncident, Status
from tasks.status_page import read_status, write_status_page
from tasks.work import PlanFile, Work, load_plan, open_incident
from tests.conftest import BROWSERS
from tests.model.builders import PLAN_TEXT
from tests.support.browser import FLAGS
from tests.support.waiting import wait_for
from tests.tasks.test_inform import whole_run

FORK = multiprocessing.get_context("fork")
SECRET = "db-7.internal: disk /srv/shop is gone"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))


def write(folder: Path, *more: str, service: str = "The shop <b>now</b> & {{ 7*7 }}") -> PlanFile:
    """A plan with a status page and these lines more."""
    text = PLAN_TEXT.partition("communication:")[0].replace("name: The shop", f"name: {json.dumps(service)}")
    text = text.replace("  owner: ann\n", "  owner: ann\n  description: Orders are taken by telephone.\n")
    lines = ("folder: page", "languages: [en, zh]", "url: https://status.example.org/shop", *more)
    (folder / "plan.yaml").write_text(text + "status_page:\n" + "".join(f"  {line}\n" for line in lines))
    return load_plan(str(folder / "plan.yaml"))


@pytest.fixture
def plan(tmp_path: Path) -> PlanFile:
    return write(tmp_path)


def begin(plan: PlanFile, *payloads: Payload, kind: Kind = Kind.REAL) -> Work:
    work = open_incident(plan, open_store(), SECRET, "dan", Source.CLI, kind)
    for payload in payloads:
        work.record(payload)
    return work


def page(plan: PlanFile, name: str = "index.html") -> str:
    return (plan.path.parent / "page" / name).read_text()


def status(plan: PlanFile) -> Status:
    write_status_page(plan, open_store())
    return Status.model_validate_json(page(plan, "status.json"))


CONFIRMED, DENIED = whole_run()[:2], Ended(verdict=RunVerdict.STOPPED_SAFE, sentence="Denied by ann.")
NOTHING = (
    Confirmed(results=(), severity=None), StageEnded(stage=Stage.CONFIRM, ok=True, sentence="Nothing."),
    Ended(verdict=RunVerdict.STOPPED_SAFE, sentence="Nothing was damaged."),
)  # fmt: skip


def test_nothing_ever_happened(plan: PlanFile) -> None:
    said = status(plan)
    assert ("works", ()) == (said.health, said.incidents)
    assert "No incident in the last 90 days." in page(plan)
    assert "最近 90 天内没有事件" in page(plan, "zh.html")
    assert {"index.html", "zh.html", "feed.xml", "feed.zh.xml", "status.json", ".new"} == {
        path.name for path in (plan.path.parent / "page").iterdir()
    }
    assert {0o644} == {
        path.stat().st_mode & 0o777 for path in (plan.path.parent / "page").iterdir() if path.is_file()
    }


def test_incident_shows_once_damage_is_confirmed_and_goes_through_to_its_end(plan: PlanFile) -> None:
    work = begin(plan)
    assert ("works", 0) == (status(plan).health, len(status(plan).incidents))
    seen = []
    for payload in whole_run():
        work.record(payload)
        said = status(plan)
        seen.append((said.health, [update.moment for update in said.incidents[0].updates]))
    assert ("disrupted", ["confirmed", "opened"]) == seen[1]
    assert ("works", ["ended", "recovered", "impact_changed", "decided", "confirmed", "opened"]) == seen[-1]
    html = page(plan)
    for words in (
        "We have confirmed damage",
        "level II",
        "Orders are taken by telephone.",
        "works again",
        work.incident.id,
    ):
        assert words in html
    assert "已获批准" in page(plan, "zh.html")


def test_since_opened_shows_a_report_at_once(tmp_path: Path) -> None:
    plan = write(tmp_path, "since: opened")
    begin(plan)
    assert "disrupted" == status(plan).health
    assert "finding out what is damaged" in page(plan)


def test_no_host_path_person_or_report_is_told(plan: PlanFile) -> None:
    work = begin(plan, *whole_run())
    work.record(GateOpened(gate=Gate.DECIDE, digest="a" * 64, deadline=now()))
    status(plan)
    for name in ("index.html", "zh.html", "feed.xml", "feed.zh.xml", "status.json"):
        text = page(plan, name)
        for secret in ("db-7", "srv", "web-1", "ann", "dan", "sign-off"):
            assert not re.search(rf"\b{secret}\b", text, re.IGNORECASE), f"{secret} in {name}"


def test_markup_of_names_is_text_everywhere(plan: PlanFile) -> None:
    begin(plan, *whole_run())
    status(plan)
    assert "<b>" not in page(plan)
    assert "The shop &lt;b&gt;now&lt;/b&gt; &amp; {{ 7*7 }}" in page(plan)
    feed = ElementTree.fromstring(page(plan, "feed.xml").encode())
    assert "The shop <b>now</b> & {{ 7*7 }}: status" == feed.findtext("channel/title")


def test_feed_is_rss(plan: PlanFile) -> None:
    """RSS 2.0: what a channel and an item must have, in order, with dates and stable ids."""
    work = begin(plan, *whole_run())
    status(plan)
    rss = ElementTree.fromstring(page(plan, "feed.xml").encode())
    assert ("rss", "2.0") == (rss.tag, rss.get("version"))
    assert all(
        rss.findtext(f"channel/{tag}")
        for tag in ("title", "link", "description", "language", "lastBuildDate")
    )
    items = rss.findall("channel/item")
    assert 6 == len(items) == len({item.findtext("guid") for item in items})
    dates = [parsedate_to_datetime(item.findtext("pubDate") or "") for item in items]
    assert dates == sorted(dates, reverse=True)
    assert {f"https://status.example.org/shop/index.html#{work.incident.id}"} == {
        item.findtext("link") for item in items
    }
    before = [item.findtext("guid") for item in items]
    work.record(Noted(sentence="x"))
    write_status_page(plan, open_store(), now() + timedelta(days=1))
    assert before == [
        i.findtext("guid") for i in ElementTree.fromstring(page(plan, "feed.xml").encode()).iter("item")
    ]


def test_recovery_that_did_not_help_leaves_the_service_by_hand_until_a_later_one_says_otherwise(
    plan: PlanFile,
) -> None:
    """Nobody reads "works" because an incident was closed."""
    begin(plan, *CONFIRMED, DENIED)
    assert "by hand" == status(plan).health
    assert "May still be disrupted" in page(plan)
    time.sleep(0.01)
    begin(plan, *NOTHING)
    said = status(plan)
    assert "works" == said.health
    assert 1 == len(said.incidents), "an incident that found nothing is not shown"


def test_old_incidents_leave_the_page(plan: PlanFile) -> None:
    begin(plan, *whole_run())
    assert 1 == len(status(plan).incidents)
    write_status_page(plan, open_store(), now() + timedelta(days=91))
    assert "No incident in the last 90 days." in page(plan)


@pytest.mark.parametrize(("line", "expected"), [("drills: false", 0), ("drills: true", 1)])
def test_drill_is_hidden_or_marked_and_never_changes_the_state(
    tmp_path: Path, line: str, expected: int
) -> None:
    plan = write(tmp_path, line)
    plan.path.write_text(plan.text.replace("    address:", "    role: staging\n    address:"))
    plan = load_plan(str(plan.path))
    begin(plan, *CONFIRMED, kind=Kind.DRILL)
    said = status(plan)
    assert ("works", expected) == (said.health, len(said.incidents))
    assert expected == page(plan).count("[DRILL – NOT REAL]</span>")
    assert expected == page(plan, "zh.html").count("【演练 – 非真实事件】</span>")


def test_page_is_written_when_it_says_something_else_or_is_due(plan: PlanFile) -> None:
    work, at = begin(plan, *CONFIRMED), datetime.now(UTC)
    assert write_status_page(plan, open_store(), at) is not None
    assert write_status_page(plan, open_store(), at + timedelta(minutes=29)) is None
    assert write_status_page(plan, open_store(), at + timedelta(minutes=30)) is not None
    assert f"Next update by {at + timedelta(minutes=60):%Y-%m-%d %H:%M} UTC" in page(plan)
    work.record(StageStarted(stage=Stage.DECIDE))
    assert write_status_page(plan, open_store(), at + timedelta(minutes=31)) is None
    work.record(DENIED)
    assert write_status_page(plan, open_store(), at + timedelta(minutes=32)) is not None
    assert write_status_page(plan, open_store(), at + timedelta(days=30)) is None


def test_other_plans_are_not_told_of(plan: PlanFile, tmp_path: Path) -> None:
    begin(plan, *CONFIRMED)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other")
    other.path.write_text(other.text.replace("name: shop\n", "name: other\n", 1))
    assert () == status(load_plan(str(other.path))).incidents


def test_recovery_notes_that_the_page_cannot_be_written_and_goes_on(plan: PlanFile) -> None:
    work = begin(plan, *CONFIRMED)
    (plan.path.parent / "page").write_text("in the way")
    asyncio.run(show(work))
    asyncio.run(show(work))
    notes = [p.sentence for r in work.store.read(work.incident.id) if isinstance(p := r.payload, Noted)]
    assert 1 == len(notes)
    assert notes[0].startswith("The status page could not be written:")
    with pytest.raises((PreconditionFailed, FileExistsError)):
        write_status_page(plan, open_store())
    (plan.path.parent / "page").unlink()
    asyncio.run(show(work))
    assert "We have confirmed damage" in page(plan)


def test_up_writes_the_page_of_the_plan_as_it_is_now(plan: PlanFile) -> None:
    said: list[str] = []
    keep_pages(open_store(), [plan], said.append, set())
    assert "Works" in page(plan)
    begin(plan, *CONFIRMED)
    write(plan.path.parent, service="The store")
    keep_pages(open_store(), [plan], said.append, set())
    assert "The store" in page(plan)
    assert [] == said
    plan.path.write_text("broken: [")
    told: set[str] = set()
    keep_pages(open_store(), [plan], said.append, told)
    keep_pages(open_store(), [plan], said.append, told)
    assert 1 == len(said)


def test_journal_of_an_incident_that_has_ended_is_read_once(
    plan: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewed = Reviewed(report="report.html", sha256="a" * 64)
    ended, memory = begin(plan, *whole_run(), reviewed), dict[str, ShownIncident | None]()
    still = begin(plan, *CONFIRMED)
    store, read = open_store(), list[str]()
    reads = store.read

    def noted(ident: str) -> list[Record]:
        read.append(ident)
        return reads(ident)

    monkeypatch.setattr(store, "read", noted)
    first = read_status(plan, store, now(), memory)
    read.clear()
    assert first.incidents == read_status(plan, store, now(), memory).incidents
    assert [still.incident.id] == read
    assert {still.incident.id, ended.incident.id} == {one.id for one in first.incidents}


def test_plan_without_a_page_says_what_to_add(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN_TEXT)
    with pytest.raises(BadInput, match="no status page") as caught:
        write_status_page(load_plan(str(tmp_path / "plan.yaml")), open_store())
    assert "status_page" in caught.value.remedy


def _write_for_ever(plan: PlanFile) -> None:
    store, at = open_store(), now()
    while True:
        at += timedelta(hours=1)
        write_status_page(plan, store, at)


def test_killed_while_it_writes_every_file_is_whole(plan: PlanFile) -> None:
    """What a web server serves is the old file or the new one; the next writer goes on."""
    begin(plan, *CONFIRMED)
    for turn in range(8):
        child = FORK.Process(target=_write_for_ever, args=(plan,))
        child.start()
        wait_for("it writes", (plan.path.parent / "page" / "status.json").exists)
        time.sleep(0.02 + turn * 0.007)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        Status.model_validate_json(page(plan, "status.json"))
        ElementTree.fromstring(page(plan, "feed.xml").encode())
        assert page(plan).rstrip().endswith("</html>")
    assert "disrupted" == status(plan).health


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    path = next(found for name in BROWSERS if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser.new_page()
        browser.close()


STATES: dict[str, Sequence[Sequence[Payload]]] = {
    "works": (), "open": (CONFIRMED,), "ended": (whole_run(),), "by-hand": ((*CONFIRMED, DENIED),),
}  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("index.html", 1280, "light"), ("zh.html", 390, "dark")]
)
def test_page_in_a_browser(
    plan: PlanFile, chromium: Page, tmp_path: Path, state: str, name: str, width: int, scheme: str
) -> None:
    """Issue 5, must show 5: on a telephone and a screen, light and dark; nothing runs off the side, all is legible."""
    for payloads in STATES[state]:
        begin(plan, *payloads)
    status(plan)
    chromium.set_viewport_size({"width": width, "height": 900})
    chromium.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    chromium.goto((plan.path.parent / "page" / name).as_uri())
    folder = Path(os.environ.get("REINSTATE_SCREENSHOTS") or tmp_path)
    chromium.screenshot(path=folder / f"status-{state}-{scheme}.png", full_page=True)
    assert chromium.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert len(STATES[state]) == chromium.locator("article").count()
    assert 4.5 <= chromium.evaluate(CONTRAST)


CONTRAST = """() => {
  const light = text => { const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const behind = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c } return 'rgb(255,255,255)' }
  const ratios = [...document.querySelectorAll('h1,h2,h3,p,time,a,small,.now,.drill')].map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))]
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) })
  return Math.min(...ratios) }"""
"""The least contrast of any text to what is behind it (WCAG 2.2, 1.4.3: at least 4.5)."""
