"""The demo host's SSH server, a process of its own: `python -m deployments.demo.sshd --root DIR --port N …`.

It behaves like OpenSSH where the product depends on it: commands run by `/bin/sh -c` in the host's directory, each in
its own process group that dies with the session, while what was detached with `setsid` lives on; SFTP sees the same
paths as commands do; TCP forwarding reaches 127.0.0.1 and nothing else. Only public keys log in.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import asyncssh

from deployments.demo.processes import MARK, clean_environment

CHUNK = 64 * 1024
AFTER_EXIT = 1.0
"""Seconds of silence a session grants the pipes of an ended command: a detached job may hold them open for ever."""


class Sessions:
    """Runs the commands of sessions in the host's directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = clean_environment(
            os.environ.get(MARK, ""),
            HOME=str(root),
            TMPDIR=str(root / "tmp"),
            SHELL="/bin/sh",
            LOGNAME=os.environ.get("LOGNAME", ""),
            USER=os.environ.get("LOGNAME", ""),
        )

    async def serve(self, session: asyncssh.SSHServerProcess[bytes]) -> None:
        """Runs one command (or a plain shell) and passes on its streams, its signals and its end."""
        argv = ["/bin/sh"] if session.command is None else ["/bin/sh", "-c", session.command]
        loop = asyncio.get_running_loop()
        child, command = await loop.subprocess_exec(
            lambda: Command(limit=CHUNK, loop=loop),
            *argv,
            cwd=self.root,
            env=self.environment,
            start_new_session=True,
        )
        if command.stdin is None or command.stdout is None or command.stderr is None:
            raise RuntimeError("a command has three pipes")  # as asyncio makes them unless told otherwise
        out, err = Output(command.stdout, session.stdout), Output(command.stderr, session.stderr)
        feeding = asyncio.create_task(_feed(session, command.stdin, child.get_pid()))
        hung_up = asyncio.create_task(session.channel.wait_closed())
        exited = asyncio.create_task(_end_of(command))
        tasks = [out.task, err.task, feeding, hung_up, exited]
        try:
            await asyncio.wait([hung_up, exited], return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                while not hung_up.done() and not (out.is_over() and err.is_over()):
                    await asyncio.wait([hung_up, out.task, err.task], timeout=0.05)
                _exit(session, child.get_returncode() or 0)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _let_go(child, command)


class Command(asyncio.subprocess.SubprocessStreamProtocol):
    """A child process whose end is known at once, also while a job it left behind holds its pipes open."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        """Called by asyncio."""
        super().process_exited()
        self.exited.set()


class Output:
    """Passes one stream of a command on to the client, who may be slow: nothing is dropped."""

    def __init__(self, pipe: asyncio.StreamReader, out: asyncssh.SSHWriter[bytes]) -> None:
        self.silent_since: float | None = None
        self.task = asyncio.create_task(self._pass_on(pipe, out))

    def is_over(self) -> bool:
        """Whether all is sent, as far as an ended command goes."""
        silent = self.silent_since is not None and time.monotonic() - self.silent_since > AFTER_EXIT
        return silent or self.task.done()

    async def _pass_on(self, pipe: asyncio.StreamReader, out: asyncssh.SSHWriter[bytes]) -> None:
        while True:
            self.silent_since = time.monotonic()
            data = await pipe.read(CHUNK)
            self.silent_since = None
            if not data:
                return
            out.write(data)
            await out.drain()


class Login(asyncssh.SSHServer):
    """Who may log in, and where forwarded connections may go."""

    def __init__(self, user: str, key: asyncssh.SSHKey) -> None:
        self.user = user
        self.key = key

    def public_key_auth_supported(self) -> bool:
        """Keys, and nothing else."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """One user with one key."""
        return username == self.user and key.public_data == self.key.public_data

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """Lets forwarded connections reach this machine's loopback only."""
        del dest_port, orig_host, orig_port
        return dest_host in ("127.0.0.1", "localhost")


async def _end_of(command: Command) -> None:
    await command.exited.wait()


async def _let_go(child: asyncio.SubprocessTransport, command: Command) -> None:
    """Ends what the session still holds: its pipes close and its process group hears a hang-up, no more."""
    if not command.exited.is_set():
        _signal_group(child.get_pid(), signal.SIGHUP)
        for number in (0, 1, 2):
            pipe = child.get_pipe_transport(number)
            if pipe is not None:
                pipe.close()
        await command.exited.wait()
    child.close()


async def _feed(session: asyncssh.SSHServerProcess[bytes], pipe: asyncio.StreamWriter, group: int) -> None:
    while True:
        try:
            data = await session.stdin.read(CHUNK)
        except asyncssh.SignalReceived as sent:
            with contextlib.suppress(KeyError):
                _signal_group(group, signal.Signals[f"SIG{sent.signal}"])
            continue
        except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
            continue
        if not data:
            break
        with contextlib.suppress(ConnectionError):
            pipe.write(data)
            await pipe.drain()
    with contextlib.suppress(ConnectionError):
        pipe.close()


def _exit(session: asyncssh.SSHServerProcess[bytes], status: int) -> None:
    if status >= 0:
        session.exit(status)
    else:
        session.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def serve(root: Path, port: int, user: str, authorized_key: Path, host_key: Path) -> None:
    """Serves until SIGTERM or SIGINT."""
    sessions = Sessions(root)
    key = asyncssh.read_public_key(str(authorized_key))
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: Login(user, key),
        server_host_keys=[str(host_key)],
        password_auth=False,
        kbdint_auth=False,
        gss_host=None,
        allow_pty=False,
        agent_forwarding=False,
        x11_forwarding=False,
        compression_algs=None,
        process_factory=sessions.serve,
        sftp_factory=True,
        encoding=None,
        line_editor=False,
        keepalive_interval=30,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write(f"listening on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    await server.wait_closed()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the host's directory")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True, help="the only login")
    parser.add_argument("--authorized-key", type=Path, required=True, help="public key file of the client")
    parser.add_argument("--host-key", type=Path, required=True, help="private key file of the server")
    options = parser.parse_args()
    os.chdir(options.root)
    asyncio.run(serve(options.root, options.port, options.user, options.authorized_key, options.host_key))


if __name__ == "__main__":
    main()
