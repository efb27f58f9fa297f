"""Mutilated backups of each engine: found before the swap and named, or restored whole all the same."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from model.canonical import now
from model.manifest import RecoveryPoint
from tasks.backup_files import point_id
from tests.engines import table
from tests.engines.conftest import MakeWorld
from tests.engines.mutilate import POSITIONS, Mutation, Patient, applies, attempt, load, prepare
from tests.engines.worlds import STORES, EngineWorld

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "damaged-backups.md"
SEEN: dict[str, dict[str, Counter[str]]] = {}


@pytest.fixture(scope="module")
def patients() -> dict[str, Patient]:
    """One of each engine, made when it is first asked for."""
    return {}


@pytest.fixture
def patient(
    request: pytest.FixtureRequest, session_make: MakeWorld, patients: dict[str, Patient], engine_disk: Path
) -> Patient:
    """The patient of an engine."""
    kind: str = request.getfixturevalue("kind")
    if kind not in patients:
        patients[kind] = prepare(session_make(kind), _later, engine_disk if kind.startswith("s3") else None)
    return patients[kind]


def _later(world: EngineWorld, after: str) -> RecoveryPoint:
    """A second backup; points are named by the second."""
    while point_id(now()) <= after:
        time.sleep(0.05)
    return world.back_up()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.timeout(7200)
def test_whole_backup_raises_no_alarm(patient: Patient, kind: str) -> None:
    """As many clean runs as mutilations of a position in a full run: 0 false alarms."""
    runs = sum(applies(kind, one) for one in load()) * POSITIONS if POSITIONS > 1 else 2
    assert {"harmless"} == {attempt(patient, None, number) for number in range(runs)}
    SEEN.setdefault("", {}).setdefault(kind, Counter())["clean"] += runs


@pytest.mark.parametrize(
    ("kind", "mutation"),
    [
        pytest.param(kind, one, id=f"{kind}-{one.name.replace(' ', '-')}")
        for kind in STORES
        for one in load()
        if applies(kind, one)
    ],
)
@pytest.mark.timeout(7200)
def test_mutilated_backup_is_found_before_the_swap_or_restored_whole(
    patient: Patient, kind: str, mutation: Mutation
) -> None:
    """R-PREV-1: nothing of a spoilt backup is ever live."""
    counts = Counter(attempt(patient, mutation, position) for position in range(POSITIONS))
    SEEN.setdefault(mutation.name, {})[kind] = counts
    patient.heal()


def test_page_says_what_was_seen() -> None:
    """Must show 1: the table in the documentation comes from a run of this file."""
    if os.environ.get("REINSTATE_WRITE_DOCS"):
        PAGE.write_text(table.page(SEEN, POSITIONS), encoding="utf-8")
    assert [one.name for one in load()] == table.names(PAGE.read_text(encoding="utf-8"))
