"""A host whose software came as RPM packages, and a connection to it as a plan makes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.host import Host
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost


@pytest.fixture
def rpm_host(make_rpm_host: MakeLabHost) -> LabHost:
    """A healthy host of this test's own."""
    return make_rpm_host()


@pytest.fixture
def connection(rpm_host: LabHost) -> Iterator[Connection]:
    """A connection with an ordinary login and sudo."""
    host = Host(
        address=rpm_host.address, port=rpm_host.port, user="ops", sudo=True, key=f"file:{rpm_host.key_path}",
        host_key=rpm_host.host_key, machine_id=rpm_host.machine_id,
    )  # fmt: skip
    with SSHHost.from_plan("rpm-1", host, Secrets(rpm_host.key_path.parent)).connect() as opened:
        yield opened
