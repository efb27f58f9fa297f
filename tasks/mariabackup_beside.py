"""A backup by mariabackup laid beside a data directory: fetched, judged, unpacked, prepared, and proven to be whole.

Nothing live is touched. A private server, which only the owner of the data reaches, checks every table and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from blocks.backups.base import BackupStore
from blocks.hosts import elevate
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.mariadb import MariadbTools
from checks.mariadb_tables import TablesSeen, look
from model.assets import MariadbAsset
from model.command import Command, Result
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError
from model.manifest import Manifest, TableCount
from tasks import mariabackup_scripts as scripts
from tasks.exchange import Layout, ask
from tasks.fetch import fetch
from tasks.mariabackup_tool import place_for, require_tools, script
from tasks.mbstream import StreamReader
from tasks.pieces import Piece
from tasks.row_counts import KEPT, first_difference, total
from tasks.staging import Progress, Staging, staging

NOT_WHOLE = 65
"""Exit status of the scripts when the backup is not whole."""

_REMEDY = "use another recovery point; keep this one for the investigation"
_VIRTUAL = {"information_schema", "performance_schema"}


def lay(
    connection: Connection,
    asset: MariadbAsset,
    store: BackupStore,
    manifest: Manifest,
    layout: Layout,
    step: Callable[[str, Command], Result],
    token: int,
    progress: Progress,
) -> tuple[str, int]:
    """Lay the backup beside the data directory, ready for a server; what was laid there before is taken as it is.

    Args:
        connection: the host.
        asset: the database.
        store: where the backup is.
        manifest: of the point, proven.
        layout: the folders.
        step: runs a named command on the host.
        token: our fencing token.
        progress: told (bytes fetched, bytes in all).

    Returns:
        The user the data belongs to, and bytes moved to the host.

    Raises:
        Damaged: the backup is not whole, or hostile. Refused: it is none of mariabackup, or the tools do not fit.
        PreconditionFailed: no room, or tools are missing. Transient: interrupted; calling again goes on.
    """
    where = f"{store.name}:{manifest.object_key}"
    if manifest.format != "mariabackup":
        raise Refused("this is no backup by mariabackup.", where, "propose again")
    require_tools(connection, asset, manifest.version, whole=True)
    place = place_for(connection, layout.live, 0)
    if ask(connection, script(scripts.WHOLE, layout.new)).ok:
        return place.owner, 0
    files = _judged(store, manifest, where)
    with staging(connection, f"{layout.new}.stream", token, beside=True) as stage:
        if stage.fresh:
            place_for(connection, layout.live, manifest.object_bytes)
        piece = Piece("stream", "the backup", 0, manifest.object_bytes, manifest.object_sha256)
        moved = fetch(stage, store, manifest.object_key, manifest.object_bytes, [piece], progress)
        _unpack(connection, asset, stage, files, layout, place.owner, step, where)
    return place.owner, moved


def _judged(store: BackupStore, manifest: Manifest, where: str) -> dict[str, int]:
    """Path → size of what the stream holds, once every name in it is judged; before a byte of it lands."""
    reader = StreamReader(where)
    for chunk in store.read(manifest.object_key):
        reader.feed(chunk)
    return reader.finish()


def _unpack(
    connection: Connection, asset: MariadbAsset, stage: Staging, files: dict[str, int], layout: Layout, owner: str,
    step: Callable[[str, Command], Result], where: str,
) -> None:  # fmt: skip
    stdin = "".join(f"{size} {name}\n" for name, size in sorted(files.items())).encode()
    words = (layout.new, f"{stage.path}/stream", layout.live, owner, *become(connection, owner))
    result = step("lay", script(scripts.LAY, asset.bin_dir, *words, stdin=stdin))
    if result.status == NOT_WHOLE:
        raise Damaged(f"the backup is not whole: {result.tail(4)}.", where, _REMEDY)
    if not result.ok:
        raise ReinstateError(
            f"the backup could not be unpacked: {result.tail(3)}.", f"{connection.name}:{layout.new}",
            "look at the host; nothing live was touched",
        )  # fmt: skip


def become(connection: Connection, owner: str) -> tuple[str, ...]:
    """The words that make our login the owner of the data."""
    return elevate.prefix(connection.host, elevate.keeper(connection.host), owner)


@contextmanager
def private_server(
    connection: Connection, asset: MariadbAsset, secrets: Secrets, layout: Layout, owner: str, where: str
) -> Iterator[MariadbTools]:
    """The tools of a server that runs on what was laid, for the time of the context; only its owner reaches it.

    Raises:
        Damaged: it does not start.
    """
    words = (layout.new, layout.private, owner, *become(connection, owner))
    try:
        started = ask(connection, script(scripts.RUN, asset.bin_dir, *words))
        if started.status == NOT_WHOLE:
            raise Damaged(f"the backup is not whole: {started.tail(4)}.", where, _REMEDY)
        started.check(connection.name, "look at the host; nothing live was touched")
        own = asset.model_copy(
            update={"server": f"{layout.private}/s", "user": "root", "os_user": owner, "password": None,
                    "host": connection.name}
        )  # fmt: skip
        with MariadbTools(connection, own, secrets) as tools:
            yield tools
    finally:
        stopped = ask(connection, script(scripts.STOP, layout.new, layout.private))
        stopped.check(connection.name, f"end the server that runs in {layout.new} by hand")


def remove(connection: Connection, layout: Layout) -> None:
    """Remove what was laid, with the server that may run there.

    Raises:
        ReinstateError: something is left.
    """
    if not ask(connection, script(scripts.END, layout.new, layout.private)).ok:
        raise ReinstateError(
            "what was laid beside the data directory could not be removed.", f"{connection.name}:{layout.new}",
            "remove it by hand; nothing live is in it",
        )  # fmt: skip


def require_whole(tools: MariadbTools, manifest: Manifest, where: str) -> str:
    """`CHECK TABLE` over all tables of all databases, rows of the manifest's counted; the sentence about it.

    Raises:
        Damaged: a table is damaged, or is not what the manifest says.
    """
    database, checked = tools.asset.database, 0
    try:
        there = sorted(tools.databases() - _VIRTUAL)
        if database not in there:
            raise Damaged(f"the backup holds no database {database}.", where, _REMEDY)
        seen = {one: look(tools, one, tools.tables(one)) for one in there}
    except PreconditionFailed as error:
        raise Damaged(f"the restored server broke off: {error.what}", where, _REMEDY) from error
    for one, tables in seen.items():
        checked += len(tables.counts)
        for table, why in sorted(tables.errors.items()):
            raise Damaged(f"table {one}.{table} of the backup is damaged: {why}.", where, _REMEDY)
    differs = difference(manifest.tables, seen[database])
    if differs:
        raise Damaged(f"the backup is not what its manifest says: {differs}.", where, _REMEDY)
    return (
        f"{checked} tables of {len(there)} databases checked, {len(manifest.tables)} tables of {database} with "
        f"{total(manifest.tables)} rows compared with the manifest before the exchange"
    )


def difference(wanted: Sequence[TableCount], seen: TablesSeen) -> str:
    """Where restored tables are not what was recorded, in one sentence; empty when they are.

    Tables that nobody wrote to while the backup was taken are exactly as recorded. Of the others their rows are near.
    """
    steady = [count for count in wanted if count.checksum]
    names = {count.table for count in steady}
    rows = {table: rows for table, rows in seen.counts.items() if table in names}
    exact = first_difference(steady, rows, seen.sums)
    if exact:
        return exact.replace("after loading", "in it")
    for count in wanted:
        found = seen.counts.get(count.table)
        if found is None or found < KEPT * count.rows:
            has = "no" if found is None else found
            return f"table {count.table} has {has} rows in it, the manifest says {count.rows}"
    return ""
