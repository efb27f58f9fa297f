"""What the tests of jobs share: a command that leaves a line each time it runs, and a connection cut in the middle."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from model.command import Command
from model.errors import Transient
from tests.support.sshservers import Server

ONCE = 'echo started >>"$1"; sleep "$2"; echo done'
"""Leaves a line for every time it ran."""


def once(effect: Path, seconds: float = 0, timeout: float = 30) -> Command:
    return Command(("sh", "-c", ONCE, "sh", str(effect), str(seconds)), timeout=timeout)


def trace(state: Path) -> list[str]:
    return [line.split()[2] for line in (state / "trace").read_text().splitlines()]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def start_and_drop(server: Server, name: str, command: Command, token: int = 1) -> None:
    """Starts a job and cuts the connection while it runs."""
    with server.connect() as connection:

        def cut(_: float) -> None:
            connection._transport.sock.close()
            connection._transport.close()

        with pytest.raises(Transient, match="may be running"):
            connection.job(name, command, token, cut)
