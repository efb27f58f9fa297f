"""Trying a recovery point before it is proposed: is it there, is it what was backed up, is it clean. Read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from blocks.backups.base import BackupStore
from blocks.backups.engine import FileEngine
from blocks.hosts.base import Connection
from blocks.ledger import Verdicts
from checks.point_facts import Knowledge, Looked
from model.canonical import now
from model.command import printable
from model.errors import Damaged, PreconditionFailed
from model.manifest import FILE_FORMATS, FileType, Manifest, RecoveryPoint
from model.points import Judgement, PointRule, Proof, Why

SAMPLED_FILES = 16
SAMPLED_BYTES = 64 << 20


def there(store: BackupStore, manifest: Manifest) -> None:
    """See that the object of a point is there in its whole length.

    Raises:
        Damaged: it is missing or too short.
    """
    if manifest.object_bytes:
        for _ in store.read(manifest.object_key, manifest.object_bytes - 1, 1):
            pass


def trials(
    store: BackupStore, engine: FileEngine | None, connection: Connection | None, point: RecoveryPoint,
    manifest: Manifest, known: Knowledge, verdicts: Verdicts, judgement: Judgement, found: Looked,
) -> Iterator[Proof]:  # fmt: skip
    """What the plan wants to be tried before a point is proposed, as far as it was not tried before."""
    if not judgement.says(Why.PROVEN):
        proof = _trial(store, engine, connection, point, manifest, known.rule)
        if proof is not None:
            yield proof
    scanned = any(
        (p.point, p.manifest_sha256, p.how) == (point.id, point.manifest_sha256, "scanned")
        for p in verdicts.proofs
    )
    if known.scanner is None or scanned:
        return
    if manifest.kept_by_tool:
        found.remarks.append(
            f"{point.asset}: {manifest.format} keeps the bytes, so no scanner looked at them"
        )
        return
    try:
        named = known.scanner.look(store.read(manifest.object_key))
    except PreconditionFailed as error:
        found.remarks.append(f"{point.asset}: no scanner looked at {point.id}: {error.what}")
        return
    yield Proof(
        point=point.id,
        manifest_sha256=point.manifest_sha256,
        at=now(),
        how="scanned",
        ok=not named,
        sentence=named,
    )


def _trial(
    store: BackupStore, engine: FileEngine | None, connection: Connection | None, point: RecoveryPoint,
    manifest: Manifest, rule: PointRule,
) -> Proof | None:  # fmt: skip
    """Read the point as the plan says; None when it says that seeing it there is enough."""
    sampled = rule.verify == "sampled" and manifest.format in FILE_FORMATS
    asked = engine is not None and connection is not None and not sampled
    if rule.verify == "listed" or (manifest.kept_by_tool and not asked):
        return None
    said, ok = "", True
    try:
        if engine is not None and connection is not None:
            engine.verify(connection, manifest, lambda _done, _total: None)
        elif sampled:
            _sample(store, manifest)
        else:
            _whole(store, manifest)
    except Damaged as error:
        said, ok = error.what.rstrip("."), False
    return Proof(
        point=point.id, manifest_sha256=point.manifest_sha256, at=now(), how="sampled" if sampled else "read", ok=ok,
        sentence=said,
    )  # fmt: skip


def _whole(store: BackupStore, manifest: Manifest) -> None:
    told, count = hashlib.sha256(), 0
    for chunk in store.read(manifest.object_key):
        told.update(chunk)
        count += len(chunk)
    if (told.hexdigest(), count) != (manifest.object_sha256, manifest.object_bytes):
        raise Damaged("its bytes are not what was backed up.", f"{store.name}:{manifest.object_key}")


def _sample(store: BackupStore, manifest: Manifest) -> None:
    """Read some files, spread by their hashes: nobody can know which, and each run of one point reads the same."""
    files = [e for e in manifest.entries if e.type is FileType.FILE and e.size and e.offset >= 0]
    spread = sorted(
        files,
        key=lambda e: hashlib.sha256(
            (manifest.point + e.path + e.sha256).encode("utf-8", "surrogateescape")
        ).digest(),
    )
    left = SAMPLED_BYTES
    for entry in spread[:SAMPLED_FILES]:
        if entry.size > left:
            continue
        left -= entry.size
        told = hashlib.sha256()
        for chunk in store.read(manifest.object_key, entry.offset, entry.size):
            told.update(chunk)
        if told.hexdigest() != entry.sha256:
            raise Damaged(
                f"{printable(entry.path)} in it is not what was backed up.",
                f"{store.name}:{manifest.object_key}",
            )
