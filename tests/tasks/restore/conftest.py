"""A host over SSH, and backup stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts.connection import SSHConnection
from tests.support.sshservers import Server, asyncssh_server
from tests.support.stores import s3_endpoint, signing, store

__all__ = ["s3_endpoint", "signing", "store"]


@pytest.fixture(scope="session")
def restore_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("host") / "server") as server:
        yield server


@pytest.fixture
def host(restore_server: Server, tmp_path: Path) -> Iterator[SSHConnection]:
    """An open connection to a host whose state directory is this test's own."""
    with restore_server.connect(state_dir=str(tmp_path / "state")) as connection:
        yield connection
