"""`reinstate people` in a terminal and without one (R-ORG-5)."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyotp
import pytest

from tests.model.builders import PLAN_TEXT

REINSTATE = Path(sys.executable).with_name("reinstate")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN_TEXT.replace("totp: env:ANN", "totp: 'file:secrets/ann'"))
    return path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(REINSTATE), "people", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


class Terminal:
    """`reinstate people WORDS` in a terminal."""

    def __init__(self, *words: str) -> None:
        self.said = ""
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.execv(REINSTATE, [str(REINSTATE), "people", *words])

    def until(self, pattern: str) -> re.Match[str]:
        """Read until this was said."""
        limit = time.monotonic() + 60
        while (found := re.search(pattern, self.said)) is None:
            assert time.monotonic() < limit, self.said
            self.said += os.read(self.end, 4096).decode("utf-8", "replace")
        return found

    def type(self, text: str) -> None:
        os.write(self.end, f"{text}\n".encode())

    def code(self) -> int:
        """Read to the end; the exit code."""
        with suppress(OSError):  # Linux says so when the other side is closed
            while part := os.read(self.end, 4096):
                self.said += part.decode("utf-8", "replace")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(plan: Path) -> Iterator[Terminal]:
    made = Terminal("enrol", str(plan), "ann")
    yield made
    with suppress(OSError):
        os.close(made.end)


def test_enrolment_shows_a_picture_for_the_phone_and_takes_its_code(plan: Path, terminal: Terminal) -> None:
    secret = terminal.until(r"or type: ([A-Z2-7 ]{39})\s").group(1).replace(" ", "")
    assert 10 <= sum(line.count("\u2588") > 5 for line in terminal.said.splitlines()), "a QR code of blocks"
    terminal.until("The code the phone shows now")
    assert not (plan.parent / "secrets/ann").exists(), "it counts only once it is proven"
    terminal.type("000000")
    terminal.type(pyotp.TOTP(secret).now())
    assert 0 == terminal.code(), terminal.said
    assert "ann signs with this phone from now on." in terminal.said
    assert secret == (plan.parent / "secrets/ann").read_text().strip()
    rows = {row["person"]: row for row in json.loads(run("list", str(plan), "--json").stdout)}
    assert "ready" == rows["ann"]["code"]


def test_without_a_terminal_no_secret_is_shown(plan: Path) -> None:
    done = run("enrol", str(plan), "ann")
    assert 64 == done.returncode
    assert "run it in a terminal" in done.stderr
    assert not (plan.parent / "secrets").exists()


def test_list_and_revoke(plan: Path) -> None:
    assert "not enrolled" in run("list", str(plan)).stdout
    done = run("revoke", str(plan), "ann", "--by", "bob", "--reason", "She left.", "--yes")
    assert 0 == done.returncode, done.stderr
    assert "Revoked of ann: the one-time code" in done.stdout
    assert "revoked" in run("list", str(plan)).stdout
    again = run("revoke", str(plan), "ann", "--by", "bob", "--reason", "She left.", "--yes")
    assert 64 == again.returncode
    assert "no proof that counts" in again.stderr
    assert 64 == run("revoke", str(plan), "eve", "--by", "bob", "--reason", "x", "--yes").returncode
