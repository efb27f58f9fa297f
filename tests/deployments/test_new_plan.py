"""`reinstate plan init`: a plan from a few answers, right when the answers are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from deployments.cli.app import app
from deployments.cli.new_plan import Answers, Someone, id_of, new_plan
from model.planfile import read_plan
from tests.model.builders import KEY

MACHINE = "0123456789abcdef0123456789abcdef"
ANSWERS = (
    "Wiki of the desk", "Lena Hartmann", "lena@example.org", "Omar Said", "wiki.example.org", "", f"{KEY} root@wiki",
    MACHINE, "/srv/wiki", "2h", "", "omar@example.org",
)  # fmt: skip


def init(file: Path, *options: str, answers: tuple[str, ...] = ()) -> Result:
    words = ["plan", "init", str(file), *options]
    return CliRunner().invoke(
        app, words, input="".join(f"{one}\n" for one in answers), env={"COLUMNS": "200"}
    )


def test_answers_make_a_right_plan_and_the_next_steps_are_said(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    result = init(file, answers=ANSWERS)
    assert 0 == result.exit_code, result.output
    plan = read_plan(file.read_text())
    assert ("wiki-of-the-desk", "Wiki of the desk") == (plan.name, plan.service.name)
    assert ("lena", "omar") == plan.roles.leading_group
    assert (7200, 86400) == (plan.objectives.rto, plan.objectives.rpo)
    host = plan.hosts["main"]
    assert ("wiki.example.org", "reinstate", True, KEY) == (host.address, host.user, host.sudo, host.host_key)
    for said in ("secrets/totp-lena", "secrets/totp-omar", f"reinstate plan check {file}"):
        assert said in result.stdout


def test_options_are_not_asked_for(tmp_path: Path) -> None:
    options = {
        "--service": "Wiki", "--leader": "陈静", "--email": "c@example.org", "--deputy": "", "--address": "::1",
        "--user": "root", "--host-key": KEY, "--machine-id": MACHINE, "--path": "/srv", "--rto": "1h", "--rpo": "1h",
    }  # fmt: skip
    assert 65 == init(tmp_path / "a.yaml", *(word for pair in options.items() for word in pair)).exit_code
    options["--address"] = "192.0.2.1"
    result = init(tmp_path / "b.yaml", *(word for pair in options.items() for word in pair))
    assert 0 == result.exit_code, result.output
    plan = read_plan((tmp_path / "b.yaml").read_text())
    assert (("lead",), "陈静") == (plan.roles.leading_group, plan.people["lead"].name)
    assert not plan.hosts["main"].sudo


def test_wrong_answer_names_the_line_to_correct_and_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    result = init(file, answers=(*ANSWERS[:6], "trust me", *ANSWERS[7:]))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "trust me" in text)
    assert 65 == result.exit_code
    assert f"line {line}: hosts.main.host_key: an SSH public key is one line" in result.output


def test_file_that_exists_is_not_replaced_and_nothing_can_be_written_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("mine")
    assert 64 == init(file, answers=ANSWERS).exit_code
    assert "mine" == file.read_text()
    assert 64 == init(tmp_path / "no" / "plan.yaml", answers=ANSWERS).exit_code


@pytest.mark.parametrize(
    ("name", "person"), [("Lena Hartmann", "lena"), ("O'Neill, Ann", "o"), ("陈静", "lead"), ("", "lead")]
)
def test_id_is_made_from_a_name(name: str, person: str) -> None:
    assert person == id_of(name)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=80))
def test_whatever_is_answered_stands_in_the_plan_as_it_was_said(text: str) -> None:
    """No answer becomes another key, a comment's end, a tag or a number."""
    answers = Answers(
        file="plan.yaml", name="wiki", service=text, people=(Someone(id="ann", name=text, email=""),), host="main",
        address="192.0.2.1", user="root", host_key=KEY, machine_id=MACHINE, path="/srv", rto="4h", rpo="1d",
    )  # fmt: skip
    plan = read_plan(new_plan(answers))
    assert (text, text) == (plan.service.name, plan.people["ann"].name)
