"""Environments made by pip and by uv are repaired by the tool that made them; a hostile store installs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.proposal import ReinstallDistribution
from tasks.snapshot import take_snapshot
from tasks.undo import roll_back_files
from tests.support.packages import shelf
from tests.support.pythonworld import CORE, STORE, make_wheel, site_of
from tests.tasks.localhost import fingerprint, quiet
from tests.tasks.test_python_corpus import Here

UV = Path(sys.executable).with_name("uv")
BASE = str(Path(sys.base_prefix) / "bin/python3")


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def run(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def repair(here: Here) -> ReinstallDistribution:
    """Damage one module, and cure it by the proposal."""
    module = site_of(here.venv) / "shop_core/prices.py"
    before = module.read_bytes()
    module.write_text("def total(:\n")
    proposal = here.propose(here.examine())
    (action,) = proposal.actions
    assert isinstance(action, ReinstallDistribution)
    here.execute(proposal)
    assert before == module.read_bytes()
    assert () == here.examine().findings
    return action


def test_environment_with_its_own_pip_is_repaired_by_it_unless_it_is_damaged_itself(here: Here) -> None:
    """No path of ours is recorded; a damaged pip is not asked to repair itself or others."""
    run(BASE, "-m", "venv", "--clear", here.venv)
    site = site_of(here.venv)
    wheels = sorted((here.folder / STORE).glob("*.whl"))
    run(here.venv / "bin/python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", *wheels)
    assert "pip" == repair(here).tool
    assert not (site / "shop_core-1.4.0.dist-info/direct_url.json").exists()
    (site / "pip/__main__.py").write_text("raise SystemExit(9)\n")
    (site / "tiny_mod.py").unlink()
    proposal = here.propose(here.examine())
    assert [("tiny-mod", "unpack")] == [
        (a.distribution, a.tool) for a in proposal.actions if isinstance(a, ReinstallDistribution)
    ]
    (unmet,) = proposal.unmet
    assert "no wheel of pip" in unmet.sentence


@pytest.mark.skipif(not UV.exists(), reason="needs uv")
def test_environment_of_uv_is_repaired_by_uv_where_it_is_there_else_without(here: Here) -> None:
    run(UV, "venv", "--quiet", "--clear", "--offline", "--python", BASE, here.venv)
    wheels = sorted((here.folder / STORE).glob("*.whl"))
    cache = ("--cache-dir", here.folder / "cache", "--link-mode", "copy")
    run(
        UV,
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        *cache,
        "--python",
        here.venv / "bin/python",
        *wheels,
    )
    here.asset = here.asset.model_copy(update={"uv": ("/nonexistent/uv",)})
    here.plan = here.plan.model_copy(update={"assets": {"app": here.asset}})
    assert "unpack" == repair(here).tool
    here.asset = here.asset.model_copy(update={"uv": (str(UV),)})
    here.plan = here.plan.model_copy(update={"assets": {"app": here.asset}})
    assert "uv" == repair(here).tool


@pytest.mark.parametrize(
    ("files", "changed", "words"),
    [
        (CORE, {"shop_core/prices.py": "evil = 1\n"}, "is not what the wheel's own RECORD says"),
        (CORE, {"shop_core/extra.py": ""}, "RECORD does not name"),
        (CORE, {"../../../evil.py": ""}, "leaves its place"),
        (
            {"evil.py": "", "evil2.py": "", **{name: f"{text}#\n" for name, text in CORE.items()}},
            {},
            "another build",
        ),
    ],
)
def test_hostile_wheel_in_the_store_is_refused_and_nothing_is_installed(
    here: Here, files: dict[str, str], changed: dict[str, str], words: str
) -> None:
    """Issue 3, bar 5: said in the proposal, before anybody signs."""
    (site_of(here.venv) / "shop_core/prices.py").unlink()
    make_wheel(here.folder / STORE, "shop_core", "1.4.0", files, changed=changed)
    tampered = here.propose(here.examine())
    assert () == tampered.actions
    assert any("refused" in unmet.sentence for unmet in tampered.unmet), (
        "it is not what the signed index names"
    )
    here.store = {
        STORE: shelf(here.folder / STORE, STORE)
    }  # and neither does a signature make it a good wheel
    before = fingerprint(here.venv)
    proposal = here.propose(here.examine())
    assert () == proposal.actions
    assert any(words in unmet.sentence for unmet in proposal.unmet), proposal.unmet
    assert before == fingerprint(here.venv)


def test_wheel_of_another_version_is_never_taken(here: Here) -> None:
    (site_of(here.venv) / "tiny_mod.py").unlink()
    (here.folder / STORE / "tiny_mod-0.3-py3-none-any.whl").unlink()
    make_wheel(here.folder / STORE, "tiny_mod", "0.4", {"tiny_mod.py": "ANSWER = 43\n"})
    here.store = {STORE: shelf(here.folder / STORE, STORE)}
    proposal = here.propose(here.examine())
    assert () == proposal.actions
    assert "no wheel of tiny-mod 0.3" in proposal.unmet[0].sentence


def test_what_was_set_aside_and_made_anew_is_undone_bit_for_bit(here: Here) -> None:
    """N1: undo of a folder that belonged to nobody and of the interpreter's links."""
    site = site_of(here.venv)
    (site / "left_over/deep").mkdir(parents=True)
    (site / "left_over/__init__.py").write_text("x = 1\n")
    (site / "left_over/deep/y.txt").write_text("y\n")
    (site / "evil.pth").write_text("import os\n")
    (here.venv / "bin/python3").unlink()
    proposal = here.propose(here.examine())
    touched = sorted({path for action in proposal.actions for path in action.touches})
    take_snapshot(here.host, touched, here.folder / "snapshot", quiet)
    before = fingerprint(here.venv)
    said = here.execute(proposal)
    assert any("into quarantine" in sentence for sentence in said)
    kept = [path.name for path in (here.folder / "state/quarantine").rglob("*") if path.is_file()]
    assert {"__init__.py", "y.txt"} <= set(kept)
    assert () == here.examine().findings
    roll_back_files(
        here.host, here.folder / "snapshot", touched, job_prefix="undo-1", token=2, progress=quiet
    )
    assert before == fingerprint(here.venv)
