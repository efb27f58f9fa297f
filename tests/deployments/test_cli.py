"""The command line with wrong input: a message that says what to do, an exit code, and with --json an object."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it has no types; its stubs are not locked
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from blocks.home import open_store
from deployments.cli.app import app
from docs.build_reference import commands
from model.incident import Source
from model.plan import Plan
from tasks.work import load_plan, open_incident

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "plans/sample.yaml"
NOBODY = "inc-20260314-091500-4f2a"
EVERY_COMMAND = [command.path for command in commands(app)]

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty installation; wide enough a terminal that no sentence is broken."""
    folder = tmp_path / "home"
    monkeypatch.setenv("REINSTATE_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def run() -> Run:
    def call(*words: str, answers: str = "") -> Result:
        return CliRunner().invoke(app, list(words), input=answers)

    return call


def plan(tmp_path: Path, change: Callable[[str], str]) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(change(SAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    return path


def line_of(path: Path, start: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if line.strip().startswith(start))


def test_plan_file_that_does_not_exist_says_so(run: Run) -> None:
    result = run("plan", "check", "nowhere.yaml")
    assert 64 == result.exit_code
    assert "" == result.stdout
    assert "BAD_INPUT nowhere.yaml" in result.stderr
    assert "No such file or directory" in result.stderr
    assert "What to do:" in result.stderr
    assert "Errno" not in result.stderr


def test_plan_that_is_not_text_says_so(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    result = run("plan", "check", str(path))
    assert 64 == result.exit_code
    assert "not UTF-8 text" in result.stderr


@pytest.mark.parametrize("command", ["back-up", "scan", "propose"])
def test_unknown_plan_of_a_command_says_file_and_name_were_tried(run: Run, command: str) -> None:
    result = run(command, "nowhere")
    assert 64 == result.exit_code
    assert "no such plan file and no plan registered under this name" in result.stderr


def test_unknown_key_in_a_plan_is_named_with_line_and_near_miss(run: Run, tmp_path: Path) -> None:
    path = plan(tmp_path, lambda text: text.replace("address:", "adress:"))
    result = run("plan", "check", str(path))
    assert 65 == result.exit_code
    assert f"line {line_of(path, 'adress:')}: hosts.web-1.adress: unknown key 'adress'" in result.stderr
    assert "did you mean 'address'?" in result.stderr


def test_every_problem_of_a_plan_is_named_at_once(run: Run, tmp_path: Path) -> None:
    path = plan(
        tmp_path, lambda text: text.replace("rto: 4h", "rto: soon").replace("unit: nginx", "unit: -nginx")
    )
    result = run("plan", "check", str(path))
    assert 65 == result.exit_code
    assert "2 problems" in result.stderr
    assert f"line {line_of(path, 'rto:')}: objectives.rto" in result.stderr
    assert f"line {line_of(path, 'unit: -nginx')}: assets.web.unit" in result.stderr


def test_duplicate_key_in_a_plan_is_named_with_line(run: Run, tmp_path: Path) -> None:
    path = plan(tmp_path, lambda text: text + "\nname: twice\n")
    result = run("plan", "check", str(path))
    last = len(path.read_text(encoding="utf-8").splitlines())
    assert 65 == result.exit_code
    assert f"line {last}: name: the key 'name' stands twice" in result.stderr


def test_wrong_plan_with_json_is_an_object_on_standard_output(run: Run, tmp_path: Path) -> None:
    path = plan(tmp_path, lambda text: text.replace("address:", "adress:", 1))
    result = run("plan", "check", str(path), "--json")
    said = json.loads(result.stdout)
    assert 65 == result.exit_code
    assert {"error", "what", "where", "remedy", "problems"} == set(said)
    assert ("BAD_PLAN", str(path), 2) == (said["error"], said["where"], len(said["problems"]))


def test_right_plan_with_json_names_version_and_digest(run: Run) -> None:
    result = run("plan", "check", str(SAMPLE), "--json")
    said = json.loads(result.stdout)
    assert (0, "ticket-desk", "1", []) == (result.exit_code, said["plan"], said["version"], said["problems"])
    assert re.fullmatch(r"[0-9a-f]{64}", said["digest"])


def test_plan_schema_is_a_json_schema(run: Run) -> None:
    result = run("plan", "schema")
    schema = json.loads(result.stdout)
    assert 0 == result.exit_code
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(Plan.model_fields) == set(schema["properties"])


def innermost(error: jsonschema.ValidationError) -> Iterator[jsonschema.ValidationError]:
    """The values at fault: an optional section is wrong as a whole for what is wrong in it."""
    if not error.context:
        yield error
    for part in error.context or ():
        yield from innermost(part)


def test_plan_schema_marks_durations_of_the_sample_and_nothing_else(run: Run) -> None:
    """When it knows them, `docs/reference_words.py` says something that is no longer true."""
    schema = json.loads(run("plan", "schema").stdout)
    sample = YAML(typ="safe", pure=True).load(SAMPLE.read_text(encoding="utf-8"))
    errors = jsonschema.Draft202012Validator(schema).iter_errors(sample)
    marked = {error.instance for top in errors for error in innermost(top) if isinstance(error.instance, str)}
    warned = "does not know durations" in (ROOT / "docs/plan.md").read_text(encoding="utf-8")
    assert ({"4h", "1d", "5m", "10s", "7d", "30d", "20m", "30m"} if warned else set()) == marked


def test_plan_show_with_json_is_the_plan(run: Run) -> None:
    result = run("plan", "show", str(SAMPLE), "--json")
    assert Plan.model_validate_json(result.stdout).name == "ticket-desk"


@pytest.mark.parametrize(
    "words", [("report", NOBODY), ("journal", "verify", NOBODY), ("approve", NOBODY, "--as", "lena", "--yes")]
)
def test_unknown_incident_says_how_to_list_them(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert 64 == result.exit_code
    assert f"BAD_INPUT {NOBODY}" in result.stderr
    assert "`reinstate incidents` lists them" in result.stderr


@pytest.mark.parametrize("name", ["../../etc", "inc-x", "", "{{7*7}}"])
def test_incident_id_that_is_none_is_refused(run: Run, name: str) -> None:
    assert 64 == run("report", name).exit_code
    assert 64 == run("journal", "verify", name).exit_code


def test_unknown_incident_with_json_is_an_object(run: Run) -> None:
    said = json.loads(run("report", NOBODY, "--json").stdout)
    assert ("BAD_INPUT", NOBODY) == (said["error"], said["where"])


def test_recover_without_reporter_asks_for_one(run: Run) -> None:
    """R-ORG-5."""
    result = run("recover", str(SAMPLE))
    assert 64 == result.exit_code
    assert "--by PERSON" in result.stderr


def test_recover_without_a_running_up_says_both_ways(run: Run) -> None:
    result = run("recover", str(SAMPLE), "--by", "mia")
    assert 64 == result.exit_code
    assert "`reinstate up PLAN`" in result.stderr
    assert "--local" in result.stderr


def test_recover_of_an_unknown_plan_opens_no_incident(run: Run) -> None:
    result = run("recover", "nowhere", "--by", "mia", "--local")
    assert 64 == result.exit_code
    assert "[]\n" == run("incidents", "--json").stdout


def test_recover_of_a_kind_that_does_not_exist_lists_the_kinds(run: Run) -> None:
    result = run("recover", str(SAMPLE), "--by", "mia", "--kind", "exercise")
    assert 2 == result.exit_code
    assert "drill" in result.stderr


def test_incidents_of_an_empty_installation_says_so(run: Run) -> None:
    result = run("incidents")
    assert (0, "No incident was ever opened here.\n") == (result.exit_code, result.stdout)


def test_home_that_is_not_absolute_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REINSTATE_HOME", "here")
    result = run("incidents")
    assert 64 == result.exit_code
    assert "absolute path" in result.stderr


def test_open_incident_is_listed_reported_and_verified(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = open_store()
    incident = open_incident(
        load_plan(str(SAMPLE)), store, "The [bold]page[/] is \x1b[31mred.", "mia", Source.CLI
    )
    listed = json.loads(run("incidents", "--json").stdout)
    assert [incident.incident.id] == [one["incident"] for one in listed]
    assert "The damage is not confirmed yet." == listed[0]["next"]
    table = run("incidents").stdout
    assert "[bold]page[/]" in table
    assert "\x1b[31mred" not in table
    monkeypatch.setenv("COLUMNS", "80")
    assert incident.incident.id in run("incidents").stdout
    report = run("report", incident.incident.id)
    assert (0, True) == (report.exit_code, report.stdout.startswith("# Ticket desk: report of inc-"))
    html = run("report", incident.incident.id, "--format", "html").stdout
    file = tmp_path / "report.pdf"
    assert f"{file}\n" == run("report", incident.incident.id, "--format", "pdf", "-o", str(file)).stdout
    assert file.read_bytes().startswith(b"%PDF-")
    assert run("report", incident.incident.id, "--format", "pdf").stdout_bytes.startswith(b"%PDF-")
    assert "<html" in html
    assert "intact" in run("journal", "verify", incident.incident.id).stdout


def test_approve_of_an_incident_that_waits_for_nobody_says_so(run: Run) -> None:
    incident = open_incident(load_plan(str(SAMPLE)), open_store(), "Red.", "mia", Source.CLI).incident.id
    result = run("approve", incident, "--as", "lena", "--yes", "--reason", "x", "--code", "123456")
    assert 64 == result.exit_code
    assert "nothing waits for a sign-off" in result.stderr


def test_altered_journal_is_found_and_hides_no_other_incident(run: Run, home: Path) -> None:
    """G8."""
    store, file = open_store(), load_plan(str(SAMPLE))
    first, second = (
        open_incident(file, store, text, "mia", Source.CLI).incident.id for text in ("one", "two")
    )
    record = home / "journal" / first / "000001.json"
    record.chmod(0o600)
    record.write_bytes(record.read_bytes().replace(b'"summary":"one"', b'"summary":"ten"'))
    result = run("journal", "verify", first)
    assert 66 == result.exit_code
    assert "the signature does not fit" in result.stderr
    assert 0 == run("journal", "verify", second).exit_code
    listed = {one["incident"]: one for one in json.loads(run("incidents", "--json").stdout)}
    assert listed[first]["next"].startswith("The journal is damaged")
    assert "two" == listed[second]["summary"]


def test_journal_verified_with_the_key_of_another_installation_is_not_intact(
    run: Run, home: Path, tmp_path: Path
) -> None:
    incident = open_incident(load_plan(str(SAMPLE)), open_store(), "one", "mia", Source.CLI).incident.id
    own = next((home / "keys/public").glob("*.pem"))
    assert 0 == run("journal", "verify", incident, "--key", str(own)).exit_code
    open_store(tmp_path / "other")
    other = next((tmp_path / "other/keys/public").glob("*.pem"))
    assert 66 == run("journal", "verify", incident, "--key", str(other)).exit_code


@pytest.mark.parametrize("path", EVERY_COMMAND)
def test_help_of_every_command_explains_every_word(run: Run, path: str) -> None:
    result = run(*path.split(), "--help")
    assert 0 == result.exit_code
    command = next(one for one in commands(app) if one.path == path)
    assert command.help
    assert all(word.help for word in command.words)
    options = [name for word in command.words if not word.argument for name in word.name.split("/")]
    assert [] == [name for name in options if name not in result.stdout]


def test_no_command_at_all_shows_the_help(run: Run) -> None:
    assert "Usage: reinstate" in re.sub(r"root", "reinstate", run().output)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("plan", "check", str(SAMPLE)), 0),
        (("plan", "check", "nowhere.yaml"), 64),
        (("plan", "check", "tests/docs/wrong.yaml"), 65),
        (("recover", "nowhere", "--by", "mia", "--local"), 64),
        (("nonsense",), 2),
    ],
)
def test_installed_program_ends_with_the_code_of_the_error(
    words: tuple[str, ...], status: int, home: Path
) -> None:
    """No traceback, whatever goes wrong."""
    program = Path(sys.executable).with_name("reinstate")
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    done = subprocess.run(
        [str(program), *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert status == done.returncode
    assert "Traceback" not in done.stderr


def test_right_plan_says_what_it_still_lacks_with_lines(run: Run, tmp_path: Path) -> None:
    path = plan(tmp_path, lambda text: text[: text.index("communication:")])
    result = run("plan", "check", str(path))
    assert 0 == result.exit_code
    assert "is right" in result.stdout
    assert "communication: nobody is told anything (name channels and audiences)" in result.stdout
    hints = json.loads(run("plan", "check", str(path), "--json").stdout)["hints"]
    assert ["communication"] == [one["path"] for one in hints]
    assert "Still missing" not in run("plan", "check", str(SAMPLE)).stdout


def test_plan_diff_says_first_what_weakens_the_plan(run: Run, tmp_path: Path) -> None:
    path = plan(tmp_path, lambda text: text.replace("rto: 4h", "rto: 5h"))
    result = run("plan", "diff", str(SAMPLE), str(path))
    assert 2 == result.exit_code
    lines = [
        "Mind: objectives.rto allows more time than before.", "objectives.rto: changed", "  - 14400.0", "  + 18000.0",
    ]  # fmt: skip
    assert lines == result.stdout.splitlines()
    assert "mean the same" in run("plan", "diff", str(SAMPLE), str(SAMPLE)).stdout
    wrong = plan(tmp_path, lambda text: text.replace("address:", "adress:"))
    assert 65 == run("plan", "diff", str(SAMPLE), str(wrong)).exit_code


def test_status_page_is_written_where_the_plan_says(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(SAMPLE.read_text(encoding="utf-8"))
    assert f"{tmp_path}/status/index.html" == run("status-page", str(plan)).stdout.strip()
    assert "It said so already." not in (tmp_path / "status/index.html").read_text()
    assert json.loads(run("status-page", str(plan), "--json").stdout) == {
        "folder": str(tmp_path / "status"), "written": False,
    }  # fmt: skip
    plan.write_text(plan.read_text().replace("status_page:", "communicated:"))
    assert 0 != run("status-page", str(plan)).exit_code


def test_schedules_of_a_plan_without_a_server(run: Run, tmp_path: Path) -> None:
    """What comes next, in its zone, and what the blackout holds back."""
    window = 'days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:00", timezone: Europe/Berlin'
    path = plan(
        tmp_path,
        lambda text: text.replace(
            'schedule: "30 3 * * *"\n  timezone: UTC', 'schedule: "30 */2 * * *"\n  timezone: Asia/Tokyo'
        ),
    )
    assert window in path.read_text(encoding="utf-8")
    result = run("schedules", str(path), "--json")
    assert 0 == result.exit_code
    rows = {row["flow"]: row for row in json.loads(result.stdout)}
    assert ["scan", "back_up", "verify_backups", "drill", "readiness"] == list(rows)
    scan = rows["scan"]
    assert ("30 */2 * * *", "Asia/Tokyo", 20) == (scan["schedule"], scan["timezone"], scan["jitter_minutes"])
    assert ["mon, tue, wed, thu, fri 08:00–18:00 Europe/Berlin"] == scan["blackout"]
    assert [30 + scan["later_by_minutes"]] * 3 == [
        int(one["at"][14:16]) + 60 * (int(one["at"][11:13]) % 2) for one in scan["next"]
    ]
    assert {"+09:00"} == {one["at"][16:] for one in scan["next"]}
    assert (None, None) == (scan["switched_on"], scan["last_run"])
    said = run("schedules", str(path))
    assert "verify_backups of ticket-desk: 0 4 * * 6 UTC." in said.stdout
    assert "not mon, tue, wed, thu, fri 08:00–18:00 Europe/Berlin" in said.stdout
    assert "No `up` runs" in said.stderr


def test_schedules_without_plan_and_server_says_what_to_give(run: Run) -> None:
    result = run("schedules")
    assert 64 == result.exit_code
    assert "no `up` runs" in result.stderr
    assert "give a plan" in result.stderr
