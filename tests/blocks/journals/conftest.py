"""The stores the contract suite runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.journals.base import JournalStore

from .builders import STORES, Factory


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def factory(request: pytest.FixtureRequest) -> Factory:
    made: Factory = request.param
    return made


@pytest.fixture
def store(factory: Factory, tmp_path: Path) -> JournalStore:
    return factory(tmp_path)
