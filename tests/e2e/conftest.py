"""Fixtures of whole recoveries in the laboratory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.backups.s3client import open_client
from tests.lab.network import LabSession
from tests.lab.servers import Shop
from tests.support.labworld import LabWorld, make_world
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, start_s3

_BUCKETS = itertools.count(1)

MakeWorld = Callable[..., LabWorld]


@pytest.fixture(scope="session")
def lab_s3(lab_session: LabSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server that this machine and the hosts of the laboratory reach under the same address."""
    server = start_s3(tmp_path_factory.mktemp("lab-s3"), lab_session.gateway)
    yield server.endpoint
    server.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of this test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("REINSTATE_HOME", str(folder))
    return folder


@pytest.fixture
def make_lab_world(
    make_lab_shop: Callable[[str], Shop], lab_s3: str, home: Path, tmp_path: Path
) -> MakeWorld:
    """A factory of worlds, `make_lab_world(changes)`: a healthy shop with its plan and an empty bucket."""

    def make(changes: dict[str, Any] | None = None) -> LabWorld:
        number = next(_BUCKETS)
        bucket = f"shop-{number}"
        open_client(lab_s3, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True).create_bucket(Bucket=bucket)
        folder = tmp_path / f"world-{number}"
        folder.mkdir()
        return make_world(make_lab_shop(f"shop-{number}"), folder, lab_s3, bucket, changes)

    return make


@pytest.fixture
def lab_world(make_lab_world: MakeWorld) -> LabWorld:
    """A healthy shop."""
    return make_lab_world()
