"""One host with all tools, one S3 server it reaches, and a fresh world per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.host import Host
from tests.engines.worlds import EngineWorld, forget, make_world
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.s3server import S3Server, start_s3
from tests.support.stores import signing

__all__ = ["signing"]
MakeWorld = Callable[[str], EngineWorld]


@pytest.fixture(scope="session")
def engine_host(data_base: Base, lab_session: LabSession) -> Iterator[LabHost]:
    """The host with restic, borg and rsync, for all tests of this folder."""
    with LabHost(data_base, lab_session, "data") as host:
        yield host


@pytest.fixture(scope="session")
def engine_connection(engine_host: LabHost) -> Iterator[Connection]:
    """As an ordinary login with sudo."""
    plan = Host(
        address=engine_host.address, port=engine_host.port, user="ops", sudo=True,
        key=f"file:{engine_host.key_path}", host_key=engine_host.host_key, machine_id=engine_host.machine_id,
    )  # fmt: skip
    with SSHHost.from_plan("web", plan, Secrets(engine_host.key_path.parent)).connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def engine_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the S3 server keeps its objects."""
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="session")
def engine_s3(engine_host: LabHost, engine_disk: Path) -> Iterator[Callable[[], str]]:
    """The endpoint of an S3 server that the host reaches, too; started when it is asked for."""
    servers: list[S3Server] = []

    def endpoint() -> str:
        if not servers:
            servers.append(start_s3(engine_disk, engine_host.gateway))
        return servers[0].endpoint

    yield endpoint
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def session_make(
    engine_host: LabHost, engine_connection: Connection, engine_s3: Callable[[], str], signing: SigningKey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MakeWorld]:  # fmt: skip
    """A factory of worlds that live as long as the session, `session_make(kind)`."""
    yield from worlds_of(engine_host, engine_connection, engine_s3, signing, tmp_path_factory)


def worlds_of(
    host: LabHost, connection: Connection, endpoint: Callable[[], str], signing: SigningKey,
    folders: pytest.TempPathFactory,
) -> Iterator[MakeWorld]:  # fmt: skip
    """Such a factory; its worlds are gone afterwards."""
    worlds: list[EngineWorld] = []

    def world(kind: str) -> EngineWorld:
        worlds.append(make_world(kind, host, connection, signing, folders.mktemp(kind), endpoint))
        return worlds[-1]

    yield world
    for one in worlds:
        forget(one)
