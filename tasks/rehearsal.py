"""A connection whose jobs are plain commands: what is restored into a sandbox is begun anew, never gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Self

from blocks.hosts.base import OUTPUT_LIMIT, Connection, Identity
from blocks.hosts.sftp import Sent
from model.command import Command, Result
from model.errors import Transient


class Rehearsal:
    """Another connection whose jobs are plain commands, with no fence: they touch our own sandbox only.

    Args:
        connection: the host's own; still the caller's to close.
    """

    def __init__(self, connection: Connection) -> None:
        self._real = connection
        self.name, self.host, self.tools = connection.name, connection.host, connection.tools
        self.longest: float | None = None

    def job(
        self,
        name: str,
        command: Command,
        token: int,  # noqa: ARG002
        on_wait: Callable[[float], None] | None = None,  # noqa: ARG002
    ) -> Result:
        """Run it now, as `plainly` does."""
        return self.plainly(name, command)

    def plainly(self, name: str, command: Command) -> Result:
        """Run a named step.

        Raises:
            Transient: the connection was lost.
        """
        result = self._real.run(command)
        if result.status is None:
            raise Transient(f"the connection was lost during {name}.", self.name, "run it again")
        return result

    def run(
        self,
        command: Command,
        *,
        limit: int = OUTPUT_LIMIT,
        on_stdout: Callable[[bytes], None] | None = None,
        source: Iterable[bytes] | None = None,
    ) -> Result:
        """As the connection does."""
        return self._real.run(command, limit=limit, on_stdout=on_stdout, source=source)

    def read_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        """As the connection does."""
        return self._real.read_file(path, limit)

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """As the connection does."""
        self._real.write_file(path, data, mode)

    def identity(self) -> Identity:
        """As the connection does."""
        return self._real.identity()

    def tunnel(self, address: str, port: int) -> AbstractContextManager[int]:
        """As the connection does."""
        return self._real.tunnel(address, port)

    def send_files(self, folder: str, files: Iterable[Sent]) -> int:
        """As the connection does."""
        return self._real.send_files(folder, files)

    def remove_files(self, folder: str) -> None:
        """As the connection does."""
        self._real.remove_files(folder)

    def fetch_file(self, path: str, limit: int = OUTPUT_LIMIT) -> bytes:
        """As the connection does."""
        return self._real.fetch_file(path, limit)

    def close(self) -> None:
        """The connection is its owner's."""

    def __enter__(self) -> Self:
        """Nothing is opened."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is closed."""
