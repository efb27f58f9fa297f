"""A host over SSH, and backup stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.datahost import connect, data_host
from tests.support.mariabackup import World, prepare
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


@pytest.fixture(scope="module")
def mariabackup_host(data_base: Base, lab_session: LabSession) -> Iterator[LabHost]:
    """A host whose MariaDB server is backed up as a whole."""
    with data_host(data_base, lab_session, "mariabackup") as host:
        prepare(host)
        yield host


@pytest.fixture
def mariabackup_world(mariabackup_host: LabHost, signing: SigningKey, tmp_path: Path) -> Iterator[World]:
    """Its database as it was made, and an empty store."""
    with connect(mariabackup_host) as connection:
        made = World(mariabackup_host, connection, signing, tmp_path)
        made.fresh()
        yield made
