"""A connection to a real host: real sudo, a pulled cable, a reboot."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from blocks.hosts.base import JobLost
from blocks.hosts.connection import SSHConnection
from blocks.hosts.identity import prove
from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.command import Command
from model.errors import PreconditionFailed, Transient
from model.host import Host
from tests.lab.host import LabHost

pytestmark = pytest.mark.lab


def connect(host: LabHost, user: str, sudo: bool = False) -> SSHConnection:
    described = Host(
        address=host.address,
        port=host.port,
        user=user,
        key=f"file:{host.key_path}",
        host_key=host.host_key,
        machine_id=host.machine_id,
        role="staging",
        sudo=sudo,
    )
    return SSHHost.from_plan(host.name, described, Secrets(host.key_path.parent)).connect()


def link(host: LabHost, state: str) -> None:
    subprocess.run(["ip", "link", "set", host.interface, state], check=True)


def test_login_with_sudo_acts_as_root_and_keeps_its_state_to_root(lab_host: LabHost) -> None:
    """G3: the fence is root's."""
    with connect(lab_host, "ops", sudo=True) as connection:
        connection.write_file("/var/lib/reinstate/role", b"staging\n")
        assert "staging" == prove(connection).role
        assert b"root:" in connection.read_file("/etc/shadow")
        who = ("id", "-un")
        assert b"root\n" == connection.job("as-root", Command(who, sudo=True), 1).stdout
        assert b"ops\n" == connection.job("as-login", Command(who), 1).stdout
        assert b"nosudo\n" == connection.job("as-other", Command(who, user="nosudo"), 1).stdout
        assert b"nosudo\n" == connection.run(Command(who, user="nosudo")).stdout
        listing = connection.run(Command(("stat", "-c", "%U %a", "/var/lib/reinstate/fence"), sudo=True))
        assert b"root 600\n" == listing.stdout
        assert not connection.run(Command(("cat", "/var/lib/reinstate/fence"))).ok


def test_login_without_sudo_is_told_what_to_add(lab_host: LabHost) -> None:
    with connect(lab_host, "nosudo", sudo=True) as connection:
        with pytest.raises(PreconditionFailed, match=r"nosudo ALL=\(ALL\) NOPASSWD: ALL"):
            connection.run(Command(("true",), sudo=True))
        with pytest.raises(PreconditionFailed, match="sudoers"):
            connection.job("job", Command(("true",), sudo=True), 1)
    with (
        connect(lab_host, "nosudo") as connection,
        pytest.raises(PreconditionFailed, match="/var/lib/reinstate"),
    ):
        connection.write_file("/var/lib/reinstate/file", b"x")


def test_black_hole_is_noticed_and_the_job_is_read_when_the_network_is_back(
    lab_host: LabHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix: SSH drop. Without keepalive and TCP_USER_TIMEOUT this hangs for ever."""
    monkeypatch.setattr("blocks.hosts.transport.KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr("blocks.hosts.transport.DEAD_SECONDS", 3)
    command = Command(("sh", "-c", "sleep 3; echo done"), timeout=120)
    unplug = threading.Timer(1, lambda: link(lab_host, "down"))
    with connect(lab_host, "root") as connection:
        unplug.start()
        began = time.monotonic()
        with pytest.raises(Transient, match="may be running"):
            connection.job("unplugged", command, 1)
        assert time.monotonic() - began < 20
    with pytest.raises(Transient, match="reachable"):
        connect(lab_host, "root")
    link(lab_host, "up")
    with connect(lab_host, "root") as connection:
        assert b"done\n" == connection.job("unplugged", command, 1).stdout
        assert 1 == len(connection.read_file("/var/lib/reinstate/trace").splitlines())


def test_job_interrupted_by_a_reboot_is_lost_and_a_finished_one_is_not(lab_host: LabHost) -> None:
    """Fault matrix: target reboot."""
    endless = Command(("sleep", "600"), timeout=1)
    with connect(lab_host, "root") as connection:
        connection.job("finished", Command(("echo", "kept")), 1)
        with pytest.raises(Transient, match="still runs"):
            connection.job("interrupted", endless, 1)
    lab_host.power_off()
    lab_host.boot()
    with connect(lab_host, "root") as connection:
        assert b"kept\n" == connection.job("finished", Command(("echo", "kept")), 1).stdout
        with pytest.raises(JobLost):
            connection.job("interrupted", endless, 1)
        assert connection.job("next", Command(("true",)), 2).ok
