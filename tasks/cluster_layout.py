"""Laying a cluster from pgBackRest beside the live one: names, room, what differs fetched; nothing live is touched."""

from __future__ import annotations

import re

from blocks.backups.pgbackrest import PgBackRest, PgBackRestStore
from blocks.hosts.base import Connection
from model.assets import PostgresAsset
from model.command import Command, Result, printable
from model.errors import Damaged, PreconditionFailed, Refused, Unsupported
from model.manifest import Manifest, RecoveryPoint
from tasks import cluster_scripts as scripts
from tasks.backup_cluster import repository, require_same
from tasks.exchange import SECONDS, Layout, ask
from tasks.landing import proven_manifest
from tasks.work import PlanFile

ROOM = 1.1
"""Free room wanted beside the cluster, in times of its size."""

_FETCHED = re.compile(
    r"restore file .*\((?:bundle [^,]*, )?([0-9.]+)(B|KB|MB|GB|TB|PB), [0-9.]+%\) checksum ", re.MULTILINE
)
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "PB": 1 << 50}
_WHY = {
    "missing": ("there is no cluster", "check `data_directory` of the database in the plan"),
    "mounted": (
        "it is a mount point, so nothing can be renamed into its place",
        "move the cluster into a folder below the mount point, and say so in the plan",
    ),
    "closed": (
        "the folder above it is not writable for the cluster's owner, so nothing can be laid beside it",
        "give that folder to the cluster's owner",
    ),
    "tablespaces": (
        "it has tablespaces in other places, which are not exchanged",
        "restore this cluster by hand with pgBackRest (`restore --delta --set=…`)",
    ),
    "wal": (
        "its pg_wal is a link to another place, which is not exchanged",
        "restore this cluster by hand with pgBackRest (`restore --delta --set=…`)",
    ),
}


def cluster_store(file: PlanFile, source: str) -> PgBackRestStore:
    """The pgBackRest source of a plan.

    Raises:
        Refused: it is of another kind now.
    """
    store = file.backups()[source]
    if not isinstance(store, PgBackRestStore):
        raise Refused(f"the source {source} is no pgBackRest repository any more.", source, "propose again")
    return store


def script(text: str, asset: PostgresAsset, *words: str, stdin: bytes | None = None) -> Command:
    """A constant script as the cluster's owner; its words are data."""
    return Command(
        ("sh", "-c", text, "reinstate-cluster", *words), stdin=stdin, sudo=True, user=asset.os_user,
        env={"LC_ALL": "C", "PGAPPNAME": "reinstate"}, timeout=SECONDS,
    )  # fmt: skip


def require_room(connection: Connection, asset: PostgresAsset) -> int:
    """The cluster's size in bytes, when a second one fits beside it.

    Raises:
        Unsupported: the cluster lies in a way that cannot be exchanged. PreconditionFailed: no room, no rights.
    """
    live = asset.data_directory or ""
    result = ask(connection, script(scripts.FITS, asset, live))
    words = result.text.split() or ["?"]
    where = f"{connection.name}:{live}"
    if words[0] in _WHY:
        what, remedy = _WHY[words[0]]
        kind = PreconditionFailed if words[0] in {"missing", "closed"} else Unsupported
        raise kind(f"the cluster cannot be restored beside itself: {what}.", where, remedy)
    if words[0] != "fits" or len(words) != 3 or not (words[1] + words[2]).isdigit():
        raise PreconditionFailed(
            f"the cluster cannot be measured: {result.tail(2)}", where, "look at the host"
        )
    used, free = int(words[1]) << 10, int(words[2]) << 10
    if free < used * ROOM:
        raise PreconditionFailed(
            f"a second copy of the cluster needs {used * ROOM / (1 << 20):.0f} MiB beside it, "
            f"{free / (1 << 20):.0f} MiB are free.",
            where,
            "make room on that file system: the damaged cluster is kept until the recovery is accepted",
        )
    return used


def control_facts(connection: Connection, asset: PostgresAsset) -> dict[str, str]:
    """What `pg_control` of the cluster on the host says, by its English titles; empty when it cannot be read."""
    result = ask(connection, script(scripts.TIMELINE, asset, asset.data_directory or "", asset.bin_dir))
    pairs = (line.partition(":") for line in result.text.splitlines())
    return {title: value.strip() for title, colon, value in pairs if colon} if result.ok else {}


def proven_set(
    connection: Connection, asset: PostgresAsset, store: PgBackRestStore, point: RecoveryPoint, name: str
) -> Manifest:
    """The manifest of a point whose set is still there and knows of no damage (G7).

    Raises:
        Refused: another host's, or another cluster's. Damaged: the set is gone or knows of broken pages.
    """
    manifest = proven_manifest(connection, store, point, name)
    where = f"{store.name}:{manifest.snapshot}"
    stanza = store.tool.stanza(connection, asset.os_user)
    recorded = manifest.repository.rpartition("/")[2]
    require_same(stanza, recorded, where)
    facts = control_facts(connection, asset)
    if (there := facts.get("Database system identifier")) is not None:
        require_same(stanza, there, f"{connection.name}:{asset.data_directory}")
    found = stanza.find(manifest.snapshot)
    remedy = "use another recovery point; keep this one for the investigation"
    if manifest.format != "pgbackrest" or manifest.repository != repository(store.tool, stanza):
        raise Damaged("this is not a set of the plan's stanza.", where, remedy)
    if found is None:
        raise Damaged("the set is gone from the repository.", where, remedy)
    if found.error:
        raise Damaged("the set holds broken pages, says pgBackRest.", where, remedy)
    return manifest


def lay_words(tool: PgBackRest, layout: Layout, label: str) -> tuple[str, ...]:
    """The words that bring a set into the new folder, fetching what differs."""
    return tool.words(
        f"--pg1-path={layout.new}", "--delta", f"--set={label}", "--type=default", "--log-level-console=detail",
        "restore",
    )  # fmt: skip


def lay(asset: PostgresAsset, tool: PgBackRest, layout: Layout, label: str) -> Command:
    """The command that lays a set beside the live cluster."""
    return script(scripts.LAY, asset, layout.live, layout.new, *lay_words(tool, layout, label))


def fetched(said: Result) -> int:
    """Bytes that a lay fetched from the repository, as pgBackRest rounds them."""
    return sum(int(float(number) * _UNITS[unit]) for number, unit in _FETCHED.findall(said.text))


def require_laid(result: Result, store: PgBackRestStore, label: str) -> None:
    """Refuse what pgBackRest could not restore whole.

    Raises:
        Damaged: with its own words.
    """
    if not result.ok:
        lines = [line for line in result.text.splitlines() if "ERROR" in line] or [result.tail(3)]
        raise Damaged(
            f"set {label} could not be restored beside the live cluster: {printable(' '.join(lines)[-400:])}",
            f"{store.name}:{label}",
            "nothing live was touched; use another recovery point",
        )
