"""The rungs of a PostgreSQL cluster kept by pgBackRest: page damage, and what people did by mistake. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from model.assets import PostgresAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.manifest import RecoveryPoint
from model.outcome import Stage
from model.proposal import Loss, RestoreCluster, RestoreRows, Rung
from model.supplies import MistakeSupply, PointSupply


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
                "say the last moment at which all was well: "
                f"`reinstate recover PLAN --mistake '{name}@2026-11-25T10:00:00Z'`",
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
            reason=f"Damaged: {counted(len(pages), 'thing')} of {asset.database}. Pages cannot be repaired in place: "
            f"set {supply.manifest.snapshot} of {supply.point.taken_at:%Y-%m-%d %H:%M:%S} UTC is restored beside the "
            "cluster and goes forward through the WAL to the last transaction, so nothing written since is lost; "
            "where WAL is missing, nothing is exchanged. All databases of the cluster are restored; it needs "
            "its own size in free room, and its services stand still while the WAL is replayed and checked."
            + (f" Passed over: {passed}" if passed else ""),
            undo="The two folders are renamed back; the damaged cluster is kept until the result is accepted.",
            bytes=0, minutes=minutes(2.0, sum(e.size for e in supply.manifest.entries)),
            findings=tuple(f.id for f in pages), point=supply.point,
            older=tuple(sorted(own, key=lambda point: point.id, reverse=True)),
            database=asset.database, data_directory=asset.data_directory,
        )
    )  # fmt: skip


def mistakes(draft: Draft, name: str, asset: PostgresAsset, wrong: Sequence[Finding]) -> list[Finding]:
    """Rows that people deleted or changed: merged back from the moment before; returns the findings left.

    Cluster and rows are never restored in one proposal: what was there before the mistake is compared with what is.
    """
    named = [finding for finding in wrong if finding.code is Code.OPERATOR_MISTAKE]
    left = [finding for finding in wrong if finding.code is not Code.OPERATOR_MISTAKE]
    if left and named:
        for finding in named:
            draft.miss(
                finding,
                "the database is damaged as well, which comes first",
                "report the mistake again after this recovery",
            )
        return left
    for finding in named:
        supply = next(
            (s for s in draft.supplies.mistakes if s.asset == name and s.mistake.when == finding.subject),
            None,
        )
        if supply is None or supply.point is None or asset.data_directory is None:
            why = supply.why if supply else "the moment before was not restored"
            draft.miss(
                finding, why, "see docs/postgresql.md: a point in time needs pgBackRest and the WAL since"
            )
            continue
        _rows(draft, name, asset, finding, supply, supply.point, asset.data_directory)
    return left


def _rows(
    draft: Draft, name: str, asset: PostgresAsset, finding: Finding, supply: MistakeSupply, point: RecoveryPoint,
    data_directory: str,
) -> None:  # fmt: skip
    mistake, changed = supply.mistake, supply.mistake.rows == "changed"
    hit = [one for one in supply.tables if one.missing or one.changed]
    chosen = [
        one
        for one in hit
        if not one.why_not
        and (one.table in mistake.tables if mistake.tables else one.missing or (changed and one.changed))
    ]
    unknown = sorted(set(mistake.tables) - {one.table for one in supply.tables})
    rest = [one.sentence for one in hit if one not in chosen]
    if unknown or not chosen:
        why = (
            f"there is no table {', '.join(unknown)}"
            if unknown
            else "no row is gone that can be brought back"
        )
        seen = "; ".join(rest) or f"{counted(len(supply.tables), 'table')} are as they were at {mistake.when}"
        draft.miss(
            finding,
            f"{why}: {seen}",
            "name another moment or other tables; `--changed` takes changed rows back, too",
        )
        return
    back = (
        "rows that are gone come back, and changed rows go back"
        if changed
        else "rows that are gone come back"
    )
    others = f" Left as they are: {'; '.join(rest)}." if rest else ""
    draft.actions.append(
        RestoreRows(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.RESTORE, rung=Rung.DATABASE,
            reason=f"Just before {mistake.when}, restored beside from {point.id}, compared with now: "
            f"{'; '.join(one.sentence for one in chosen)}. By primary key, {back}; all that was written since stays. "
            f"Rows that were deleted rightly since then come back as well.{others}",
            undo="The rows that came back are taken out again, and replaced rows put back, except those changed since.",
            minutes=minutes(2.0, 0), findings=(finding.id,), point=point, older=supply.older, database=asset.database,
            data_directory=data_directory, mistake=mistake, tables=tuple(chosen),
        )
    )  # fmt: skip
    if changed:
        draft.losses += [
            Loss(
                asset=name, recovery_point=point.id, newer_than=mistake.at or point.taken_at,
                sentence=f"What was written to {one.changed} rows of {one.table} after {mistake.when} is replaced.",
            )
            for one in chosen
            if one.changed
        ]  # fmt: skip


def _deleted(finding: Finding) -> bool:
    return finding.code is Code.DATABASE_EMPTY or (
        finding.code is Code.DATABASE_TABLE_UNREADABLE and finding.actual == "gone"
    )
