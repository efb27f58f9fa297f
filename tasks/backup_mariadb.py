"""Backing up a MariaDB database: mariadb-dump on the host, judged and counted as it streams into the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.secrets import Secrets
from checks.mariadb import MariadbTools, literal
from checks.mariadb_tables import look
from model.assets import MariadbAsset
from model.canonical import now
from model.command import Command, printable
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Manifest, RecoveryPoint, TableCount
from tasks.backup_files import point_id
from tasks.dump_grammar import CODE, DumpReader
from tasks.passage import pass_into
from tasks.row_counts import refuse_loss
from tasks.staging import Progress

SECONDS = 12 * 3600.0
SUMMED = 4 << 30
"""Bytes of a database up to which its tables are summed before and after the dump: that reads it twice more."""

_FACTS = """
SELECT JSON_OBJECT('version', VERSION(), 'size', COALESCE(SUM(data_length + index_length), 0))
FROM information_schema.tables WHERE table_schema = {database}
"""
# A float's seventh digit is not in a dump: its sum is another one after a restore.
_FLOATS = """
SELECT DISTINCT JSON_OBJECT('name', table_name) FROM information_schema.columns
WHERE table_schema = {database} AND data_type = 'float'
"""
# Tables with their rows, of one moment; then what is code. Names of views come one a line.
DUMP_SCRIPT = r"""
database=$1 code=$2; shift 2
set -f
views=$(cat) ignored=
newline='
'
IFS=$newline
for view in $views; do ignored="$ignored$newline--ignore-table=$database.$view"; done
"$@" --single-transaction --quick --hex-blob --skip-triggers --default-character-set=utf8mb4 $ignored -- "$database" ||
    exit 3
printf '%s\n' "$code"
"$@" --no-data --no-create-info --triggers --routines --events --default-character-set=utf8mb4 -- "$database" || exit 3
if [ -n "$views" ]; then
    "$@" --no-data --skip-triggers --default-character-set=utf8mb4 -- "$database" $views || exit 3
fi
"""
_DENIED = re.compile(r"1044|1045|1142|1227")


def dump_command(tools: MariadbTools, views: list[str]) -> Command:
    """The command that writes a whole dump to its standard output."""
    words = ("sh", "-c", DUMP_SCRIPT, "reinstate-dump", tools.asset.database, CODE.decode())
    stdin = "".join(f"{view}\n" for view in views).encode("utf-8", "surrogateescape")
    return tools.command((*words, *tools.words("mariadb-dump")), SECONDS, stdin)


def back_up_mariadb(
    connection: Connection,
    name: str,
    asset: MariadbAsset,
    host: str,
    store: BackupStore,
    secrets: Secrets,
    progress: Progress,
) -> RecoveryPoint:
    """Dump a database into the store; the recovery point exists once the dump was read back.

    Args:
        connection: the asset's host.
        name: of the asset in the plan.
        asset: the database.
        host: name of the host in the plan.
        store: where to.
        secrets: resolver of the plan's references (the password).
        progress: told (bytes stored, size of the database).

    Raises:
        Damaged: the database cannot be read to its end, or lost all its rows: nothing is published.
        PreconditionFailed: tools, server or rights are missing. Refused: the host is not the plan's.
        Transient: a connection was lost.
    """
    machine_id = prove(connection).machine_id
    where = f"{host}:{asset.database}"
    with MariadbTools(connection, asset, secrets) as tools:
        facts = tools.rows(_FACTS.format(database=literal(asset.database)))[0]
        size = int(facts["size"])
        tables, views = tools.tables(asset.database), tools.views(asset.database)
        strange = next((one for one in (*tables, *views) if "\n" in one), "")
        if strange:
            raise PreconditionFailed(
                f"the name {printable(strange)!r} holds a newline, which no dump can be judged with.",
                where,
                "rename it",
            )
        before = _sums(tools, tables, size)
        taken = now()
        key = f"{name}/{point_id(taken)}/dump"
        reader = DumpReader(where)
        sha256, count = pass_into(
            store,
            key,
            lambda offer: _dump(tools, views, where, reader, offer),
            lambda done: progress(min(done, size), size),
        )
        after = _sums(tools, tables, size) if before else {}
    counts = tuple(
        TableCount(table=table, rows=rows, checksum=_steady(before, after, table))
        for table, rows in sorted(reader.rows.items())
    )
    refuse_loss(store, name, counts, where)
    manifest = Manifest(
        asset=name, point=point_id(taken), format="mariadb-dump", host=host, machine_id=machine_id, taken_at=taken,
        object_key=key, object_sha256=sha256, object_bytes=count, tables=counts, version=str(facts["version"]),
    )  # fmt: skip
    progress(size, size)
    return store.publish(manifest)


def _sums(tools: MariadbTools, tables: list[str], size: int) -> dict[str, str]:
    """Checksums of the tables that keep theirs through a dump; none of a large database."""
    if size > SUMMED:
        return {}
    floats = {row["name"] for row in tools.rows(_FLOATS.format(database=literal(tools.asset.database)))}
    seen = look(tools, tools.asset.database, [t for t in tables if t not in floats], check=False)
    return {table: total for table, total in seen.sums.items() if table not in seen.errors}


def _steady(before: Mapping[str, str], after: Mapping[str, str], table: str) -> str:
    """The checksum of a table that nobody wrote to while it was dumped; it is the dump's, too."""
    return before[table] if table in before and before[table] == after.get(table) else ""


def _dump(
    tools: MariadbTools, views: list[str], where: str, reader: DumpReader, offer: Callable[[bytes], None]
) -> None:
    def passing(chunk: bytes) -> None:
        reader.feed(chunk)
        offer(chunk)

    result = tools.connection.run(dump_command(tools, views), on_stdout=passing)
    if result.status is None:
        raise Transient("the connection was lost during the dump.", where, "run it again")
    if result.ok:
        reader.finish()
        return
    errors = result.tail(3)
    if result.status == 127 or "not found" in errors:
        raise PreconditionFailed(
            f"mariadb-dump does not run: {errors}.",
            where,
            "install the MariaDB client, or set `bin_dir` of the database in the plan",
        )
    if _DENIED.search(errors):
        raise PreconditionFailed(
            f"{tools.asset.user} may not read everything: {errors}.",
            where,
            "grant it SELECT, SHOW VIEW, TRIGGER and EVENT on the database, or name another user in the plan",
        )
    raise Damaged(
        f"the database cannot be read to its end: {errors}. No backup was made of it.",
        where,
        "run a recovery for this database; older recovery points are kept",
    )
