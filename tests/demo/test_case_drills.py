"""`reinstate drill --case N`: the acceptance cases as drills on a throw-away host, without root and unattended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.demo.drilling import CASES
from deployments.demo.world import World
from tests.support.thorough import variants

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", variants((3,), (1, 2)))  # all three are drilled on lab hosts
def test_case_is_drilled_and_scored(case: int, tmp_path: Path) -> None:
    """R-SCOPE-2, R-DRILL-1: found, repaired, nothing else found, nothing left behind."""
    folder = tmp_path / "demo"
    argv = [*(sys.executable, "-m", "deployments.cli", "drill", "--case", str(case), "--seed", "1"), "--json"]
    done = subprocess.run(
        [*argv, "--folder", str(folder)], capture_output=True, text=True, check=False, timeout=600
    )
    try:
        assert 0 == done.returncode, done.stderr[-3000:]
        card = json.loads(done.stdout)
        assert "PASSED" == card["verdict"], card
        assert {fault["kind"] for fault in card["faults"]} <= set(CASES[case])
        assert card["faults"], "one at least: of two kinds for one file set only one fits"
        assert ([], []) == (card["unexplained"], card["left_behind"])
    finally:
        World.remove(folder)


def test_case_that_is_none_is_refused() -> None:
    argv = [sys.executable, "-m", "deployments.cli", "drill", "--case", "4"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert 64 == done.returncode
    assert "there is no case 4" in done.stderr
