"""The rungs of a MariaDB or SQLite database: as it was backed up, restored beside and exchanged in one step. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from model.assets import MariadbAsset, SqliteAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Finding
from model.outcome import Stage
from model.proposal import Loss, RestoreCluster, RestoreDatabase, Rung
from model.supplies import PointSupply


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
    if supply.manifest.format == "mariabackup" and isinstance(asset, MariadbAsset):
        _data_directory(draft, name, asset, wrong, supply)
        return
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
    _lose(draft, name, supply, f"Everything written to database {asset.database}")


def _lose(draft: Draft, name: str, supply: PointSupply, what: str) -> None:
    point = supply.point
    draft.losses.append(
        Loss(
            asset=name, recovery_point=point.id, newer_than=point.taken_at,
            sentence=f"{what} after {point.taken_at:%Y-%m-%d %H:%M:%S} UTC is not in the backup."
            + (f" {supply.replayable}" if supply.replayable else ""),
        )
    )  # fmt: skip


def _data_directory(
    draft: Draft, name: str, asset: MariadbAsset, wrong: Sequence[Finding], supply: PointSupply
) -> None:
    """The server's whole data directory; once for all of its databases, whatever many are damaged."""
    if asset.data_directory is None:
        for finding in wrong:
            draft.miss(
                finding,
                "the plan does not say where the data directory is",
                "give `data_directory` of the database",
            )
        return
    found = tuple(finding.id for finding in wrong)
    for number, other in enumerate(draft.actions):
        if isinstance(other, RestoreCluster) and (other.host, other.data_directory) == (
            asset.host,
            asset.data_directory,
        ):
            draft.actions[number] = other.model_copy(update={"findings": (*other.findings, *found)})
            return
    point = supply.point
    still = ", ".join(dict.fromkeys((*asset.services, asset.service or "")))
    first = next(  # what comes back from a dump on this server would go with the folder
        (n for n, a in enumerate(draft.actions) if isinstance(a, RestoreDatabase) and a.host == asset.host),
        len(draft.actions),
    )
    draft.actions.insert(
        first,
        RestoreCluster(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.RESTORE, rung=Rung.DATABASE,
            reason=f"Damaged: {counted(len(wrong), 'thing')} of {asset.database}. Pages cannot be repaired in place: "
            f"the backup {point.id} by mariabackup is laid beside {asset.data_directory}, prepared, checked page by "
            "page and table by table on a private server, and counted; then the two folders are exchanged. All "
            "databases of the server, its users among them, are as they were backed up. It needs more than twice the "
            f"backup's size in free room; {still} stand still while the folders change places.",
            undo="The two folders are renamed back; the damaged one is kept until the result is accepted.",
            bytes=point.bytes, minutes=minutes(2.0, point.bytes * 3), findings=found, point=point,
            database=asset.database, data_directory=asset.data_directory, replays=False,
        )
    )  # fmt: skip
    _lose(draft, name, supply, f"Everything written to any database of the server of {asset.database}")
