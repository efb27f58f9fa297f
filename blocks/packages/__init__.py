"""Where packages for repairs live: a folder or a bucket with .debs, .rpms and wheels, and one signed index.

store (PackageStore: index, files, publishing) · objects (folder or bucket) · debfile (what a .deb says and holds)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blocks.keys import Verifier
from blocks.packages.objects import FolderObjects, Objects
from blocks.packages.store import Memory, PackageStore
from model.plan import S3Packages

if TYPE_CHECKING:
    from blocks.backups.s3objects import Resolver
    from blocks.keys import SigningKey
    from model.plan import PackageSource

__all__ = ["PackageStore", "open_objects", "open_package_store"]


def open_objects(name: str, source: PackageSource, secrets: Resolver, base: Path) -> Objects:
    """The files of a package store; nothing is contacted yet."""
    if isinstance(source, S3Packages):
        from blocks.packages.bucket import BucketObjects  # boto3 takes a moment to import

        return BucketObjects.from_plan(name, source, secrets)
    return FolderObjects(name, (base / Path(source.path).expanduser()).absolute())


def open_package_store(
    name: str,
    plan: str,
    source: PackageSource,
    secrets: Resolver,
    own: SigningKey,
    base: Path,
    memory: Memory,
) -> PackageStore:
    """Open a package store of the plan.

    Args:
        name: of the store.
        plan: the plan's name; which index was seen last is remembered for each plan.
        source: its settings.
        secrets: resolver of the plan's secret references.
        own: this installation's key, trusted where the plan names no `keys`.
        base: the plan's folder, where relative paths begin.
        memory: keeps the newest index seen.

    Raises:
        PreconditionFailed: a key of the plan is not there. Damaged: it is no key.
    """
    trusted = [Verifier.load(base / Path(key).expanduser()) for key in source.keys] or [own.verifier]
    return PackageStore(
        name, open_objects(name, source, secrets, base), trusted, memory, f"package-stores/{plan}/{name}.json"
    )
