"""The rungs of a PostgreSQL cluster kept by pgBackRest: page damage, and what people did by mistake. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from model.assets import PostgresAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.outcome import Stage
from model.proposal import RestoreCluster, Rung
from model.supplies import PointSupply


def cluster(
    draft: Draft, name: str, asset: PostgresAsset, wrong: Sequence[Finding], supply: PointSupply
) -> None:
    """Damaged pages: the whole cluster beside the live one, forward to the last transaction, then exchanged.

    What people deleted is no damage of pages: the end of the WAL would hold the same deletion.
    """
    pages = [finding for finding in wrong if not _deleted(finding)]
    for finding in wrong:
        if finding not in pages:
            draft.miss(
                finding,
                "no page is damaged, so the rows were deleted, and nobody said when",
                f"say the last moment at which all was well: `reinstate recover PLAN --mistake '{name}@2026-11-25T10:00:00Z'`",
            )
    if not pages or asset.data_directory is None:
        return
    own = [
        p.point
        for p in draft.supplies.points
        if p.asset == name
        and p.manifest.machine_id == supply.manifest.machine_id
        and p.manifest.format == "pgbackrest"
        and p.point.taken_at < supply.point.taken_at
    ]
    passed = " ".join(refusal.sentence for refusal in draft.supplies.refused if refusal.asset == name)
    draft.actions.append(
        RestoreCluster(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.RESTORE, rung=Rung.DATABASE,
            reason=f"Damaged: {counted(len(pages), 'thing')} of {asset.database}. Pages cannot be repaired in place: set "
            f"{supply.manifest.snapshot} of {supply.point.taken_at:%Y-%m-%d %H:%M:%S} UTC is restored beside the cluster "
            "and goes forward through the WAL to the last transaction, so nothing written since is lost; where WAL is "
            "missing, nothing is exchanged. All databases of the cluster are restored; it needs its own size in free "
            "room, and its services stand still while the WAL is replayed and checked."
            + (f" Passed over: {passed}" if passed else ""),
            undo="The two folders are renamed back; the damaged cluster is kept until the result is accepted.",
            bytes=0, minutes=minutes(2.0, sum(e.size for e in supply.manifest.entries)),
            findings=tuple(f.id for f in pages), point=supply.point,
            older=tuple(sorted(own, key=lambda point: point.id, reverse=True)),
            database=asset.database, data_directory=asset.data_directory,
        )
    )  # fmt: skip


def _deleted(finding: Finding) -> bool:
    return finding.code is Code.DATABASE_EMPTY or (
        finding.code is Code.DATABASE_TABLE_UNREADABLE and finding.actual == "gone"
    )
