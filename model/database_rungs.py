"""The rung of a MariaDB or SQLite database: the whole database as it was, restored beside and exchanged in one step."""

from __future__ import annotations

from collections.abc import Sequence

from model.assets import MariadbAsset, SqliteAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Finding
from model.outcome import Stage
from model.proposal import Loss, RestoreDatabase, Rung


def other_database(
    draft: Draft, name: str, asset: MariadbAsset | SqliteAsset, wrong: Sequence[Finding]
) -> None:
    """A database that is damaged: the newest recovery point from before, checked and counted beside it."""
    if not wrong:
        return
    supply, why = draft.point(name, asset.host)
    if supply is None:
        for finding in wrong:
            draft.miss(finding, why, "restore the database by hand from another backup")
        return
    point = supply.point
    if isinstance(asset, SqliteAsset):
        way = f"the copy {point.id} is checked beside the file and renamed into its place"
        stops = (
            f", while {', '.join(asset.services)} "
            + ("is" if len(asset.services) == 1 else "are")
            + " stopped"
        )
        way += stops if asset.services else ""
        undo = "The file that was there is kept beside it, and renamed back."
    else:
        way = f"the dump {point.id} is restored beside it, and its tables are renamed into place by one statement"
        undo = (
            "The tables are renamed back and triggers, views and routines made again; a table that the server can "
            "no longer open goes away, its files are kept below the state directory."
        )
    draft.actions.append(
        RestoreDatabase(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.RESTORE, rung=Rung.DATABASE,
            reason=f"Damaged: {counted(len(wrong), 'thing')} of {asset.database}. Rows cannot be repaired in place: "
            f"{way}.",
            undo=undo, bytes=point.bytes, minutes=minutes(0.5, point.bytes * 2),
            findings=tuple(f.id for f in wrong), point=point, database=asset.database,
        )
    )  # fmt: skip
    draft.losses.append(
        Loss(
            asset=name, recovery_point=point.id, newer_than=point.taken_at,
            sentence=f"Everything written to database {asset.database} after {point.taken_at:%Y-%m-%d %H:%M:%S} UTC is "
            "not in the backup.",
        )
    )  # fmt: skip
