"""Our folder on the host for the bytes of one effect, and how plain questions are asked there.

Nothing here changes the host outside `STATE_DIR/staging`; changes are jobs, made by the performers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
_HOLES = r"""
cd -- "$1" || exit 73
while IFS= read -r name; do
    fallocate --dig-holes -- "$name" 2>/dev/null && continue
    cp -a --sparse=always -- "$name" "$name.holes" && mv -fT -- "$name.holes" "$name" || exit 1
done
"""
_ROOM = 'stat -f -c "%a %S" -- "$1" && du -sk -- "$1" | cut -f 1 || :'
# Our folder is PREFIX-TOKEN: those of the same effect with another token are a dead predecessor's.
_PREDECESSORS = r"""
ours=$1 prefix=${1%-*}
older() {
    case ${1#"$prefix"-} in "" | *[!0-9]*) return 1 ;; esac
    [ "$1" != "$ours" ] && [ -d "$1" ] && [ ! -L "$1" ]
}
"""
# What a dead predecessor of ours had staged is taken over, as copies: it may still write there.
_OPEN = (
    _PREDECESSORS
    + r"""
umask 077
mkdir -p -- "$ours" || exit 1
if [ -z "$(ls -A -- "$ours")" ]; then
    for each in "$prefix"-*; do
        if older "$each"; then cp -R --reflink=auto --sparse=auto -- "$each/." "$ours/" || exit 1; fi
    done
    [ -n "$(ls -A -- "$ours")" ] || echo fresh
fi
"""
)
_FORGET = (
    _PREDECESSORS
    + r"""
rm -rf -- "$ours"
for each in "$prefix"-*; do if older "$each"; then rm -rf -- "$each"; fi; done
"""
)
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
        fresh: nothing was in it when it was opened.
        room: bytes that fit in, with what was staged already; None where the host has no `stat` or `du`.
    """

    connection: Connection
    path: str
    fresh: bool = False
    room: int | None = None

    def folder(self, name: str) -> str:
        """Make a folder inside and return its path.

        Raises:
            PreconditionFailed: the host's disk is full or read-only.
        """
        path = f"{self.path}/{name}"
        self.require(ask(self.connection, "sh", "-c", _MAKE, "reinstate-stage", path), path)
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
        self.require(sent, path)
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

    def make_holes(self, names: Iterable[str]) -> None:
        """Give staged files holes where their content is zero, as the files had that they restore.

        Raises:
            PreconditionFailed: the host cannot write it.
        """
        text = "".join(f"{name}\n" for name in names)
        if text:
            done = ask(
                self.connection, "sh", "-c", _HOLES, "reinstate-stage", self.path, stdin=text.encode(), timeout=7200.0
            )  # fmt: skip
            self.require(done, self.path)

    def require_room(self, size: int) -> None:
        """Refuse before the first byte what cannot fit; what is staged already counts as room.

        Raises:
            PreconditionFailed: the host's disk has not that much room.
        """
        if self.room is not None and self.room < size:
            raise PreconditionFailed(
                f"{size} bytes are needed in {self.path}, {self.room} are free.",
                self.connection.name,
                "free space there, or set `state_dir` to a larger disk; nothing live was touched",
            )

    def remove(self, *, predecessors: bool) -> None:
        """Give the space back; what is left over is harmless.

        Args:
            predecessors: theirs, too: no job of theirs is still on its way.
        """
        words = ("sh", "-c", _FORGET, "reinstate-stage") if predecessors else ("rm", "-rf", "--")
        ask(self.connection, *words, self.path)

    def require(self, result: Result, path: str) -> None:
        """Whatever was to write at the path did.

        Raises:
            PreconditionFailed: it did not.
        """
        if not result.ok:
            raise PreconditionFailed(
                f"{path} cannot be written: {result.tail(2)}.",
                self.connection.name,
                "free space in the state directory; nothing live was touched",
            )


@contextmanager
def staging(
    connection: Connection, job_prefix: str, token: int, *, beside: bool = False
) -> Iterator[Staging]:
    """The staging folder of an effect; kept when the effect may go on (`Transient`), removed otherwise.

    What a predecessor staged under another token goes on from there.

    The token is in the name: a fenced-out predecessor that still writes cannot reach ours (G3).

    Args:
        connection: the host.
        job_prefix: of the effect's jobs.
        token: our fencing token.
        beside: `job_prefix` is a path outside of the state directory, on the file system of what is restored.
    """
    folder = "" if beside else f"{connection.host.state_dir.rstrip('/')}/staging/"
    place = Staging(connection, f"{folder}{job_prefix}-{token}")
    opened = ask(connection, "sh", "-c", _OPEN + _ROOM, "reinstate-stage", place.path, timeout=7200.0)
    place.require(opened, place.path)
    words = opened.text.split()
    numbers = [int(word) for word in words if word.isdigit()]
    room = numbers[0] * numbers[1] + numbers[2] * 1024 if len(numbers) == 3 else None
    place = replace(place, fresh=words[:1] == ["fresh"], room=room)
    try:
        yield place
    except Transient:
        raise
    except BaseException:
        place.remove(predecessors=False)
        raise
    place.remove(predecessors=True)
