"""Severity and how a check ends (R-RESP-2, R-RESP-3, G11)."""

from __future__ import annotations

import pytest

from model.finding import Degree, Finding, Verdict, judged
from model.severity import DEFAULT_MATRIX, Level, Scope, grade, scope_of

from .builders import finding

SLIGHT, SERIOUS, TOTAL = Degree.SLIGHT, Degree.SERIOUS, Degree.TOTAL


@pytest.mark.parametrize(
    ("degree", "scope", "level"),
    [
        (SLIGHT, Scope.PART, Level.IV), (SLIGHT, Scope.SERVICE, Level.III), (SLIGHT, Scope.SEVERAL, Level.III),
        (SERIOUS, Scope.PART, Level.III), (SERIOUS, Scope.SERVICE, Level.II), (SERIOUS, Scope.SEVERAL, Level.II),
        (TOTAL, Scope.PART, Level.II), (TOTAL, Scope.SERVICE, Level.I), (TOTAL, Scope.SEVERAL, Level.I),
    ],
)  # fmt: skip
def test_grade_follows_the_matrix(degree: Degree, scope: Scope, level: Level) -> None:
    severity = grade([finding(degree=degree)], scope)
    assert (degree, scope, level) == (severity.degree, severity.scope, severity.level)
    assert f"Level {level}: " in severity.sentence
    assert "1 finding." in severity.sentence


def test_the_worst_finding_counts_and_many_do_not_add_up() -> None:
    many = [finding(f"/f{number}", SERIOUS) for number in range(100)]
    assert SERIOUS == grade(many, Scope.PART).degree
    assert TOTAL == grade([*many, finding("/x", TOTAL)], Scope.PART).degree
    assert "100 findings." in grade(many, Scope.PART).sentence


def test_the_plans_matrix_is_followed() -> None:
    matrix = {degree: dict.fromkeys(row, Level.I) for degree, row in DEFAULT_MATRIX.items()}
    assert Level.I == grade([finding(degree=SLIGHT)], Scope.PART, matrix).level


def test_a_healthy_system_has_no_severity() -> None:
    with pytest.raises(ValueError, match="at least one finding"):
        grade([], Scope.PART)


@pytest.mark.parametrize(
    ("services_down", "probes_failed", "services", "scope"),
    [
        (0, 0, 0, Scope.PART), (0, 0, 5, Scope.PART), (0, 1, 0, Scope.SERVICE), (1, 0, 1, Scope.SERVICE),
        (1, 3, 5, Scope.SERVICE), (2, 0, 5, Scope.SEVERAL), (2, 2, 2, Scope.SEVERAL),
    ],
)  # fmt: skip
def test_scope_of_what_stopped(services_down: int, probes_failed: int, services: int, scope: Scope) -> None:
    assert scope == scope_of(services_down, probes_failed, services)


@pytest.mark.parametrize(
    ("examined", "findings", "verdict", "words"),
    [
        (0, (), Verdict.ERROR, "an empty check is not a pass"),
        (5, (), Verdict.PASSED, "All 5 files"),
        (5, (finding(),), Verdict.FAILED, "1 of 5 files damaged"),
        (0, (finding(),), Verdict.FAILED, "damaged"),
    ],
)
def test_judged_never_passes_on_nothing(
    examined: int, findings: tuple[Finding, ...], verdict: Verdict, words: str
) -> None:
    result = judged("files", "web-1", "files", examined, findings, "files")
    assert verdict == result.verdict
    assert words in result.sentence
