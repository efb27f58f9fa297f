"""Signatures of causes: every code has examples that it finds and lookalikes that it does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from checks.signatures import match, table
from model.diagnosis import Cause

EXAMPLES: dict[str, dict[str, list[str]]] = YAML(typ="safe", pure=True).load(
    Path(__file__).with_name("signatures.yaml").read_text("utf-8")
)
RIGHT = [(code, line) for code, lines in EXAMPLES.items() for line in lines["yes"]]
WRONG = [line for lines in EXAMPLES.values() for line in lines["no"]]


@pytest.mark.parametrize(("code", "line"), RIGHT)
def test_line_that_shows_a_cause_is_found_under_its_code(code: str, line: str) -> None:
    """R-RESP-2."""
    found = match(line)
    assert found is not None
    assert Cause(code) is found.code
    assert "{" not in found.sentence


@pytest.mark.parametrize("line", WRONG)
def test_ordinary_line_shows_nothing(line: str) -> None:
    """A lookalike is no cause (G11)."""
    assert match(line) is None


def test_every_code_of_the_table_has_examples_of_both_kinds() -> None:
    codes = {entry.code.value for entry, _ in table()}
    assert codes == set(EXAMPLES)
    assert all(lines["yes"] and lines["no"] for lines in EXAMPLES.values())


def test_hostile_lines_are_matched_quickly() -> None:
    """A log is written by whoever can make a program log: no pattern may hang on it."""
    hostile = [
        "/" * 1000, "a" * 1000, "a." * 500, "/a" * 500 + " No such file", "x.so" * 250, '"/' * 500 + " failed (13:",
        "Failed " + "a.service" * 110, "I/O error" * 110, "segfault at " * 80, "ImportError: " * 75, "[" * 1000,
    ]  # fmt: skip
    start = time.monotonic()
    for line in hostile:
        match(line)
    assert time.monotonic() - start < 1.0
