"""Severity: damage degree × impact scope → level, by the plan's matrix (R-RESP-2, R-RESP-3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum

from model.canonical import Value
from model.finding import Degree, Finding


class Scope(IntEnum):
    """Impact scope, least first."""

    PART = 1
    SERVICE = 2
    SEVERAL = 3


class Level(StrEnum):
    """Incident level; I is the gravest (the four levels of GB/T 20986)."""

    I = "I"  # noqa: E741 - the standard's own name
    II = "II"
    III = "III"
    IV = "IV"


Matrix = Mapping[str, Mapping[str, Level]]
"""degree name (slight, serious, total) → scope name (part, service, several) → level."""

DEFAULT_MATRIX: dict[str, dict[str, Level]] = {
    "slight": {"part": Level.IV, "service": Level.III, "several": Level.III},
    "serious": {"part": Level.III, "service": Level.II, "several": Level.II},
    "total": {"part": Level.II, "service": Level.I, "several": Level.I},
}


class Severity(Value):
    """The grading of an incident, with the sentence that explains it."""

    degree: Degree
    scope: Scope
    level: Level
    sentence: str


def grade(findings: Sequence[Finding], scope: Scope, matrix: Matrix = DEFAULT_MATRIX) -> Severity:
    """Grade an incident.

    Args:
        findings: at least one; the worst degree counts, and many serious findings do not become total.
        scope: who is affected, see `scope_of`.
        matrix: the plan's matrix.

    Raises:
        ValueError: no findings: a healthy system has no severity.
    """
    if not findings:
        raise ValueError("a severity needs at least one finding")
    degree = max(finding.degree for finding in findings)
    level = matrix[degree.name.lower()][scope.name.lower()]
    return Severity(
        degree=degree,
        scope=scope,
        level=level,
        sentence=f"Level {level}: {degree.name.lower()} damage, {scope.name.lower()} affected, "
        f"{len(findings)} finding{'s' if len(findings) != 1 else ''}.",
    )


def scope_of(failed_services: int, failed_probes: int, services: int) -> Scope:
    """Impact scope from what stopped working.

    Args:
        failed_services: service assets found down.
        failed_probes: acceptance probes that failed.
        services: service assets in the plan.
    """
    if failed_services > 1 and services > 1:
        return Scope.SEVERAL
    return Scope.SERVICE if failed_services or failed_probes else Scope.PART
