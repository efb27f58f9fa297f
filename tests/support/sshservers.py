"""SSH servers for tests: one on asyncssh, and OpenSSH's own sshd, both on a free port with keys of their own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from blocks.hosts.connection import SSHConnection
from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.host import Host

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MACHINE_ID = "0123456789abcdef0123456789abcdef"
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        kind: `asyncssh` or `openssh`.
        folder: its keys and files; the client key is `client`, a key that it does not know `stranger`.
        host: how a plan describes it.
    """

    kind: str
    folder: Path
    host: Host

    def block(self, **changes: object) -> SSHHost:
        """The block of this server, with fields of the plan's host changed."""
        host = Host.model_validate({**self.host.model_dump(), **changes})
        return SSHHost.from_plan("web", host, Secrets(self.folder))

    def connect(self, **changes: object) -> SSHConnection:
        """A new connection to it."""
        return self.block(**changes).connect()


@contextmanager
def asyncssh_server(folder: Path, user: str = "", path: str = SYSTEM_PATH) -> Iterator[Server]:
    """The server on asyncssh; any login name will do."""
    user = user or getpass.getuser()
    port = _prepare(folder)
    argv = [*(sys.executable, "-m", "tests.support.asyncsshd", str(port), user)]
    argv += [str(folder / "host"), str(folder / "client.pub"), path]
    with _running(argv, port, folder / "log"):
        yield Server("asyncssh", folder, _host(folder, port, user))


@contextmanager
def openssh_server(folder: Path, sshd: str) -> Iterator[Server]:
    """OpenSSH's sshd, run by the user who runs the tests, for that user's login."""
    port = _prepare(folder)
    config = folder / "sshd_config"
    lines = (
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'client.pub'}",
        "AuthenticationMethods publickey",
        "PermitRootLogin prohibit-password",
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "LogLevel VERBOSE",
        # The login's own shell files must not slow down or change what is tested.
        f"SetEnv HOME={folder}",
    )
    config.write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with _running([sshd, "-D", "-e", "-f", str(config)], port, folder / "log"):
        yield Server("openssh", folder, _host(folder, port, getpass.getuser()))


def find_sshd() -> str | None:
    """The path of OpenSSH's server, or None."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _prepare(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "client", "stranger"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(key.export_private_key())
        (folder / f"{name}.pub").write_bytes(key.export_public_key())
    (folder / "machine-id").write_text(f"{MACHINE_ID}\n")
    return free_port()


def _host(folder: Path, port: int, user: str) -> Host:
    return Host.model_validate(
        {
            "address": "127.0.0.1",
            "port": port,
            "user": user,
            "key": "file:client",
            "host_key": (folder / "host.pub").read_text(),
            "machine_id": MACHINE_ID,
            "machine_id_file": str(folder / "machine-id"),
            "role": "staging",
            "state_dir": str(folder / "state"),
        }
    )


@contextmanager
def _running(argv: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        server = subprocess.Popen(argv, cwd=_PROJECT, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _await_banner(server, port, log)
        yield
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _await_banner(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                if probe.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the SSH server did not start: {log.read_text(errors='replace')[-2000:]}")
