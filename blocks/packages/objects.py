"""The files of a package store in a folder of the orchestrator, and the seam a bucket implements as well."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from blocks import durable
from model.errors import BadInput, Damaged
from model.shelf import below

CHUNK = 1 << 20
MISSING = "put it there again, and sign the store's index with `reinstate packages index`"


def checked(filename: str, where: str) -> str:
    """The name, when it stays inside the store.

    Raises:
        BadInput: it does not.
    """
    try:
        return below(filename)
    except ValueError as error:
        raise BadInput(f"{error}.", where, "find out who made this index; nothing was changed") from None


class Objects(Protocol):
    """Files by name."""

    name: str

    def read(self, filename: str) -> Iterator[bytes]:
        """A file's bytes.

        Raises:
            Damaged: it is not there. Transient, PreconditionFailed: the store does not answer or refuses.
        """
        ...

    def exists(self, filename: str) -> bool:
        """Whether there is such a file."""
        ...

    def put(self, filename: str, chunks: Iterable[bytes]) -> None:
        """Store a file; it appears whole or not at all, and replaces one of that name."""
        ...

    def presign(self, filename: str, seconds: int) -> str | None:
        """A URL from which a host can fetch the file; None when this store has none."""
        ...

    def where(self, filename: str = "") -> str:
        """The file, for people."""
        ...


class FolderObjects:
    """Files of a folder.

    Args:
        name: of the store.
        root: the folder.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def read(self, filename: str) -> Iterator[bytes]:
        """A file's bytes."""
        try:
            with durable.explained(self._path(filename)), self._path(filename).open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise Damaged("the file is not in the package store.", self.where(filename), MISSING) from None

    def exists(self, filename: str) -> bool:
        """Whether there is such a file."""
        return self._path(filename).is_file()

    def put(self, filename: str, chunks: Iterable[bytes]) -> None:
        """Store a file, flushed."""
        path = self._path(filename)
        durable.make_folder(self.root)
        part = path.with_name(f".{path.name}.part-{os.getpid()}")
        try:
            with durable.explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with part.open("wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
                durable.flush(path.parent)
        finally:
            part.unlink(missing_ok=True)

    def presign(self, filename: str, seconds: int) -> str | None:  # noqa: ARG002 - a folder has no URLs
        """None: a folder has no URLs."""
        return None

    def where(self, filename: str = "") -> str:
        """The file, for people."""
        return f"{self.name}:{self.root / filename}" if filename else f"{self.name}:{self.root}"

    def _path(self, filename: str) -> Path:
        return self.root / checked(filename, self.name)
