"""The report says what the journal says, in the same sections in every format (R-REV-1)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.home import open_store
from model.errors import Unsupported
from model.journal import GENESIS, Effect, GateSettled, Opened, Payload, Record, StageEnded, fold
from model.outcome import Stage
from model.plan import Objectives
from tasks.report import build_report
from tasks.report_measured import Bar, asset_times, bars, went_badly, went_well
from tasks.report_pages import report_html, report_markdown
from tasks.report_pdf import report_pdf
from tasks.report_standards import STANDARDS
from tasks.report_values import Report
from tasks.work import PlanFile, Work
from tests.model.builders import AT, ID, PLAN_TEXT, effect, failed, good_run, incident, plan

RUN = [payload for _, payload in good_run()]
TARGETS = Objectives(rto=4 * 3600, rpo=86400)
SECONDS = {GateSettled: 600, StageEnded: 40, Effect: 35}


def spaced(payloads: Sequence[Payload]) -> list[Record]:
    """A chain in which signatures take ten minutes, stages 40 seconds, actions 35, all else 3."""
    records: list[Record] = []
    at = AT
    for seq, payload in enumerate(payloads, start=1):
        previous = records[-1].digest if records else GENESIS
        at += timedelta(seconds=SECONDS.get(type(payload), 3) if records else 0)
        records.append(Record(seq=seq, incident=ID, at=at, previous=previous, payload=payload))
    return records


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    work = Work(incident(), PlanFile(plan(), PLAN_TEXT, tmp_path / "plan.yaml"), open_store())
    for payload in RUN:
        work.record(payload)
    return build_report(work)


def test_picture_has_stages_actions_and_waiting_in_order() -> None:
    drawn = [(bar.kind, bar.label) for bar in bars(spaced(RUN))]
    assert [
        ("stage", "confirm"), ("stage", "decide"), ("gate", "decide"), ("stage", "preserve"), ("stage", "repair"),
        ("action", "a01"), ("stage", "restore"), ("stage", "verify"), ("stage", "accept"), ("gate", "accept"),
        ("stage", "close"),
    ] == drawn  # fmt: skip


def test_waiting_lasts_from_the_question_to_the_settlement() -> None:
    """One refused answer and two votes before the settlement."""
    gate = next(bar for bar in bars(spaced(RUN)) if bar.kind == "gate")
    assert 609 == gate.end - gate.begin
    assert not gate.open


def test_action_that_was_cut_short_is_drawn_as_open() -> None:
    cut = next(n for n, payload in enumerate(RUN) if isinstance(payload, Effect))
    last = bars(spaced(RUN[:cut]))[-1]
    assert Bar(kind="action", label="a01", begin=last.begin, end=last.end, open=True) == last


def test_picture_of_an_incident_just_opened_is_empty() -> None:
    assert () == bars(spaced([Opened(incident=incident())]))


def test_asset_is_repaired_when_its_last_action_ended() -> None:
    records = spaced(RUN)
    done = next(record.at for record in records if isinstance(record.payload, Effect))
    (time,) = asset_times(records, fold(records))
    assert ("packages", "web-1", (done - AT).total_seconds(), None) == (
        time.asset,
        time.host,
        time.back,
        time.lost,
    )


def test_asset_nothing_was_done_to_has_no_time() -> None:
    cut = next(n for n, payload in enumerate(RUN) if isinstance(payload, Effect))
    records = spaced([*RUN[:cut], effect(how="failed")])
    (time,) = asset_times(records, fold(records))
    assert time.back is None


def test_good_run_went_well_but_for_the_refused_answers() -> None:
    records = spaced(RUN)
    state = fold(records)
    assert [
        "The service was recovered and the result accepted.",
        "RTO kept: 60 s, 4 h allowed.",
        "RPO kept: 0 s, 1 day allowed.",
        "Every action worked at its first attempt (1).",
        "No data was lost.",
    ] == list(went_well(state, TARGETS))
    assert [
        "Refused at decide, eve: not a person of the plan",
        "Refused at accept, eve: not a person of the plan",
    ] == [*went_badly(records, state, TARGETS)]


def test_what_went_badly_names_missed_objectives_failures_and_late_signatures() -> None:
    cut = next(n for n, payload in enumerate(RUN) if isinstance(payload, Effect))
    records = spaced([*RUN[:cut], effect(how="failed"), failed(Stage.REPAIR), *RUN[-4:]])
    late = [
        record.model_copy(update={"at": record.at + timedelta(hours=5)})
        if isinstance(record.payload, GateSettled)
        else record
        for record in records
    ]
    said = " ".join(went_badly(late, fold(records), Objectives(rto=10, rpo=0)))
    assert "RTO missed: 60 s, 10 s allowed." in said
    assert "Action a01 failed: failed." in said
    assert "Stage repair failed: repair did not work." in said
    assert re.search(r"The sign-off at decide came \d+ h( \d+ min)? after its deadline\.", said)


def test_every_section_a_standard_is_answered_in_exists_in_both_formats(report: Report) -> None:
    wanted = {section for _, _, sections, _ in STANDARDS for section in sections}
    markdown, html = report_markdown(report), report_html(report)
    headings = set(re.findall("^## (.+)$", markdown, re.MULTILINE))
    assert {"Diagnosis", "Messages", "Recovery points"} == wanted - headings, (
        "this incident has no diagnosis, no message and no backup"
    )
    assert wanted - headings == {name for name in wanted if f"<h2>{name}</h2>" not in html}


def test_html_draws_every_bar_and_loads_nothing(report: Report) -> None:
    html = report_html(report)
    assert len(report.bars) == html.count("<rect ")
    assert [] == re.findall(r"(?:src|href)=|url\(|@import", html)


def test_what_people_wrote_is_inert_in_the_html(report: Report) -> None:
    html = report_html(report.model_copy(update={"badly": ("<script>x</script>",)}))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_report_as_pdf_is_made_from_the_page_and_fetches_nothing(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-REV-1."""
    data = report_pdf(report)
    assert data.startswith(b"%PDF-")
    assert len(data) > 10_000
    page = report_html(report).replace("</h1>", '</h1><img src="http://127.0.0.1:9/x.png">')
    monkeypatch.setattr("tasks.report_pdf.report_html", lambda _: page)
    assert report_pdf(report).startswith(b"%PDF-"), "a picture that is not fetched is left out"


def test_pdf_without_its_library_says_what_to_install(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(Unsupported, match="PDF needs WeasyPrint") as caught:
        report_pdf(report)
    assert "reinstate[pdf]" in caught.value.remedy
