"""Healthy Python environments of every maker have no finding; what merely looks like a stray is told apart by facts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from checks import pip_environment
from checks.pip_baseline import pip_candidates
from checks.wheel_shelf import references
from model.assets import PipAsset
from model.finding import CheckResult, Code
from model.manifest import Entry, FileType
from tests.checks.local import LocalConnection
from tests.support.packages import shelf
from tests.support.pythonworld import environment_here, make_wheel, make_wheelhouse, site_of

UV = Path(sys.executable).with_name("uv")
BASE = str(Path(sys.base_prefix) / "bin/python3")


def examine(venv: Path, store: Path | None = None, accepted: Sequence[Entry] = ()) -> CheckResult:
    asset = PipAsset(kind="pip", host="web-1", python=f"{venv}/bin/python", store="wheelhouse")
    data = pip_environment.collect(LocalConnection(), asset)
    wheels, remarks = references(shelf(store) if store else None, data.distributions)
    return pip_environment.judge("app", asset, data, wheels=wheels, remarks=remarks, accepted=accepted)


def run(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_wheelhouse(tmp_path / "wheelhouse")
    return tmp_path / "wheelhouse"


def test_environment_of_venv_and_pip_has_no_finding(tmp_path: Path, store: Path) -> None:
    """Issue 3, bar 2; also with the system's packages in sight and byte code of every module."""
    venv = tmp_path / "venv"
    run(BASE, "-m", "venv", "--system-site-packages", venv)
    run(venv / "bin/python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", *store.glob("*.whl"))
    result = examine(venv, store)
    assert () == result.findings
    assert result.examined > 300, "pip and setuptools are looked at, too"


@pytest.mark.skipif(not UV.exists(), reason="needs uv")
@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_environment_of_uv_has_no_finding(tmp_path: Path, store: Path, mode: str) -> None:
    """Issue 3, bar 2: no pip in it; with `symlink` every file is a link into uv's cache."""
    venv = tmp_path / "venv"
    run(UV, "venv", "--quiet", "--offline", "--python", BASE, venv)
    options = ("--offline", "--no-index", "--no-deps", "--link-mode", mode, "--cache-dir", tmp_path / "cache")
    run(UV, "pip", "install", "--quiet", *options, "--python", venv / "bin/python", *store.glob("*.whl"))
    result = examine(venv, store)
    assert () == result.findings
    assert result.examined > 20


def test_what_the_maker_of_an_environment_puts_there_is_said_and_no_finding(tmp_path: Path) -> None:
    """A `.pth` that imports one module (virtualenv, older uv); by another maker, or with more in it, a stray."""
    venv = environment_here(tmp_path)
    config, pth = venv / "pyvenv.cfg", site_of(venv) / "_virtualenv.pth"
    pth.write_text("import _virtualenv")
    pth.with_suffix(".py").write_text("x = 1\n")
    assert 2 == len(examine(venv).findings)
    config.write_text(config.read_text() + "virtualenv = 20.25.0\n")
    result = examine(venv)
    assert () == result.findings
    assert any("_virtualenv.py" in note for note in result.not_checked)
    pth.write_text("import _virtualenv; import os")
    assert 2 == len(examine(venv).findings)


def test_editable_installs_old_and_new_have_no_finding(tmp_path: Path) -> None:
    """Issue 3, bar 2: PEP 660 by its own RECORD; an .egg-link and its .pth by where they lead."""
    venv = environment_here(tmp_path)
    site = site_of(venv)
    source = tmp_path / "source"
    (source / "old.egg-info").mkdir(parents=True)
    wheel = make_wheel(
        tmp_path, "modern", "0.1", {"__editable__.modern-0.1.pth": f"{source}\n", "__editable___modern_finder.py": ""}
    )  # fmt: skip
    from tests.support.pythonworld import unpack

    unpack(venv, wheel)
    (site / "old.egg-link").write_text(f"{source}\n../")
    (site / "easy-install.pth").write_text(f"{source}\n")
    assert () == examine(venv, tmp_path / "wheelhouse").findings
    (site / "easy-install.pth").write_text(f"{source}\nimport os; os.system('true')\n")
    assert [Code.FILE_FOREIGN] == [f.code for f in examine(venv).findings]


