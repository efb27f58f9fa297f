"""Which sets of a pgBackRest repository a cluster can be restored from, and why others are passed over. Read-only."""

from __future__ import annotations

from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from model.assets import PostgresAsset
from model.command import printable
from model.errors import Damaged, ReinstateError, Transient
from model.supplies import PointSupply, Refusal

POINTS = 5
"""Recovery points offered: each older one is a way back when a newer one turns out damaged."""


def gather(
    name: str, asset: PostgresAsset, connection: Connection, store: PgBackRestStore
) -> tuple[list[PointSupply], list[Refusal]]:
    """Our points whose set is in the repository and knows of no damage, newest first; and what was passed over.

    Raises:
        Transient: connection or repository cannot be reached.
    """
    try:
        store.tool.tool(connection, asset.os_user)
        stanza = store.tool.stanza(connection, asset.os_user)
    except Transient:
        raise
    except ReinstateError as error:  # what else is damaged still gets its proposal
        return [], [Refusal(asset=name, sentence=str(error))]
    found: list[PointSupply] = []
    passed: list[str] = []
    known: set[str] = set()
    for point in store.points(name):
        if len(found) == POINTS:
            break
        try:
            manifest = store.manifest(point)
        except Damaged as error:
            passed.append(str(error))
            continue
        known.add(manifest.snapshot)
        kept = stanza.find(manifest.snapshot)
        if kept is None:
            passed.append(f"{point.id}: set {manifest.snapshot} is gone from the repository.")
        elif kept.error:
            passed.append(f"{point.id}: set {kept.id} holds broken pages, says pgBackRest.")
        elif not manifest.repository.endswith(f"/{stanza.system_id}"):
            passed.append(f"{point.id}: set {kept.id} is another cluster's.")
        else:
            found.append(PointSupply(asset=name, point=point, manifest=manifest))
    oldest = min((one.point.taken_at for one in found), default=None)
    for one in stanza.sets:
        if one.id not in known and (oldest is None or one.taken_at > oldest):
            why = "holds broken pages, says pgBackRest" if one.error else "has no manifest of ours"
            passed.append(f"set {printable(one.id)} of {one.taken_at:%Y-%m-%d %H:%M:%S} UTC {why}.")
    return found, [Refusal(asset=name, sentence=sentence) for sentence in passed]
