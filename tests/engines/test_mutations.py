"""Mutilated backups of each engine: found before the swap and named, or restored whole all the same."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from model.canonical import now
from model.manifest import RecoveryPoint
from tasks.backup_files import point_id
from tests.engines import table
from tests.engines.clusters import ClusterWorld, cluster_world
from tests.engines.databases import WORLDS
from tests.engines.directories import DirectoryWorld, directory_world
from tests.engines.mutilate import (
    PLACES,
    POSITIONS,
    Mutation,
    Patient,
    Sick,
    applies,
    attempt,
    load,
    prepare,
)
from tests.engines.table import KINDS
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.shares import SHARE, SHARES

pytestmark = [pytest.mark.lab, pytest.mark.slow]


PAGE = Path(__file__).parents[2] / "docs" / "damaged-backups.md"
SEEN: dict[str, dict[str, Counter[str]]] = {}
SLOW = ("pgbackrest", "mariabackup")
"""Whole servers, which take seconds to restore: a quick run does a sixth of the mutilations to them."""


@pytest.fixture(scope="module")
def patients() -> dict[str, Patient]:
    """One of each engine, made when it is first asked for."""
    return {}


@pytest.fixture(scope="module")
def cluster(
    data_base: Base, lab_session: LabSession, signing: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterWorld]:
    """A cluster with pgBackRest."""
    with cluster_world(data_base, lab_session, signing, tmp_path_factory.mktemp("cluster")) as world:
        yield world


@pytest.fixture(scope="module")
def directory(
    data_base: Base, lab_session: LabSession, signing: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DirectoryWorld]:
    """A server with mariabackup."""
    with directory_world(data_base, lab_session, signing, tmp_path_factory.mktemp("directory")) as world:
        yield world


@pytest.fixture
def patient(
    request: pytest.FixtureRequest, patients: dict[str, Patient], engine_host: LabHost, engine_disk: Path,
    engine_connection: Connection, signing: SigningKey, tmp_path_factory: pytest.TempPathFactory,
) -> Patient:  # fmt: skip
    """The patient of an engine."""
    kind: str = request.getfixturevalue("kind")
    if kind not in patients:
        world: Sick
        if kind == "pgbackrest":
            world = request.getfixturevalue("cluster")
        elif kind == "mariabackup":
            world = request.getfixturevalue("directory")
        elif kind in WORLDS:
            world = WORLDS[kind](engine_host, engine_connection, signing, tmp_path_factory.mktemp(kind))
        else:
            world = request.getfixturevalue("session_make")(kind)
        patients[kind] = prepare(world, _later, engine_disk if kind.startswith("s3") else None)
    return patients[kind]


def _later(world: Sick, after: str) -> RecoveryPoint:
    """A second backup; points are named by the second."""
    while point_id(now()) <= after:
        time.sleep(0.05)
    return world.back_up()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(7200)
def test_whole_backup_raises_no_alarm(patient: Patient, kind: str) -> None:
    """As many clean runs as mutilations of a position in a full run: 0 false alarms."""
    runs = sum(applies(kind, one) for one in load()) * len(PLACES) if POSITIONS > 1 else 1
    assert {"harmless"} == {attempt(patient, None, number) for number in range(runs)}
    SEEN.setdefault("", {}).setdefault(kind, Counter())["clean"] += runs


@pytest.mark.parametrize(
    ("kind", "mutation"),
    [
        pytest.param(kind, one, id=f"{kind}-{one.name.replace(' ', '-')}")
        for kind in KINDS
        for one in (load()[::6] if kind in SLOW and POSITIONS == 1 else load())
        if applies(kind, one)
    ],
)
@pytest.mark.timeout(7200)
def test_mutilated_backup_is_found_before_the_swap_or_restored_whole(
    patient: Patient, kind: str, mutation: Mutation
) -> None:
    """R-PREV-1: nothing of a spoilt backup is ever live."""
    counts = Counter(attempt(patient, mutation, position) for position in PLACES)
    SEEN.setdefault(mutation.name, {})[kind] = counts
    patient.heal()


def test_page_says_what_was_seen() -> None:
    """Must show 1: the table in the documentation comes from full runs of this file, engine by engine."""
    names = [one.name for one in load()]
    if os.environ.get("REINSTATE_WRITE_DOCS"):
        table.record(SEEN, POSITIONS, SHARE, SHARES)
        PAGE.write_text(table.page(names), encoding="utf-8")
    assert table.page(names) == PAGE.read_text(encoding="utf-8")
