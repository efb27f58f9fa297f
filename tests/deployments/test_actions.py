"""What comes after the end on the command line: items tracked until closed, opinions of the leading group (R-REV-2)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from typer.testing import CliRunner, Result

from blocks.home import open_store
from deployments.cli.app import app
from model.canonical import now
from model.incident import Source
from model.journal import Ended, Reviewed
from model.outcome import RunVerdict
from tasks.work import Work, load_plan, open_incident, open_work

SAMPLE = Path(__file__).resolve().parents[2] / "plans/sample.yaml"
SECRET = pyotp.random_base32()
REPORT = "a" * 64

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def call(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return call


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """An incident that just began; omar signs with the key `omar`, lena with codes."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LENA", SECRET)
    file = tmp_path / "omar"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    text = SAMPLE.read_text(encoding="utf-8").replace("file:secrets/totp-lena", "env:LENA")
    old = next(line for line in text.splitlines() if line.strip().startswith("- ssh-ed25519"))
    public = " ".join(file.with_suffix(".pub").read_text().split()[:2])
    (tmp_path / "plan.yaml").write_text(text.replace(old, f"      - {public}"), encoding="utf-8")
    return open_incident(
        load_plan(str(tmp_path / "plan.yaml")), open_store(), "It is slow.", "mia", Source.CLI
    )


@pytest.fixture
def ended(work: Work) -> Work:
    """Ended, with a report that found two things to improve."""
    work.record(Ended(verdict=RunVerdict.STOPPED_SAFE, sentence="Stopped."))
    work.record(Reviewed(report="report.html", sha256=REPORT, items=("Back up more often.", "Find out why.")))
    return work


def test_nothing_to_do_says_so(run: Run, work: Work) -> None:
    assert "There is no rectification item.\n" == run("actions").stdout
    assert [] == json.loads(run("actions", "--json").stdout)


def test_item_is_assigned_and_closed_and_stays_visible(run: Run, ended: Work) -> None:
    """R-REV-2: tracked until done; default owner and date are the plan's."""
    one, two = (f"{ended.incident.id}.{number}" for number in (1, 2))
    due = (now() + timedelta(days=30)).date().isoformat()
    listed = json.loads(run("actions", "--json").stdout)
    assert [(one, "lena", due, False), (two, "lena", due, False)] == [
        (item["id"], item["owner"], item["due"], item["overdue"]) for item in listed
    ]
    late = run("actions", "assign", two, "--owner", "mia", "--due", "2020-02-29", "--by", "omar")
    assert f"{two}: mia has it, due 2020-02-29.\n" == late.stdout
    table = run("actions").stdout
    assert "OVERDUE" in table
    assert table.index(two) < table.index(one)
    closed = run("actions", "close", two, "--by", "mia", "--note", "A full disk; there is an alarm now.")
    assert f"{two}: closed by mia.\n" == closed.stdout
    item = json.loads(run("actions", "--json").stdout)[-1]
    assert (two, "closed", False, 3) == (item["id"], item["state"], item["overdue"], len(item["history"]))
    assert 0 == run("journal", "verify", ended.incident.id).exit_code


def test_item_of_a_person_may_be_added_before_the_end(run: Run, work: Work) -> None:
    added = run("actions", "add", work.incident.id, "Train the night shift.", "--by", "omar", "--json")
    assert f"{work.incident.id}.1" == json.loads(added.stdout)["id"]
    assert "Train the night shift." in run("actions").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("assign", "ITEM", "--owner", "eve"), 64, "give one of lena, omar, mia"),
        (("assign", "ITEM", "--owner", "mia", "--by", "eve"), 64, "give one of lena, omar, mia"),
        (("assign", "ITEM", "--due", "soon"), 64, "YYYY-MM-DD"),
        (("assign", "ITEM"), 64, "--owner PERSON"),
        (("assign", "one"), 64, "lists them"),
        (("assign", "INCIDENT.3", "--owner", "mia"), 64, "has 2 rectification items"),
        (("assign", "inc-20260314-091500-4f2a.1", "--owner", "mia"), 64, "no such incident"),
        (("close", "ITEM", "--by", "eve", "--note", "x"), 64, "give one of lena, omar, mia"),
        (("close", "ITEM", "--by", "mia", "--note", " "), 64, "1 to 2000 characters"),
        (("add", "INCIDENT", ""), 64, "1 to 2000 characters"),
        (("add", "INCIDENT", "x", "--by", "eve"), 64, "give one of lena, omar, mia"),
    ],
)
def test_wrong_word_about_an_item_says_what_to_do_and_records_nothing(
    run: Run, ended: Work, words: tuple[str, ...], code: int, said: str
) -> None:
    before = len(ended.store.read(ended.incident.id))
    given = [w.replace("ITEM", "INCIDENT.1").replace("INCIDENT", ended.incident.id) for w in words]
    result = run("actions", *given)
    assert code == result.exit_code
    assert said in result.stderr
    assert before == len(ended.store.read(ended.incident.id))


