"""The seam to a backup tool that runs on the host (restic, borg …), and the store its recovery points are read from.

A tool's own word is not proof: it lists snapshots that are gone bad, and says 0 where nothing was restored. So the
signed manifest of each recovery point (SHA-256 of every file, taken from the live tree when it was backed up) lies
apart from the repository, in the store named by `manifests` of the source; what a tool fetches counts only once it
has the hash that manifest names (G5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import AwareDatetime, Field

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.canonical import HostText, Value, canonical_json
from model.errors import Unsupported
from model.manifest import Entry, Manifest, ManifestFormat, RecoveryPoint

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""

DESCRIPTOR = "snapshot.json"


class Snapshot(Value):
    """One backup as the tool's repository lists it.

    Attributes:
        id: the tool's own name for it; 64 hexadecimal digits where it has such.
        host: host name the tool recorded; empty when it records none.
        paths: what it holds; empty when the tool does not say.
        bytes: of the files in it; 0 when the tool does not say.
        error: the tool itself knows it is damaged.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,254}$")
    taken_at: AwareDatetime
    host: HostText = ""
    paths: tuple[HostText, ...] = ()
    bytes: int = Field(default=0, ge=0)
    error: bool = False


class FileEngine(Protocol):
    """A backup tool for file sets. All methods work on the host of the connection and change nothing live there.

    All raise `Transient` when connection or repository cannot be reached, and `PreconditionFailed` when the tool is
    missing, the repository locked, or the password wrong.

    Attributes:
        kind: as in the plan.
        format: of the manifests of its points.
    """

    kind: str
    format: ManifestFormat

    def tool(self, connection: Connection) -> str:
        """The tool's version on the host.

        Raises:
            Refused: below the safe floor; says why and which version is safe.
        """
        ...

    def repository(self, connection: Connection) -> str:
        """What tells this repository from every other: its own id. A replaced or re-made repository has another."""
        ...

    def snapshots(self, connection: Connection) -> list[Snapshot]:
        """All snapshots the repository holds now, newest first."""
        ...

    def back_up(
        self,
        connection: Connection,
        asset: FilesAsset,
        label: str,
        found: Mapping[str, Entry],
        left_out: Sequence[str],
        progress: Progress,
    ) -> Snapshot:
        """Take a snapshot of the asset's path.

        Args:
            connection: the host.
            asset: what to back up.
            label: `ASSET/POINT`, for people.
            found: what belongs to it, by absolute path.
            left_out: absolute paths below the asset's that do not; what lies below one of them is not named again.
            progress: told (bytes done, bytes in all).
        """
        ...

    def verify(
        self, connection: Connection, manifest: Manifest, progress: Progress, *, content: bool = True
    ) -> None:
        """Compare the manifest's snapshot with the manifest.

        Args:
            connection: the host.
            manifest: of the point.
            progress: told (bytes done, bytes in all).
            content: read and hash every byte of it; otherwise only what the tool's listing says is compared.

        Raises:
            Damaged: the snapshot is gone, or not what the manifest says; names what.
        """
        ...

    def fetch(
        self,
        connection: Connection,
        manifest: Manifest,
        files: Mapping[str, Entry],
        folder: str,
        progress: Progress,
    ) -> int:
        """Bring the content of single files into a folder of the host's staging, under the names given.

        Whatever the tool says, the caller hashes each of them.

        Args:
            connection: the host.
            manifest: of the point.
            files: name in the folder → entry of the manifest (a regular file).
            folder: absolute, there, private to us; nothing else is written.
            progress: told (bytes done, bytes wanted).

        Returns:
            Bytes moved to the host.

        Raises:
            Damaged: the snapshot is gone, or does not hold one of the files; names it.
        """
        ...


class ToolStore:
    """A BackupStore whose bytes a tool on the host keeps; manifests come from a store of ours.

    Args:
        name: of the source in the plan.
        catalogue: where the signed manifests are.
        kind: of the source, for messages.
    """

    def __init__(self, name: str, catalogue: BackupStore, kind: str) -> None:
        self.name = name
        self.catalogue = catalogue
        self.kind = kind

    def points(self, asset: str) -> list[RecoveryPoint]:
        """Recovery points of an asset, newest first, that have a manifest of ours."""
        return [point.model_copy(update={"source": self.name}) for point in self.catalogue.points(asset)]

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """The verified manifest of a point."""
        return self.catalogue.manifest(point)

    def record(self, manifest: Manifest, snapshot: Snapshot, repository: str) -> RecoveryPoint:
        """Sign and store the manifest of a snapshot; the point exists from now on.

        Args:
            manifest: with `object_key` and what belongs to it still open: they are set here.
            snapshot: what the tool made.
            repository: the repository's own id.
        """
        key = f"{manifest.asset}/{manifest.point}/{DESCRIPTOR}"
        sha256, size = self.catalogue.put(key, [canonical_json(snapshot)])
        return self.publish(
            manifest.model_copy(
                update={
                    "object_key": key, "object_sha256": sha256, "object_bytes": size,
                    "snapshot": snapshot.id, "repository": repository,
                }
            )
        )  # fmt: skip

    def put(
        self,
        key: str,
        chunks: Iterable[bytes],  # noqa: ARG002 - see the protocol
        progress: Callable[[int], None] | None = None,  # noqa: ARG002
    ) -> tuple[str, int]:
        """Not offered: the tool takes its backups itself."""
        raise self._unsupported(key)

    def publish(self, manifest: Manifest) -> RecoveryPoint:
        """Sign and store a manifest."""
        return self.catalogue.publish(manifest).model_copy(update={"source": self.name})

    def presign(self, key: str, seconds: int) -> str | None:  # noqa: ARG002 - see the protocol
        """None: the tool moves the bytes."""
        return None

    def read(
        self,
        key: str,
        offset: int = 0,  # noqa: ARG002 - see the protocol
        length: int | None = None,  # noqa: ARG002
    ) -> Iterator[bytes]:
        """Not offered: the tool moves the bytes."""
        raise self._unsupported(key)

    def _unsupported(self, key: str) -> Unsupported:
        return Unsupported(
            f"the bytes of this source are read and written by {self.kind} on the host.",
            f"{self.name}:{key}",
            "report this as a bug",
        )


class EngineStore(ToolStore):
    """A store of file sets that a tool on the host keeps.

    Args:
        name: of the source in the plan.
        catalogue: where the signed manifests are.
        engine: the tool.
    """

    def __init__(self, name: str, catalogue: BackupStore, engine: FileEngine) -> None:
        super().__init__(name, catalogue, engine.kind)
        self.engine: FileEngine = engine


def engine_of(store: BackupStore) -> FileEngine | None:
    """The tool that keeps a store's bytes; None when the store has them itself."""
    return store.engine if isinstance(store, EngineStore) else None
