"""The running installation that whole-recovery tests share; imports what it needs only when a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.installation import Installation


@pytest.fixture(scope="session")
def one_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A shop with its `up`, started as a user does, for the whole session."""
    from tests.support.installation import installed

    with installed(tmp_path_factory.mktemp("installation")) as made:
        yield made


@pytest.fixture
def installation(one_installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """The session's installation, running, with its home in the environment; damage it as you like and recover it."""
    monkeypatch.setenv("REINSTATE_HOME", str(one_installation.home))
    if one_installation.process is None or one_installation.process.poll() is not None:
        one_installation.start()
    return one_installation
