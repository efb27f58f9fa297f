"""Every example of the documentation is tried, reference pages are what the program says, links lead somewhere."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from docs import build_reference, reference_words
from model.plan import Plan
from model.planfile import read_plan
from tests.docs.blocks import PAGES, ROOT, Block, blocks, calls, offline

PLANS = sorted((ROOT / "plans").glob("*.yaml"))
TEXTS = (*PAGES, *PLANS, *sorted((ROOT / "docs").glob("*.py")), ROOT / "mkdocs.yml")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# Written in two halves, so that this file does not contain them.
REGISTRIES = tuple(
    a + b
    for a, b in (
        ("pypi", ".org"), ("files.python", "hosted.org"), ("deb.debian", ".org"), ("registry.npm", "js.org"),
    )
)  # fmt: skip
FOLDERS = ("/wo" + "rk/", "/op" + "t/")
CONSOLE = [block for block in blocks("console") if offline(block)]


def plain(text: str) -> dict[str, object]:
    data = YAML(typ="safe", pure=True).load(text)
    assert isinstance(data, dict)
    return data


def merged(base: object, over: object) -> object:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_plan_that_ships_is_right(path: Path) -> None:
    """R-SCOPE-2."""
    plan = read_plan(path.read_text(encoding="utf-8"), path.name)
    assert plan.assets
    assert plan.checks.probes


def test_plans_directory_holds_the_sample_and_the_cases() -> None:
    """R-SCOPE-2."""
    cases = {"case-1-server-software.yaml", "case-2-operator-mistake.yaml", "case-3-database.yaml"}
    assert {*cases, "sample.yaml"} == {path.name for path in PLANS}


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_plan_that_ships_refers_to_secrets_outside_of_it(path: Path) -> None:
    """G9: environment or file only; a block would need the Prefect server in an emergency."""
    assert not re.findall(
        r"block:", "\n".join(line.partition("#")[0] for line in path.read_text().splitlines())
    )


def test_sample_shows_every_key_at_the_top() -> None:
    assert set(Plan.model_fields) == set(plain((ROOT / "plans/sample.yaml").read_text()))


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_yaml_block_of_the_documentation_is_a_plan_or_a_part_of_one(block: Block) -> None:
    """A part is laid over the sample plan; the leading group of three lets every rule of the pages be met."""
    given = plain(block.text)
    if "reinstate" in given:
        assert read_plan(block.text, block.name).name == given["name"]
        return
    sample = plain((ROOT / "plans/sample.yaml").read_text())
    Plan.model_validate(merged(sample, given))


def test_console_blocks_are_tried() -> None:
    """A suite never passes on nothing (G11)."""
    assert 3 <= len(CONSOLE)


@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: block.name)
def test_console_block_prints_what_it_shows(block: Block, tmp_path: Path) -> None:
    """`...` stands for what differs from run to run."""
    environment = {
        "HOME": str(tmp_path), "REINSTATE_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"],
        "COLUMNS": "100", "LANG": "C.UTF-8", "NO_COLOR": "1", "TERM": "dumb", "PREFECT_HOME": str(tmp_path / "prefect"),
    }  # fmt: skip
    status = 0
    for call in calls(block):
        if call.command == "echo $?":
            printed = f"{status}\n"
        else:
            words = shlex.split(call.command)
            program = Path(sys.executable).with_name(words[0])
            done = subprocess.run(
                [str(program), *words[1:]], cwd=ROOT, env=environment, text=True, check=False, timeout=60,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            status, printed = done.returncode, done.stdout
        shown = "".join(f"{line}\n" for line in call.shown)
        got = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        assert doctest.OutputChecker().check_output(shown, got, doctest.ELLIPSIS), f"{call.command}:\n{got}"


@pytest.mark.parametrize("name", build_reference.PAGES)
def test_reference_page_is_up_to_date(name: str) -> None:
    """`python -m docs.build_reference` writes it again."""
    assert build_reference.PAGES[name]() == (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_reference_explains_no_key_that_does_not_exist() -> None:
    known = {
        f"{m.__name__}.{f}"
        for _, model, _ in reference_words.SECTIONS
        for m in model.__mro__
        for f in fields(m)
    }
    assert set() == set(reference_words.KEYS) - known


def fields(model: type) -> list[str]:
    return list(getattr(model, "model_fields", ()))


def test_reference_has_every_model_of_a_plan() -> None:
    definitions = {name for name, one in Plan.model_json_schema()["$defs"].items() if "properties" in one}
    assert definitions <= {model.__name__ for _, model, _ in reference_words.SECTIONS}


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_internal_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        aim = (page.parent / file).resolve() if file else page
        assert aim.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(aim), f"{page.name}: {target}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_text_names_no_folder_of_one_machine(page: Path) -> None:
    assert [] == [word for word in FOLDERS if word in page.read_text(encoding="utf-8")]


def test_no_committed_file_names_a_registry_or_a_working_folder() -> None:
    """Installations use the index and the mirrors the machine is set up with."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True).stdout
    files = [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name]
    assert 50 < len(files)
    wrong = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in files
        if file.is_file()
        for word in (*REGISTRIES, FOLDERS[0])
        if word.encode() in file.read_bytes()
    ]
    assert [] == wrong


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="`make docs` and `make test` install mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    assert (tmp_path / "site/index.html").is_file()
    assert [] == list((tmp_path / "site").rglob("*.py"))


@pytest.mark.parametrize("form", ["html", "md", "json"])
@pytest.mark.parametrize("case", ["case-1", "case-2", "case-3"])
def test_example_report_is_of_an_incident_that_ended_well_and_names_no_machine(case: str, form: str) -> None:
    """R-REV-1: written by the acceptance cases themselves (`tests.support.examples`)."""
    text = (ROOT / f"docs/examples/{case}.{form}").read_text(encoding="utf-8")
    assert "RECOVERED" in text
    assert [] == [word for word in (*FOLDERS, "/tmp/", "/root/", "pytest") if word in text]
    if form == "html":
        assert not re.search(r"(src|href)=|@import|url\(", text), "one file that needs nothing else"
    if form == "json":
        assert {"incident", "timeline"} <= json.loads(text).keys()