def test_legacy_distribution_owns_what_it_says_it_holds(tmp_path: Path) -> None:
    venv = environment_here(tmp_path)
    site = site_of(venv)
    (site / "elder").mkdir()
    (site / "elder/__init__.py").write_text("")
    (site / "elder-1.egg-info").mkdir()
    (site / "elder-1.egg-info/top_level.txt").write_text("elder\n")
    result = examine(venv)
    assert () == result.findings
    assert any("without RECORD by design" in note for note in result.not_checked)


def test_stray_accepted_in_the_baseline_is_no_finding_until_it_changes(tmp_path: Path) -> None:
    """R-PREV-2: what people reviewed stays accepted, by its hash."""
    venv = environment_here(tmp_path)
    stray = site_of(venv) / "sitecustomize.py"
    stray.write_text("import site\n")
    (finding,) = examine(venv).findings
    assert "Python runs or imports" in finding.actual
    import hashlib

    known = Entry(
        path=str(stray), type=FileType.FILE, mode=0o644, sha256=hashlib.sha256(stray.read_bytes()).hexdigest()
    )  # fmt: skip
    assert () == examine(venv, accepted=[known]).findings
    stray.write_text("import os\n")
    assert [str(stray)] == [f.subject for f in examine(venv, accepted=[known]).findings]


def test_left_over_of_an_interrupted_pip_is_slight_where_nothing_runs_it(tmp_path: Path) -> None:
    venv = environment_here(tmp_path)
    left = site_of(venv) / "~hop_core-1.4.0.dist-info"
    left.mkdir()
    (left / "METADATA").write_text("Name: shop-core\n")
    assert [("FILE_FOREIGN", str(left), "SLIGHT")] == [
        (f.code.value, f.subject, f.degree.name) for f in examine(venv).findings
    ]


def test_two_versions_of_which_neither_is_whole_are_left_to_a_person(tmp_path: Path) -> None:
    venv = environment_here(tmp_path)
    site = site_of(venv)
    (site / "tiny_mod-0.4.dist-info").mkdir()
    for version in ("0.3", "0.4"):
        record = "tiny_mod.py,sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,9\n"
        info = f"tiny_mod-{version}.dist-info"
        (site / info / "RECORD").write_text(f"{record}{info}/RECORD,,\n")
    broken = [f for f in examine(venv).findings if f.code is Code.PACKAGE_STATE_BROKEN]
    assert ["tiny-mod"] == [f.subject for f in broken]


def test_wheel_of_another_build_is_not_held_against_the_installed_one(tmp_path: Path) -> None:
    """A false alarm for every file would be worse than a check that is said not to be made."""
    venv = environment_here(tmp_path)
    other = tmp_path / "other"
    changed = {"tiny_mod.py": "ANSWER = 43\n", "tiny_mod_more.py": "", "tiny_mod_most.py": ""}
    wheel = make_wheel(other, "tiny_mod", "0.3", changed)
    assert wheel.exists()
    result = examine(venv, other)
    assert result.findings == () or result.not_checked


def test_folder_of_nobody_is_accepted_file_by_file(tmp_path: Path) -> None:
    """`reinstate baseline`: what a person saw is accepted by its hash, a file that comes later is not."""
    venv = environment_here(tmp_path)
    folder = site_of(venv) / "plugins"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.py", "deep/b.py"):
        (folder / name).write_text("x = 1\n")
    asset = PipAsset(kind="pip", host="web-1", python=f"{venv}/bin/python", store="wheelhouse")
    found = list(pip_candidates(LocalConnection(), "app", asset, ()))
    assert [f"{folder}/a.py", f"{folder}/deep/b.py"] == sorted(one.entry.path for one in found)
    accepted = [one.entry for one in found]
    assert () == examine(venv, accepted=accepted).findings
    (folder / "deep/c.py").write_text("")
    assert [f"{folder}/deep/c.py"] == [f.subject for f in examine(venv, accepted=accepted).findings]
