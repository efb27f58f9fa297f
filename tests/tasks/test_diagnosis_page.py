"""The page of a diagnosis: headline first, five sections, everything from a host inert, in every place it is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.journals.sealed import seal_record, unseal_record
from blocks.keys import SigningKey
from deployments.cli.output import show_markdown
from model.canonical import canonical_json, digest
from model.diagnosis import Cause, CauseHint, Confidence, Diagnosis, Impact, LogLine, Moment, Onset, Reach
from model.finding import CheckResult, Code, Finding, Verdict
from model.journal import Confirmed, Opened
from model.severity import Level
from tasks.diagnosis_page import headline, page, summary
from tests.model.builders import SEVERITY, incident, result

AT = datetime(2026, 11, 25, 16, 20, 35, tzinfo=UTC)
EVIL = "<script>alert(1)</script> {{7*7}} [x](http://evil) \x1b[31m | `rm` \u202e"
SECTIONS = (
    "### What is damaged", "### Since when", "### Probable cause", "### Who is affected",
    "### How sure we are, and what was not checked",
)  # fmt: skip


def diagnosis(text: str = "x", causes: int = 1, impacts: int = 1, notes: int = 1) -> Diagnosis:
    hint = CauseHint(
        code=Cause.ELF_ERROR, host="web-1", sentence=f"The loader refuses {text}.", confidence=Confidence.HIGH,
        because=f"it names {text}", lines=(LogLine(source="journal", at=AT, text=text),), findings=("f-1",),
    )  # fmt: skip
    hit = Impact(
        kind="service",
        name="web",
        host="web-1",
        reach=Reach.STOPPED,
        chain=(f"{text} is damaged", "web uses it"),
    )
    return Diagnosis(
        onset=Onset(
            earliest=AT - timedelta(minutes=5), earliest_because=text, latest=AT, latest_because=text,
            moments=(Moment(at=AT, host="web-1", kind="damage", sentence=text),),
        ),
        causes=(hint,) * causes,
        impacts=tuple(hit.model_copy(update={"name": f"web{n}"}) for n in range(impacts)),
        confidence=Confidence.HIGH, because=text, not_checked=tuple(f"{text} {n}" for n in range(notes)),
    )  # fmt: skip


def results(text: str, count: int = 1) -> tuple[CheckResult, ...]:
    found = tuple(
        Finding(code=Code.FILE_CONTENT_DIFFERS, host="web-1", asset="packages", subject=f"/x/{text}{n}")
        for n in range(count)
    )
    return (result().model_copy(update={"findings": found}),)


def test_page_has_the_headline_first_and_five_sections_in_order() -> None:
    """Must show 7: what, since when, why, who, how sure and what was not checked."""
    text = page(results("lib"), SEVERITY, diagnosis())
    places = [text.index(title) for title in SECTIONS]
    assert sorted(places) == places
    assert text.index("Probable cause: The loader refuses x") < places[0]
    assert "between 16:15:35 (x) and 16:20:35 (x), UTC" in text


def test_text_of_a_host_is_inert_on_the_page_and_in_the_summary() -> None:
    """Hosts write what they like into their logs (guarantees: reports)."""
    for text in (page(results(EVIL), SEVERITY, diagnosis(EVIL)), summary(results(EVIL), diagnosis(EVIL))):
        assert not {"<script", "{{", "](http", "\x1b", "\u202e"} & {
            bad for bad in ("<script", "{{", "](http", "\x1b", "\u202e") if bad in text
        }
        assert "`" not in text.replace("\\`", "")


def test_page_stays_short_however_much_is_damaged() -> None:
    """No wall of text: the findings and the journal hold the rest, and the page says so."""
    long = page(results("lib", 500), SEVERITY, diagnosis(causes=8, impacts=60, notes=40))
    assert len(long.splitlines()) < 90
    assert "and 494 more: see the findings" in long
    assert "and 54 more services and units" in long
    assert "and 32 more notes" in long


def test_without_any_cause_the_page_says_that_silence_proves_nothing() -> None:
    empty = diagnosis().model_copy(update={"causes": (), "impacts": (), "not_checked": ()})
    text = page(results("lib"), None, empty)
    assert "no proof that nothing happened" in text
    assert "No log line shows a cause." in headline(results("lib"), empty)


def test_page_of_a_drill_is_marked() -> None:
    assert page(results("lib"), None, diagnosis(), "**DRILL**\n\n").startswith("**DRILL**")


def test_terminal_shows_the_page_without_its_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    show_markdown(page(results("a_b"), SEVERITY, diagnosis("c_d")))
    shown = capsys.readouterr().out
    assert "c_d" in shown
    assert "\\_" not in shown


def test_journal_from_before_there_was_a_diagnosis_still_reads(tmp_path: Path) -> None:
    """Old records verify byte for byte; new ones carry the diagnosis through JSON unchanged."""
    key = SigningKey.load_or_create(tmp_path)
    _, first = seal_record(key, incident().id, Opened(incident=incident()), None)
    new = Confirmed(results=(result(Verdict.FAILED),), severity=SEVERITY, diagnosis=diagnosis(EVIL))
    raw, _ = seal_record(key, incident().id, new, first)
    again = unseal_record(raw, lambda data, signature: True, "here").record.payload
    assert new == again
    data = json.loads(raw)
    del data["payload"]["diagnosis"]
    data.pop("signature")
    old = canonical_json(data | {"signature": key.sign(digest(data).encode())})
    payload = unseal_record(old, lambda fingerprint, signature: True, "here").record.payload
    assert isinstance(payload, Confirmed)
    assert payload.diagnosis is None
    assert Level.II is (payload.severity or SEVERITY).level
