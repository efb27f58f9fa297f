"""The seam to tools that can lay a whole snapshot out again: what taking over a snapshot of the users' own needs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from blocks.backups.engine import FileEngine, Progress, Snapshot
from blocks.hosts.base import Connection
from model.errors import Unsupported


@runtime_checkable
class Unpacking(Protocol):
    """A FileEngine that can lay out a snapshot with its metadata."""

    def described(self, connection: Connection, snapshot: Snapshot) -> Snapshot:
        """The snapshot with everything the tool records of its origin; `snapshots` leaves out what is slow to ask."""
        ...

    def unpack(
        self, connection: Connection, snapshot: Snapshot, path: str, folder: str, progress: Progress
    ) -> str:
        """Bring all of a path in a snapshot, with mode, owner and times, below a folder.

        Args:
            connection: the host.
            snapshot: as `snapshots` listed it.
            path: absolute, on the host when the snapshot was taken.
            folder: absolute, there, empty and private to us; nothing else is written.
            progress: told (bytes done, bytes wanted).

        Returns:
            Where the path's content lies now; below the folder.

        Raises:
            Damaged: the snapshot is gone or cannot be read whole, or does not hold the path.
            PreconditionFailed: the host cannot write it. Transient: connection or repository broke off.
        """
        ...


def unpacking(engine: FileEngine, name: str) -> Unpacking:
    """The engine, when it can.

    Raises:
        Unsupported: it cannot.
    """
    if isinstance(engine, Unpacking):
        return engine
    raise Unsupported(
        f"snapshots of {engine.kind} cannot be taken over yet.",
        name,
        "take a recovery point with `reinstate back-up`; it needs no snapshot of your own",
    )
