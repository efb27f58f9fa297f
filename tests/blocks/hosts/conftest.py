"""The SSH servers every test of a host's connection runs against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts.connection import SSHConnection
from tests.support.sshservers import Server, asyncssh_server, find_sshd, openssh_server


@pytest.fixture(scope="session", params=["asyncssh", pytest.param("openssh", marks=pytest.mark.lab)])
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One running server of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "asyncssh":
        with asyncssh_server(folder / "server") as server:
            yield server
        return
    sshd = find_sshd()
    if sshd is None:
        pytest.skip("no sshd: install openssh-server")
    with openssh_server(folder / "server", sshd) as server:
        yield server


@pytest.fixture
def server(shared_server: Server, tmp_path: Path) -> Server:
    """A running server with a state directory of this test's own."""
    host = shared_server.host.model_copy(update={"state_dir": str(tmp_path / "state")})
    return Server(shared_server.kind, shared_server.folder, host)


@pytest.fixture
def connection(server: Server) -> Iterator[SSHConnection]:
    """An open connection to it."""
    with server.connect() as connection:
        yield connection
