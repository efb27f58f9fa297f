"""Our folder on the host for the bytes of one effect, and how plain questions are asked there.

Nothing here changes the host outside `STATE_DIR/staging`; changes are jobs, made by the performers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.hosts.base import OUTPUT_LIMIT, Connection
from checks.stat import collect
from model.command import Command, Result
from model.errors import Damaged, PreconditionFailed, Transient

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""

PLAIN = {"LC_ALL": "C"}
"""Environment of tools whose words we read."""

CHUNK = 1 << 18
_MAKE = 'umask 077; mkdir -p -- "$1"'
_PUT = 'umask 077; cat >"$1"'


def ask(
    connection: Connection,
    *argv: str,
    stdin: bytes | None = None,
    timeout: float = 120.0,
    limit: int = OUTPUT_LIMIT,
    on_stdout: Callable[[bytes], None] | None = None,
    source: Iterable[bytes] | None = None,
) -> Result:
    """Run a command that changes nothing but our staging.

    Raises:
        Transient: the connection was lost before it ended.
    """
    command = Command(argv, stdin=stdin, sudo=True, env=PLAIN, timeout=timeout)
    result = connection.run(command, limit=limit, on_stdout=on_stdout, source=source)
    if result.status is None:
        raise Transient(f"the connection was lost during `{argv[0]}`.", connection.name, "run it again")
    return result


def chunks(
    path: Path, progress: Progress | None = None, hasher: hashlib._Hash | None = None
) -> Iterator[bytes]:
    """A local file in pieces, told to `progress` and fed to `hasher`."""
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if hasher is not None:
                hasher.update(chunk)
            done += len(chunk)
            yield chunk
            if progress is not None:
                progress(done, total)


def sha256_of(path: Path) -> str:
    """SHA-256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Staging:
    """A private folder below the host's state directory.

    Attributes:
        path: absolute, mode 700.
    """

    connection: Connection
    path: str

    def folder(self, name: str) -> str:
        """Make a folder inside and return its path.

        Raises:
            PreconditionFailed: the host's disk is full or read-only.
        """
        path = f"{self.path}/{name}"
        self._require(ask(self.connection, "sh", "-c", _MAKE, "reinstate-stage", path), path)
        return path

    def push(self, source: Path, name: str, sha256: str, progress: Progress) -> str:
        """Copy a local file there and have the host hash it.

        Returns:
            Its path on the host.

        Raises:
            PreconditionFailed: the host cannot write it; nothing live was touched.
            Damaged: what arrived is not what was sent.
        """
        path = f"{self.path}/{name}"
        sent = ask(
            self.connection, "sh", "-c", _PUT, "reinstate-stage", path, source=chunks(source, progress), timeout=7200.0
        )  # fmt: skip
        self._require(sent, path)
        self.verify(path, sha256)
        return path

    def verify(self, path: str, sha256: str) -> None:
        """Have the host hash a staged file.

        Raises:
            Damaged: it is not the file that was signed for.
        """
        found = collect(self.connection, [path])[path].sha256
        if found != sha256:
            raise Damaged(
                f"{path.rpartition('/')[2]} has SHA-256 {found or 'none'}, signed was {sha256}.",
                self.connection.name,
                "nothing live was touched; find out who changed the package source, then propose again",
            )

    def remove(self) -> None:
        """Give the space back; what is left over is harmless."""
        ask(self.connection, "rm", "-rf", "--", self.path)

    def _require(self, result: Result, path: str) -> None:
        if not result.ok:
            raise PreconditionFailed(
                f"{path} cannot be written: {result.tail(2)}.",
                self.connection.name,
                "free space in the state directory; nothing live was touched",
            )


@contextmanager
def staging(connection: Connection, job_prefix: str, token: int) -> Iterator[Staging]:
    """The staging folder of an effect; kept when the effect may go on (`Transient`), removed otherwise.

    The token is in the name: a fenced-out predecessor that still writes cannot reach ours (G3).
    """
    place = Staging(connection, f"{connection.host.state_dir.rstrip('/')}/staging/{job_prefix}-{token}")
    place.folder("")
    keep = False
    try:
        yield place
    except Transient:
        keep = True
        raise
    finally:
        if not keep:
            place.remove()
