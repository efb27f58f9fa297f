"""Jobs that end without a result: killed, rebooted, never begun. What matters is on the host, so one server will do."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from blocks.hosts.base import JobLost
from blocks.hosts.connection import SSHConnection
from model.command import Command
from model.errors import Transient
from tests.blocks.hosts.jobtools import ONCE, once, start_and_drop, wait_for
from tests.support.sshservers import Server

one_server = pytest.mark.parametrize("shared_server", ["asyncssh"], indirect=True)


@pytest.fixture
def state(server: Server) -> Path:
    return Path(server.host.state_dir)


@one_server
def test_job_killed_with_all_it_started_is_lost_and_stays_lost(
    server: Server, state: Path, tmp_path: Path
) -> None:
    """Fault matrix: process gone without a result. Its input does not stay behind."""
    effect = tmp_path / "effect"
    command = Command(("sh", "-c", ONCE, "sh", str(effect), "30"), stdin=b"secret")
    start_and_drop(server, "killed", command)
    wait_for(effect)
    leader = int((state / "jobs" / "killed" / "pid").read_text().split()[0])
    os.killpg(leader, signal.SIGKILL)
    with server.connect() as connection:
        for _ in range(2):
            with pytest.raises(JobLost, match="ended without a result"):
                connection.job("killed", command, 1)
        assert connection.job("next", Command(("true",)), 2).ok
    assert "started\n" == effect.read_text()
    assert not (state / "jobs" / "killed" / "stdin").exists()


@one_server
def test_job_whose_command_outlives_its_runner_is_not_lost_yet(
    server: Server, state: Path, tmp_path: Path
) -> None:
    """A killed runner is no proof that the effect has stopped."""
    start_and_drop(server, "orphan", once(tmp_path / "effect", 1.5))
    wait_for(tmp_path / "effect")
    os.kill(int((state / "jobs" / "orphan" / "pid").read_text().split()[0]), signal.SIGKILL)
    with server.connect() as connection:
        with pytest.raises(Transient, match="another run still runs"):
            connection.job("other", Command(("true",)), 2)
        with pytest.raises(JobLost):
            connection.job("orphan", once(tmp_path / "effect", 1.5), 1)
        assert connection.job("other", Command(("true",)), 2).ok


@one_server
def test_job_of_an_earlier_boot_is_lost(connection: SSHConnection, state: Path) -> None:
    """Fault matrix: target reboot. The process number is in use again."""
    connection.job("before", Command(("true",)), 1)
    job = state / "jobs" / "before"
    (job / "rc").unlink()
    (job / "pid").write_text(f"{os.getpid()} 1700000000 00000000-0000-4000-8000-000000000000 12345\n")
    with pytest.raises(JobLost):
        connection.job("before", Command(("true",)), 1)


@one_server
def test_job_whose_number_went_to_another_process_is_lost(connection: SSHConnection, state: Path) -> None:
    connection.job("reused", Command(("true",)), 1)
    job = state / "jobs" / "reused"
    (job / "rc").unlink()
    words = (job / "pid").read_text().split()
    # A process that runs, and leads no group, so that no orphans can be meant.
    (job / "pid").write_text(" ".join([str(2**22 - 7), *words[1:]]) + "\n")
    with pytest.raises(JobLost):
        connection.job("reused", Command(("true",)), 1)


@pytest.mark.slow
@one_server
def test_job_that_never_began_is_lost_and_never_begins(
    connection: SSHConnection, state: Path, tmp_path: Path
) -> None:
    """The starter was killed between making the directory and starting the process."""
    connection.job("seed", Command(("true",)), 1)
    (state / "jobs" / "stillborn").mkdir()
    with pytest.raises(JobLost, match="never began"):
        connection.job("stillborn", once(tmp_path / "effect"), 1)
    began = time.monotonic()
    with pytest.raises(JobLost, match="never began"):
        connection.job("stillborn", once(tmp_path / "effect"), 1)
    assert time.monotonic() - began < 4
    assert (state / "jobs" / "stillborn" / "claim").is_dir()
    assert not (tmp_path / "effect").exists()
