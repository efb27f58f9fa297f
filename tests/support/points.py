"""Recovery points of any age: clones of one that was really taken, altered as a test says."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from blocks.backups import signed
from blocks.backups.directory import DirectoryBackup
from blocks.home import open_store, signing_key
from blocks.keys import SigningKey
from blocks.ledger import Ledger
from model.canonical import now
from model.manifest import Entry, Manifest, RecoveryPoint, TableCount
from tasks.backup_files import point_id
from tasks.recovery_points import ledger_of
from tasks.work import load_plan
from tests.support.wrongworld import SmallWorld

MACHINE = "0123456789abcdef0123456789abcdef"


def store_of(world: SmallWorld) -> DirectoryBackup:
    """The small world's own store."""
    return DirectoryBackup("disk", world.folder / "backups", signing_key())


def ledger(world: SmallWorld) -> Ledger:
    return ledger_of(load_plan(str(world.plan_file)).plan, open_store())


def only_clones(world: SmallWorld, *ages: float, **updates: Any) -> list[RecoveryPoint]:  # noqa: ANN401
    """Replace the one real point by clones of these ages (hours), oldest first in the ledger; newest last returned."""
    store = store_of(world)
    (real,) = store.points("files")
    manifest = store.manifest(real)
    data = b"".join(store.read(real.key))
    shutil.rmtree(store.root / "files" / real.id)
    book = ledger(world)
    book.begin("files", [])
    return [clone(store, book, manifest, data, age, **updates) for age in sorted(ages, reverse=True)]


def clone(
    store: DirectoryBackup,
    book: Ledger | None,
    manifest: Manifest,
    data: bytes,
    age: float,
    **updates: Any,  # noqa: ANN401
) -> RecoveryPoint:
    """A point that is `age` hours old."""
    taken = now() - timedelta(hours=age)
    key = f"{manifest.asset}/{point_id(taken)}/archive.tar"
    sha256, size = store.put(key, [data])
    made = manifest.model_copy(
        update={
            "point": point_id(taken), "taken_at": taken, "object_key": key, "object_sha256": sha256,
            "object_bytes": size, **updates,
        }
    )  # fmt: skip
    point = store.publish(made)
    if book is not None:
        book.record(point, made)
    return point


def dump(
    store: DirectoryBackup,
    taken: datetime,
    rows: Sequence[int],
    *,
    machine_id: str = MACHINE,
    asset: str = "it",
) -> tuple[RecoveryPoint, Manifest]:
    """A recovery point of a database with these rows per table."""
    key = f"{asset}/{point_id(taken)}/dump"
    sha256, size = store.put(key, [b"PGDMP" + bytes(sum(rows) % 250)])
    manifest = Manifest(
        asset=asset, point=point_id(taken), format="pg_dump-custom", host="web-1", machine_id=machine_id,
        taken_at=taken, object_key=key, object_sha256=sha256, object_bytes=size,
        tables=tuple(TableCount(table=f"public.t{n}", rows=count) for n, count in enumerate(rows)),
    )  # fmt: skip
    return store.publish(manifest), manifest


def rewrite(store: DirectoryBackup, point: RecoveryPoint, signing: SigningKey, **updates: Any) -> None:  # noqa: ANN401
    """Replace a manifest by another one that is signed rightly."""
    manifest = store.manifest(point).model_copy(update=updates)
    path: Path = store.root / signed.manifest_key(point.key)
    path.write_bytes(signed.seal(manifest, signing))


def without(entries: tuple[Entry, ...], name: str) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.path != name)
