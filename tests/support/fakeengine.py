"""A backup tool that keeps folders on this machine and can be made to misbehave in every way a real one does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from blocks.backups.engine import Progress, Snapshot
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.errors import Damaged, Refused
from model.manifest import Entry, FileType, Manifest, ManifestFormat


@dataclass
class FakeEngine:
    """A FileEngine over folders.

    Attributes:
        root: holds a folder per snapshot.
        id: of the repository.
        held: snapshots as the tool lists them.
        too_old: the tool's version is below the floor.
        corrupt: snapshots whose bytes are damaged, which only `verify` and `fetch` notice.
        host: name the tool records.
    """

    root: Path
    id: str = "repository-1"
    held: dict[str, Snapshot] = field(default_factory=dict)
    too_old: bool = False
    corrupt: set[str] = field(default_factory=set)
    host: str = ""
    verified: list[str] = field(default_factory=list)
    kind: str = "tree"
    format: ManifestFormat = "tree"

    def tool(self, connection: Connection) -> str:
        if self.too_old:
            raise Refused("fake 0.1 is below 0.2, the oldest safe version.", connection.name, "install 0.2")
        return "0.2"

    def repository(self, connection: Connection) -> str:
        return self.id

    def snapshots(self, connection: Connection) -> list[Snapshot]:
        return sorted(self.held.values(), key=lambda one: one.taken_at, reverse=True)

    def back_up(
        self, connection: Connection, asset: FilesAsset, label: str, *_more: object
    ) -> Snapshot:  # its arguments after the label differ between versions of the seam
        del connection
        return self.take(asset.path, label.replace("/", "."))

    def take(self, path: str, name: str, taken_at: datetime | None = None) -> Snapshot:
        """As the users' own cron does."""
        shutil.copytree(path, self.root / name / path.lstrip("/"), symlinks=True)
        made = Snapshot(
            id=name, taken_at=taken_at or datetime.now(UTC), host=self.host, paths=(path,), bytes=1000
        )
        self.held[name] = made
        return made

    def verify(
        self, connection: Connection, manifest: Manifest, progress: Progress, *, content: bool = True
    ) -> None:
        del connection, progress, content
        self.verified.append(manifest.snapshot)
        if manifest.snapshot in self.corrupt or manifest.snapshot not in self.held:
            raise Damaged("a file in it cannot be read.", manifest.snapshot)

    def fetch(
        self,
        connection: Connection,
        manifest: Manifest,
        files: Mapping[str, Entry],
        folder: str,
        progress: Progress,
    ) -> int:
        del connection, progress
        for name, entry in files.items():
            source = self.root / manifest.snapshot / manifest.root.lstrip("/") / entry.path
            shutil.copyfile(source, Path(folder) / name)
        return sum(entry.size for entry in files.values() if entry.type is FileType.FILE)

    def described(self, connection: Connection, snapshot: Snapshot) -> Snapshot:
        del connection
        return snapshot

    def unpack(
        self, connection: Connection, snapshot: Snapshot, path: str, folder: str, progress: Progress
    ) -> str:
        del connection, progress
        source = self.root / snapshot.id / path.lstrip("/")
        if not source.is_dir():
            raise Damaged(f"it does not hold {path}.", snapshot.id)
        shutil.copytree(source, f"{folder}{path}", symlinks=True)
        return f"{folder}{path}"
