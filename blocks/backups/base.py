"""The seam to a backup source: recovery points, manifests and how a host or the orchestrator gets at the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from model.manifest import Manifest, RecoveryPoint


class BackupStore(Protocol):
    """Recovery points of assets. Objects: `ASSET/POINT/archive.tar` or `dump`, and `ASSET/POINT/manifest.json`."""

    name: str

    def points(self, asset: str) -> list[RecoveryPoint]:
        """Recovery points of an asset, newest first; only those with a manifest that verifies.

        Raises:
            Transient: the store cannot be reached.
        """
        ...

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """The verified manifest of a point.

        Raises:
            Damaged: missing, signature wrong, or not the hash the point names.
        """
        ...

    def put(
        self, key: str, chunks: Iterable[bytes], progress: Callable[[int], None] | None = None
    ) -> tuple[str, int]:
        """Store an object from chunks; returns (sha256, bytes) of what was sent, read back and compared."""
        ...

    def publish(self, manifest: Manifest) -> RecoveryPoint:
        """Sign and store the manifest; the point exists from now on."""
        ...

    def presign(self, key: str, seconds: int) -> str | None:
        """A URL from which a host can GET the object with ranges; None when this store has none."""
        ...

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes, in chunks of at most 1 MiB."""
        ...
