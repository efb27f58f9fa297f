"""The connection to one host over SSH (paramiko): what `blocks.hosts.base.Connection` promises."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Self

import paramiko

from blocks.hosts import elevate, identity, jobs, scripts, sftp, tunnel
from blocks.hosts.base import OUTPUT_LIMIT, Identity
from blocks.hosts.session import execute
from model.command import Command, Result, raw
from model.errors import BadInput, PreconditionFailed
from model.host import Host


class SSHConnection:
    """An open SSH connection; made by `SSHHost.connect`. Not shared between tasks or threads.

    Attributes:
        name: the host's name in the plan.
        host: how the plan describes it.
        where: name and address, for messages.
        tools: folder of lent tools on the host that are used before its own; empty: none.
        longest: seconds a job may run; None: as long as it takes.
    """

    def __init__(self, name: str, host: Host, transport: paramiko.Transport) -> None:
        self.name = name
        self.host = host
        self.where = f"{name} ({host.address}:{host.port})"
        self.tools = ""
        self.longest: float | None = None
        self._transport = transport

    def __repr__(self) -> str:
        return f"SSHConnection({self.where})"

    def run(
        self,
        command: Command,
        *,
        limit: int = OUTPUT_LIMIT,
        on_stdout: Callable[[bytes], None] | None = None,
        source: Iterable[bytes] | None = None,
    ) -> Result:
        """Run a command that changes nothing but our own staging; see `Connection.run`.

        `source` is iterated in a helper thread, `on_stdout` is called in the caller's. A status of None also stands
        for a command that a signal ended: SSH reports both alike.

        Raises:
            Transient: the connection is gone before the start, or the command's timeout passed.
            PreconditionFailed: sudo or runuser is missing or does not permit it.
            BadInput: both `source` and `command.stdin` are given, or the command line is too long.
        """
        if source is not None and command.stdin is not None:
            raise BadInput("a command was given two inputs.", self.where, "Report this as a bug.")
        if command.stdin is not None:
            source = (command.stdin,)
        before = elevate.prefix(self.host, self.host.user, elevate.runs_as(self.host, command))
        result = execute(
            self._transport,
            shlex.join([raw(word) for word in elevate.words(self.host, command, self.host.user, self.tools)]),
            command.shown(),
            timeout=command.timeout,
            limit=limit,
            stdin=source,
            on_stdout=on_stdout,
            where=self.where,
        )
        if elevate.suspicious(result, before):
            self._demand(before)
        return result

    def _demand(self, before: tuple[str, ...]) -> None:
        """Raise when the host does not grant the rights of a prefix; a failure behind it is the command's own."""
        # A host whose `env`, sh or `true` is damaged has not taken our rights away: one program that runs is enough.
        line = " || ".join(
            f"LC_ALL=C {shlex.join([*before, *words])}" for words in (("true",), ("bash", "-c", ":"))
        )
        answer = execute(self._transport, line, line, timeout=20.0, limit=4096, where=self.where)
        if answer.status:
            raise elevate.denied(self.host, before, answer, self.where)

    def read_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        """A small file's content, as root where the plan says sudo.

        Raises:
            PreconditionFailed: it is absent, no file, larger than `limit` bytes, or not readable.
            Transient: the connection was lost.
        """
        result = self.run(scripts.script(scripts.READ, path, str(limit + 1)), limit=limit + 1)
        problem = {44: "is not there", 45: "is not a regular file"}.get(result.status or 0)
        if result.ok and len(result.stdout) > limit:
            problem = f"is larger than {limit} bytes"
        if problem:
            raise PreconditionFailed(
                f"{path} {problem}.", self.where, "Correct the path in the plan, or the host."
            )
        return scripts.explain(result, f"read {path}", self.where, path).stdout

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Write a small file below the state directory atomically (temporary name, fsync, rename).

        Raises:
            BadInput: the path is not below the state directory.
            PreconditionFailed: the host refuses it: full disk, permissions, sudo.
            Transient: the connection was lost; the file is the old one or the new one.
        """
        if not path.startswith(f"{self.host.state_dir.rstrip('/')}/") or "/../" in f"{path}/":
            raise BadInput(
                f"{path} is not below the state directory {self.host.state_dir}.",
                self.where,
                "Changes elsewhere on a host are named jobs; report this as a bug.",
            )
        command = scripts.script(scripts.WRITE, path, str(len(data)), f"{mode:o}", stdin=data)
        scripts.explain(self.run(command), f"write {path}", self.where, path)

    def identity(self) -> Identity:
        """Read the identity facts from the host.

        Raises:
            PreconditionFailed: the machine-id file is missing or unreadable.
            Transient: the connection was lost.
        """
        return identity.read(self)

    def job(
        self, name: str, command: Command, token: int, on_wait: Callable[[float], None] | None = None
    ) -> Result:
        """Run a named effect exactly once, detached; see `Connection.job` and `blocks.hosts.jobs`.

        Raises:
            JobLost: it was started and ended without a result.
            Refused: fenced by a newer token.
            Transient: the connection was lost, `command.timeout` passed, or a job of an older token still runs; the
                same call continues.
            PreconditionFailed: the host could not keep the job: full disk, permissions, sudo.
        """
        return jobs.job(self, name, command, token, on_wait)

    def tunnel(self, address: str, port: int) -> AbstractContextManager[int]:
        """A local TCP port forwarded to `address:port` as seen from the host, for the time of the context.

        Raises:
            Transient: nothing answers there.
            PreconditionFailed: the SSH server does not forward.
        """
        return tunnel.tunnel(self._transport, address, port, self.where)

    def send_files(self, folder: str, files: Iterable[sftp.Sent]) -> int:
        """Make a new folder with files by SFTP, as the login; see `Connection.send_files`.

        Raises:
            Transient: the connection was lost. PreconditionFailed: the host refuses it, or has no SFTP.
        """
        return sftp.send(self._transport, folder, files, self.where)

    def remove_files(self, folder: str) -> None:
        """Remove a folder made by `send_files`.

        Raises:
            Transient: the connection was lost. PreconditionFailed: the host refuses it.
        """
        sftp.remove(self._transport, folder, self.where)

    def fetch_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        """A file's content by SFTP, as the login; see `Connection.fetch_file`.

        Raises:
            PreconditionFailed: absent, larger than `limit`, or the login may not read it.
            Transient: the connection was lost.
        """
        return sftp.fetch(self._transport, path, limit, self.where)

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
