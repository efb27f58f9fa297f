"""What recovery points recorded of their tables: a backup with no or far fewer rows than before is none (G11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from blocks.backups.base import BackupStore
from model.errors import Damaged, PreconditionFailed, Refused
from model.manifest import Manifest, RecoveryPoint, TableCount

TRAILING = 5
"""Older recovery points whose row counts are the measure."""
KEPT = 0.1
"""Less than this part of the trailing median: most of the rows were gone when the backup was taken."""
FEW = 10
"""Databases with so few rows may lose all of them lawfully."""


def total(tables: Sequence[TableCount]) -> int:
    """Rows of all tables."""
    return sum(count.rows for count in tables)


def refuse_loss(store: BackupStore, name: str, tables: Sequence[TableCount], where: str) -> None:
    """An empty backup is not a backup.

    Raises:
        PreconditionFailed: there is no table. Damaged: all rows are gone, and the newest point has some.
    """
    if not tables:
        raise PreconditionFailed(
            "the database has no tables: an empty backup is not a backup.", where,
            "check `database` or `path` in the plan",
        )  # fmt: skip
    if total(tables):
        return
    for point in store.points(name)[:1]:
        before = total(store.manifest(point).tables)
        if before:
            raise Damaged(
                f"no table has a row any more; recovery point {point.id} has {before}. No backup was made of it.",
                where,
                "run a recovery for this database; older recovery points are kept",
            )


def refuse_shrunk(store: BackupStore, point: RecoveryPoint, manifest: Manifest) -> None:
    """A point that lost most rows was taken after the damage.

    Raises:
        Refused: it holds no row, or less than a tenth of what the points before it held.
    """
    where = f"{store.name}:{point.key}"
    rows = total(manifest.tables)
    if not manifest.tables or not rows:
        raise Refused(
            f"recovery point {point.id} holds no row: an empty dump restores nothing.", where,
            "choose an older recovery point",
        )  # fmt: skip
    older = [one for one in store.points(point.asset) if one.id < point.id][:TRAILING]
    counts = []
    for one in older:
        try:
            counts.append(total(store.manifest(one).tables))
        except Damaged:
            continue
    usual = median(counts) if counts else 0
    if usual > FEW and rows < KEPT * usual:
        raise Refused(
            f"recovery point {point.id} holds {rows} rows, the {len(counts)} before it {usual:.0f} (median): it was "
            "taken after most of them were gone.",
            where,
            "choose an older recovery point",
        )


def first_difference(wanted: Sequence[TableCount], rows: Mapping[str, int], sums: Mapping[str, str]) -> str:
    """Where restored tables are not what was recorded, in one sentence; empty when they are.

    Args:
        wanted: what the manifest says.
        rows: rows by table, as restored.
        sums: checksums by table, as restored; compared where the manifest has one.
    """
    recorded = {count.table: count for count in wanted}
    for table in sorted({*recorded, *rows}):
        count = recorded.get(table)
        if count is None or rows.get(table) != count.rows:
            return (
                f"table {table} has {rows.get(table, 'no')} rows after loading, the manifest says "
                f"{count.rows if count else 'none'}"
            )
        if count.checksum and sums.get(table) != count.checksum:
            return f"table {table} has its {count.rows} rows, and another checksum than when it was backed up"
    return ""
