"""Where recovery points live.

base (the seam) · directory · s3 (s3objects: objects of any kind, s3client: client and errors, multipart: streams,
s3block: Prefect block) · signed (manifests)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blocks.backups.base import BackupStore
from blocks.backups.directory import DirectoryBackup
from model.plan import DirectorySource, S3Source

if TYPE_CHECKING:
    from blocks.backups.s3objects import Resolver
    from blocks.keys import SigningKey

__all__ = ["BackupStore", "open_backup_store"]


def open_backup_store(
    name: str, source: S3Source | DirectorySource, secrets: Resolver, signing: SigningKey, base: Path
) -> BackupStore:
    """Open a backup source of the plan; nothing is contacted yet.

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
