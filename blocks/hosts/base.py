"""The seam between Reinstate and a host: what a connection offers. One implementation per protocol, one suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol, Self

from blocks.hosts.sftp import Sent
from model.canonical import Value
from model.command import Command, Result
from model.errors import Transient
from model.host import Host

OUTPUT_LIMIT = 8 << 20
"""Default cap of kept output in bytes, per stream; the rest is read and dropped (`Result.truncated`)."""


class Identity(Value):
    """The facts that prove which host this is (G7).

    Attributes:
        machine_id: content of the machine-id file.
        host_key: type and base64 key the server proved it holds; already equal to the plan's, or no connection.
        role: content of `STATE_DIR/role` (`production` or `staging`); empty when the file is not there.
    """

    machine_id: str
    host_key: str
    role: str


class JobLost(Transient):
    """A job was started and its process is gone without a result (reboot, kill): probe, then a new attempt."""

    code = "JOB_LOST"


class Connection(Protocol):
    """An open connection to one host. Not shared between tasks or threads.

    All paths are absolute. Methods raise `Transient` when the connection is lost, `PreconditionFailed` when the
    host refuses (sudo, permissions, disk full: the message says which and what to do).

    Attributes:
        name: the host's name in the plan.
        host: how the plan describes it.
        tools: folder of lent tools on the host that are used before its own; empty: none.
        longest: seconds a job may run; the host stops it then. None: as long as it takes.
    """

    name: str
    host: Host
    tools: str
    longest: float | None

    def run(
        self,
        command: Command,
        *,
        limit: int = OUTPUT_LIMIT,
        on_stdout: Callable[[bytes], None] | None = None,
        source: Iterable[bytes] | None = None,
    ) -> Result:
        """Run a command that changes nothing but our own staging, draining both streams, within its timeout.

        Args:
            command: what to run; `sudo` and `user` are honoured.
            limit: bytes kept of each stream.
            on_stdout: receives stdout chunk by chunk instead of `Result.stdout` (downloads; never capped).
            source: chunks written to stdin (uploads); excludes `command.stdin`.

        Returns:
            The result; a non-zero status is not an error here. `status` None: connection lost, outcome unknown.
        """
        ...

    def read_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        """A small file's content, as root where the plan says sudo. Raises PreconditionFailed when absent or larger."""
        ...

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Write a small file below the state directory atomically (temporary name, fsync, rename)."""
        ...

    def identity(self) -> Identity:
        """Read the identity facts from the host."""
        ...

    def job(
        self, name: str, command: Command, token: int, on_wait: Callable[[float], None] | None = None
    ) -> Result:
        """Run a named effect once, detached; its result survives the connection and is read by the next (G2, G3, N6).

        The first call starts it, unless the host's fence holds a newer token than `token` (Refused). A later call
        with the same name waits for the running process or returns the stored result; it never starts it twice.
        Each start appends one line `TIME TOKEN NAME` to `STATE_DIR/trace`.

        Args:
            name: `[a-z0-9-]+`, unique for ever on that host.
            command: what to run; stdin is stored on the host with mode 600 for the time of the job.
            token: our fencing token.
            on_wait: called about once a second with the seconds since start.

        Raises:
            JobLost: it was started and ended without a result.
            PreconditionFailed: it ran longer than `longest` and was stopped.
            Refused: fenced by a newer token.
            Transient: the connection was lost, `command.timeout` passed while it runs, or a job of another token still
                runs (nothing was started); the same call goes on from there.
        """
        ...

    def tunnel(self, address: str, port: int) -> AbstractContextManager[int]:
        """A local TCP port forwarded to `address:port` as seen from the host, for the time of the context."""
        ...

    def send_files(self, folder: str, files: Iterable[Sent]) -> int:
        """Make a folder that is not there yet, with files; no program of the host is needed but its SFTP server.

        Returns:
            Bytes sent.
        """
        ...

    def remove_files(self, folder: str) -> None:
        """Remove a folder made by `send_files`, the same way."""
        ...

    def fetch_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        """A file's content the same way, as the login; PreconditionFailed when absent, larger or not readable."""
        ...

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
