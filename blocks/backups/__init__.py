"""Where recovery points live.

base (the seam) · directory · s3 (s3objects: objects of any kind, s3client: client and errors, multipart: streams,
s3block: Prefect block) · signed (manifests) · engine (the seam to tools that run on the host) and one file per tool ·
pgbackrest (clusters)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.backups.base import BackupStore
from blocks.backups.borg import BorgEngine
from blocks.backups.directory import DirectoryBackup
from blocks.backups.engine import EngineStore, FileEngine, engine_of
from blocks.backups.pgbackrest import PgBackRest, PgBackRestStore
from blocks.backups.restic import ResticEngine
from blocks.backups.tree import TreeEngine
from model.backup_sources import (
    BackupSource,
    BorgSource,
    DirectorySource,
    EngineSource,
    PgBackRestSource,
    ResticSource,
    S3Source,
    S3TreeSource,
    ToolSource,
    TreeSource,
)
from model.errors import Unsupported
from model.manifest import RecoveryPoint

if TYPE_CHECKING:
    from blocks.backups.s3objects import Resolver
    from blocks.keys import SigningKey

__all__ = ["BackupStore", "open_backup_store", "open_backup_stores", "protection"]


def open_backup_stores(
    plan: str,
    sources: Mapping[str, BackupSource],
    secrets: Resolver,
    signing: SigningKey,
    base: Path,
    home: Path,
) -> dict[str, BackupStore]:
    """Open the backup sources of a plan; nothing is contacted yet.

    Args:
        plan: its name.
        sources: its `backups`.
        secrets: resolver of its secret references.
        signing: key that signs and verifies manifests.
        base: the plan's folder, where a relative directory begins.
        home: the folder of this installation, where manifests lie that no source keeps.
    """
    plain: dict[str, BackupStore] = {
        name: open_backup_store(name, source, secrets, signing, base)
        for name, source in sources.items()
        if not isinstance(source, EngineSource)
    }
    opened: dict[str, BackupStore] = {}
    for name, source in sources.items():
        if not isinstance(source, EngineSource):
            opened[name] = plain[name]
            continue
        kept = (
            plain[source.manifests]
            if source.manifests
            else DirectoryBackup(name, home / "manifests" / plan / name, signing)
        )
        opened[name] = open_tool(name, source, kept, secrets)
    return opened


def open_backup_store(
    name: str, source: S3Source | DirectorySource, secrets: Resolver, signing: SigningKey, base: Path
) -> BackupStore:
    """Open a store of our own archives; nothing is contacted yet.

    Args:
        name: of the source in the plan.
        source: its settings.
        secrets: resolver of the plan's secret references.
        signing: key that signs and verifies manifests.
        base: the plan's folder, where a relative directory begins.
    """
    if isinstance(source, DirectorySource):
        return DirectoryBackup(name, (base / Path(source.path).expanduser()).absolute(), signing)
    from blocks.backups.s3 import S3Store  # boto3 takes a moment to import; a plan without S3 need not wait

    return S3Store.from_plan(name, source, secrets, signing)


def protection(store: BackupStore, point: RecoveryPoint) -> str:
    """How the store itself keeps a point from being read or removed; empty where it says nothing of that.

    Raises:
        Damaged: the point's object is not there. Transient, PreconditionFailed: the store cannot be asked.
    """
    if isinstance(store, DirectoryBackup | PgBackRestStore):
        return ""
    from blocks.backups.s3 import S3Store
    from blocks.backups.s3tree import S3TreeEngine

    if isinstance(store, S3Store):
        return store.protection(point)
    engine = engine_of(store)
    snapshot = store.manifest(point).snapshot
    return engine.protection(snapshot) if isinstance(engine, S3TreeEngine) else ""


def open_tool(name: str, source: ToolSource, catalogue: BackupStore, secrets: Resolver) -> BackupStore:
    """The store of a source that a tool on the host keeps.

    Args:
        name: of the source in the plan.
        source: its settings.
        catalogue: where its signed manifests are.
        secrets: resolver of the plan's secret references.
    """
    if isinstance(source, PgBackRestSource):
        return PgBackRestStore(name, catalogue, PgBackRest(name, source))
    return EngineStore(name, catalogue, open_engine(name, source, secrets))


def open_engine(name: str, source: ToolSource, secrets: Resolver) -> FileEngine:
    """The adapter of a backup tool.

    Args:
        name: of the source in the plan.
        source: its settings.
        secrets: resolver of the plan's secret references; followed when the tool is called.
    """
    match source:
        case ResticSource():
            return ResticEngine(name, source, secrets)
        case BorgSource():
            return BorgEngine(name, source, secrets)
        case TreeSource():
            return TreeEngine(name, source)
        case S3TreeSource():
            from blocks.backups.s3tree import S3TreeEngine  # boto3 takes a moment to import

            return S3TreeEngine(name, source, secrets)
        case _:
            raise Unsupported(f"sources of kind {source.kind} are not built yet.", name, "use another source")
