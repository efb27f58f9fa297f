"""Restoring a PostgreSQL cluster whose pages are damaged: beside the live one, to the end of its WAL, then exchanged.

The set is laid beside the serving cluster, and only what differs is fetched. Then the services stop, recovery goes on
to the last transaction on a private server, everything is read and counted, every page's checksum is checked, and the
two folders are exchanged by renaming. The damaged cluster stays, untouched, until commit.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.postgres import Tools
from model.assets import PostgresAsset, ServiceAsset
from model.command import printable
from model.errors import Damaged, Refused, ReinstateError, Transient
from model.manifest import Manifest
from model.proposal import RestoreCluster
from tasks import cluster_scripts as scripts
from tasks.backup_database import COUNTS
from tasks.cluster_layout import (
    control_facts,
    fetched,
    lay,
    proven_set,
    require_laid,
    require_room,
    script,
)
from tasks.exchange import Exchange, layout_of, users_of
from tasks.performed import Performed
from tasks.staging import Progress

NOT_WHOLE = 65
"""Exit status of `RECOVER` when the restored cluster is not whole."""

_LOG = logging.getLogger("reinstate.cluster")


@dataclass(frozen=True)
class Cluster(Exchange):
    """One effect on a cluster."""

    asset: PostgresAsset
    secrets: Secrets

    def answers(self) -> None:
        """Ask the cluster something."""
        with Tools(self.connection, self.asset, self.secrets) as tools:
            tools.rows("SELECT 1 AS one")

    def discard(self, name: str) -> None:
        """Remove what was laid beside the live cluster."""
        self.job(name, script(scripts.END, self.asset, self.layout.new, self.layout.private))


def cluster_of(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    services: Mapping[str, ServiceAsset],
    action_id: str,
    job_prefix: str,
    token: int,
) -> Cluster:
    """The effect on an asset's cluster.

    Args:
        connection: its host.
        asset: the database.
        secrets: resolver of the plan's references.
        services: service assets of the plan by name.
        action_id: of the action.
        job_prefix: start of the jobs' names.
        token: our fencing token.
    """
    layout = layout_of(asset, job_prefix, action_id)
    return Cluster(
        connection, layout, services[asset.service or ""], users_of(asset, services), job_prefix, token, asset.os_user,
        "PG_VERSION", "cluster", asset, secrets,
    )  # fmt: skip


def perform(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreCluster,
    store: PgBackRestStore,
    services: Mapping[str, ServiceAsset],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Restore the cluster of a signed action.

    Raises:
        Damaged: no set gave a whole cluster; the live one is in its place and serves as before.
        Refused: another host's or cluster's backup. PreconditionFailed: no room, tools missing.
        Transient: interrupted; calling again goes on.
    """
    cluster = cluster_of(connection, asset, secrets, services, action.id, job_prefix, token)
    if action.data_directory != cluster.layout.live:
        raise Refused("the action is about another cluster.", connection.name, "propose again")
    there = cluster.there()
    if there["aside"]:  # exchanged, or in the middle of it: what was laid there was found whole before
        return cluster.serve(asset.database, action.point.id, "", 0)
    store.tool.tool(connection, asset.os_user)
    require_room(connection, asset)
    stopped, moved, wrong = False, 0, []
    try:
        for number, point in enumerate((action.point, *action.older)):
            try:
                manifest = proven_set(connection, asset, store, point, action.asset)
                laid = cluster.job(f"lay-{number}", lay(asset, store.tool, cluster.layout, manifest.snapshot))
                require_laid(laid, store, manifest.snapshot)
                moved += fetched(laid)
                progress(1, 3)
                if not stopped:
                    stopped = True
                    cluster.stop()
                proof = _recover(cluster, manifest, number)
            except Damaged as error:
                _LOG.warning("%s", error)
                wrong.append(f"{error.where}: {error.what}" if error.where else error.what)
                continue
            progress(2, 3)
            done = cluster.serve(asset.database, point.id, proof, moved)
            progress(3, 3)
            return done
        raise Damaged(
            f"no recovery point gave a whole cluster: {' '.join(wrong)}", connection.name,
            "the live cluster is in its place; keep everything, and restore from another backup by hand",
        )  # fmt: skip
    except Transient:
        raise
    except ReinstateError:
        if not cluster.there()["aside"]:
            cluster.discard("discard")
            if stopped:
                cluster.start("again")
        raise