def test_closed_item_is_neither_closed_nor_assigned_again(run: Run, ended: Work) -> None:
    item = f"{ended.incident.id}.1"
    assert 0 == run("actions", "close", item, "--by", "mia", "--note", "done").exit_code
    for words in (("close", item, "--by", "mia", "--note", "again"), ("assign", item, "--owner", "omar")):
        result = run("actions", *words)
        assert 77 == result.exit_code
        assert "this item is closed: done" in result.stderr


def test_opinions_are_proven_and_in_the_journal(run: Run, ended: Work, tmp_path: Path) -> None:
    incident, code = ended.incident.id, pyotp.TOTP(SECRET).now()
    words = ("review", incident, "--opinion", "Good work, but late.")
    by_code = run(*words, "--person", "lena", "--decision", "more", "--code", code)
    assert f"lena said more of the report {REPORT[:12]}: Good work, but late.\n" == by_code.stdout
    again = run(*words, "--person", "lena", "--code", code)
    assert 77 == again.exit_code, "a code counts once"
    by_key = run(*words, "--person", "omar", "--key", str(tmp_path / "omar"))
    assert 0 == by_key.exit_code, by_key.output
    said = [one.opinion for one in open_work(incident).state().opinions]
    assert [("lena", "more", "totp"), ("omar", "approve", "ssh")] == [
        (o.person, o.decision, o.proof) for o in said
    ]


def test_opinion_without_proof_or_right_or_report_is_refused(run: Run, ended: Work, tmp_path: Path) -> None:
    words = ("review", ended.incident.id, "--opinion", "Fine.")
    for person, proof, why in (
        ("mia", ("--code", "123456"), "may review: lena, omar"),
        ("eve", ("--code", "123456"), "may review: lena, omar"),
        ("lena", ("--code", "12345"), "not a one-time code"),
        ("lena", ("--key", str(tmp_path / "omar")), "has no SSH key in the plan"),
    ):
        result = run(*words, "--person", person, *proof)
        assert 77 == result.exit_code
        assert why in result.stderr
    assert () == open_work(ended.incident.id).state().opinions


def test_opinion_before_the_end_is_refused(run: Run, work: Work) -> None:
    result = run("review", work.incident.id, "--opinion", "Fine.", "--person", "lena", "--code", "123456")
    assert 77 == result.exit_code
    assert "there is no report to review yet" in result.stderr


def test_revision_is_shown_as_a_diff_and_written_only_where_asked(
    run: Run, ended: Work, tmp_path: Path
) -> None:
    """R-REV-3."""
    plan, new = tmp_path / "plan.yaml", tmp_path / "plan-2.yaml"
    before = plan.read_text(encoding="utf-8")
    words = ("plan", "revise", str(plan), "--incident", ended.incident.id)
    shown = run(*words)
    assert 0 == shown.exit_code, shown.output
    assert '-version: "1"' in shown.stdout
    assert '+version: "2"' in shown.stdout
    assert f"+#   - To be put right ({ended.incident.id}.1): Back up more often." in shown.stdout
    assert before == plan.read_text(encoding="utf-8")
    assert 0 == run(*words, "--output", str(new)).exit_code
    assert "ticket-desk version 2 is right" in run("plan", "check", str(new)).stdout
    again = run(*words, "--output", str(new))
    assert 64 == again.exit_code
    assert "this file exists already" in again.stderr


def test_revision_before_the_end_is_refused(run: Run, work: Work, tmp_path: Path) -> None:
    result = run("plan", "revise", str(tmp_path / "plan.yaml"), "--incident", work.incident.id)
    assert 77 == result.exit_code
    assert "has not ended" in result.stderr
