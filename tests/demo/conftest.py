"""Demo worlds for the tests of this directory: one that nobody changes, one that is fresh for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.demo.world import World


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A healthy world that no test changes."""
    folder = tmp_path_factory.mktemp("demo") / "a world with blanks"
    yield World.build(folder)
    World.remove(folder)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which `fresh` builds."""
    folder = tmp_path_factory.mktemp("demo") / "fresh"
    yield folder
    World.remove(folder)


@pytest.fixture
def fresh(folder: Path) -> World:
    """A healthy world to damage: the host is made again for every test; there is no S3 server."""
    return World.build(folder, with_s3=False)
