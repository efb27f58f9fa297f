"""A small SSH server: `python -m tests.support.asyncsshd PORT USER KEY AUTHORIZED PATH`, a process of its own.

Commands run by `/bin/sh -c`, each in a session of its own, with the given PATH. Like OpenSSH it does not end them when
the client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import asyncssh

CHUNK = 64 << 10


class _Login(asyncssh.SSHServer):
    def __init__(self, user: str) -> None:
        self._user = user
        self._named = ""

    def begin_auth(self, username: str) -> bool:
        self._named = username
        return True

    def public_key_auth_supported(self) -> bool:
        return self._named == self._user

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return dest_host == "127.0.0.1"


async def _feed(source: asyncssh.SSHReader[bytes], pipe: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK):
            pipe.write(data)
            await pipe.drain()
        pipe.close()


async def _drain(pipe: asyncio.StreamReader, out: asyncssh.SSHWriter[bytes]) -> None:
    while data := await pipe.read(CHUNK):
        with contextlib.suppress(ConnectionError):
            out.write(data)
            await out.drain()


async def _session(process: asyncssh.SSHServerProcess[bytes], path: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", process.command or ":"),
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin
    assert child.stdout
    assert child.stderr
    feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
    await asyncio.gather(_drain(child.stdout, process.stdout), _drain(child.stderr, process.stderr))
    status = await child.wait()
    feeding.cancel()
    if status < 0:
        process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
    else:
        process.exit(status)


async def _serve(port: int, user: str, key: str, authorized: str, path: str) -> None:
    async def session(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _session(process, path)

    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: _Login(user),
        server_host_keys=[key],
        authorized_client_keys=authorized,
        process_factory=session,
        encoding=None,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), *sys.argv[2:6]))