def _recover(cluster: Cluster, manifest: Manifest, number: int) -> str:
    """Recovery to the end of the WAL, and the proof that the result is whole; the sentence about it.

    Raises:
        Damaged: it is not, or it ends before what the live cluster had written.
    """
    facts = control_facts(cluster.connection, cluster.asset)
    timeline = facts.get("Latest checkpoint's TimeLineID", "latest")
    asset, layout = cluster.asset, cluster.layout
    result = cluster.job(
        f"recover-{number}",
        script(
            scripts.RECOVER, asset, layout.live, layout.new, layout.private, asset.bin_dir, asset.database,
            timeline if timeline.isdigit() else "latest", stdin=COUNTS.encode(),
        ),
    )  # fmt: skip
    where = f"{cluster.connection.name}:{layout.new}"
    if result.status == NOT_WHOLE:
        raise Damaged(
            f"set {manifest.snapshot} does not give a whole cluster: {result.tail(4)}.",
            where,
            "an older set is tried",
        )
    if not result.ok:
        raise ReinstateError(
            f"the restored cluster could not be recovered: {result.tail(3)}.", where, "look at the host"
        )
    return prove(result.text, manifest, where)


def prove(said: str, manifest: Manifest, where: str) -> str:
    """What the recovery printed, judged against the manifest and against the live cluster's own last word.

    Raises:
        Damaged: tables of the backup are gone, or recovery ended before the live cluster's last checkpoint.
    """
    lines = [line.partition(" ") for line in said.splitlines() if line]
    told = {word: rest.strip() for word, _, rest in lines if word != "count"}
    counts = {
        one["table"]: int(one["rows"])
        for word, _, rest in lines
        if word == "count"
        for one in [json.loads(rest)]
    }
    remedy = "an older set is tried; keep this one for the investigation"
    if not counts:
        raise Damaged("the restored database has no tables.", where, remedy)
    if manifest.tables and sum(count.rows for count in manifest.tables) and not sum(counts.values()):
        raise Damaged("the restored database has no rows, and the backup had some.", where, remedy)
    reached, live = told.get("reached", ""), told.get("live", "")
    if reached and live and position(reached) < position(live):
        raise Damaged(
            f"recovery ended at {reached}, and the live cluster had written up to {live}: WAL is missing.",
            where,
            remedy,
        )
    parts = [f"{len(counts)} tables with {sum(counts.values())} rows read"]
    parts.append(
        f"checksums of {told['checksums']} pages right"
        if "checksums" in told
        else "no page checksums to check"
    )
    if "amcheck" in told:
        parts.append("indexes right (pg_amcheck)")
    end = (
        f"recovered to the end of the WAL at {printable(reached)}"
        if reached
        else "recovered to the end of the WAL"
    )
    beyond = (
        f", beyond the live cluster's last checkpoint at {printable(live)}: nothing is lost"
        if live and reached
        else ""
    )
    return f"{end}{beyond}; {', '.join(parts)} before the exchange"


def position(lsn: str) -> int:
    """A place in the WAL, `HIGH/LOW` in hex, as a number.

    Raises:
        Damaged: it is none.
    """
    high, slash, low = lsn.partition("/")
    try:
        return (int(high, 16) << 32) + int(low, 16) if slash else int("", 16)
    except ValueError:
        raise Damaged(f"{printable(lsn)[:40]!r} is no place in the WAL.", remedy="look at the host") from None


def undo(
    connection: Connection,
    asset: PostgresAsset,
    secrets: Secrets,
    action: RestoreCluster,
    services: Mapping[str, ServiceAsset],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Put the cluster back that was there before, bit for bit; what was restored stays beside it.

    Raises:
        ReinstateError: a rename failed, or the old cluster does not start (it did not before, perhaps).
    """
    return cluster_of(connection, asset, secrets, services, action.id, job_prefix, token).undo(progress)
