"""A connection that runs commands on this machine: what the collectors are tried on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from blocks.hosts.base import OUTPUT_LIMIT, Identity
from blocks.hosts.sftp import Sent
from model.command import Command, Result, raw
from model.errors import PreconditionFailed
from model.host import Host

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZ"


class LocalConnection:
    """The part of a `Connection` that checks use, by subprocess. `path` replaces PATH; `ran` keeps what was run."""

    def __init__(self, name: str = "web-1", state_dir: Path | None = None, path: str = "") -> None:
        self.name = name
        self.host = Host(
            address="127.0.0.1", key="env:KEY", host_key=HOST_KEY, machine_id="0" * 32,
            state_dir=str(state_dir or "/var/lib/reinstate"),
        )  # fmt: skip
        self.env = dict(os.environ) | ({"PATH": path} if path else {})
        self.tools = ""
        self.longest: float | None = None
        self.ran: list[Command] = []

    def run(
        self,
        command: Command,
        *,
        limit: int = OUTPUT_LIMIT,
        on_stdout: Callable[[bytes], None] | None = None,
        source: Iterable[bytes] | None = None,
    ) -> Result:
        self.ran.append(command)
        start = time.monotonic()
        words = [raw(arg) for arg in command.argv]
        if command.user:
            words = ["runuser", "-u", command.user, "--", *words]
        stdin = b"".join(source) if source is not None else command.stdin or b""
        try:
            done = subprocess.run(
                words, input=stdin, env=self.env | dict(command.env), capture_output=True, timeout=command.timeout,
                check=False,
            )  # fmt: skip
        except (FileNotFoundError, PermissionError) as error:
            return Result(command.shown(), 127, b"", str(error).encode())
        stdout = done.stdout
        if on_stdout is not None:
            for offset in range(0, len(stdout), 65536):
                on_stdout(stdout[offset : offset + 65536])
            stdout = b""
        return Result(
            command.shown(), done.returncode, stdout[:limit], done.stderr[:limit], time.monotonic() - start,
            len(stdout) > limit,
        )  # fmt: skip

    def read_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        data = Path(path).read_bytes()
        if len(data) > limit:
            raise PreconditionFailed("the file is too large", where=path)
        return data

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        assert Path(path).is_relative_to(self.host.state_dir), "a check writes below the state directory only"
        Path(path).write_bytes(data)
        Path(path).chmod(mode)

    def identity(self) -> Identity:
        return Identity(machine_id=self.host.machine_id, host_key=self.host.host_key, role="")

    def job(
        self, name: str, command: Command, token: int, on_wait: Callable[[float], None] | None = None
    ) -> Result:
        raise AssertionError("a check changes nothing")

    @contextmanager
    def tunnel(self, address: str, port: int) -> Iterator[int]:
        yield port

    def send_files(self, folder: str, files: Iterable[Sent]) -> int:
        raise AssertionError("this machine's tools are whole")

    def remove_files(self, folder: str) -> None:
        raise AssertionError("this machine's tools are whole")

    def fetch_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        return self.read_file(path, limit)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
