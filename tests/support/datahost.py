"""A laboratory host with databases, shared by the tests of one module, and a connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.hosts.connection import SSHConnection
from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.host import Host
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession


@contextmanager
def data_host(base: Base, session: LabSession, name: str = "data") -> Iterator[LabHost]:
    """A booted host; gone afterwards."""
    with LabHost(base, session, name) as host:
        yield host


def described(host: LabHost) -> Host:
    """The host as a plan has it."""
    return Host(
        address=host.address, port=host.port, user="root", key=f"file:{host.key_path}", host_key=host.host_key,
        machine_id=host.machine_id, role="staging",
    )  # fmt: skip


def connect(host: LabHost) -> SSHConnection:
    """A connection as root."""
    return SSHHost.from_plan(host.name, described(host), Secrets(Path(host.key_path).parent)).connect()
