"""Backing up a database: pg_dump on the host, streamed into the store, with the row counts of the same snapshot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.secrets import Secrets
from checks.postgres import Tools, client_version
from model.assets import PostgresAsset
from model.canonical import now
from model.command import Command, Result, printable, raw
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Manifest, RecoveryPoint, TableCount
from tasks.backup_files import point_id
from tasks.passage import pass_into
from tasks.row_counts import refuse_loss
from tasks.staging import Progress

SECONDS = 12 * 3600.0
HEADS = (4, 64, 1024)
"""MiB of a dump given to `pg_restore --list` until its table of contents fits."""

COUNTS = r"""
SELECT format('SELECT ''count '' || json_build_object(''table'', %L::text, ''rows'', count(*)) FROM ONLY %I.%I',
              n.nspname || '.' || c.relname, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%'
  AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
\gexec
"""
"""Counts every table that a dump holds the rows of; not materialized views, whose rows a restore computes anew."""

# One session holds the snapshot, counts in it, and runs pg_dump on it; stdout belongs to the dump. The words of
# pg_dump come as environment, so that this text is constant.
_SCRIPT = rf"""
SET row_security = off;
SET idle_in_transaction_session_timeout = 0;
SET statement_timeout = 0;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
\o |cat >&2
SELECT 'version ' || current_setting('server_version');
{COUNTS}
\o
SELECT pg_export_snapshot() AS snapshot
\gset
\setenv REINSTATE_SNAPSHOT :snapshot
\! eval "$DUMP_RUN"
COMMIT;
"""
_DUMP_RUN = """
"$DUMP_0" "$DUMP_1" "$DUMP_2" "$DUMP_3" "$DUMP_4" "$DUMP_5" \\
    --format=custom --lock-wait-timeout=60s --snapshot="$REINSTATE_SNAPSHOT"
echo "ended $?" >&2
"""
_OURS = re.compile(r"count |version |ended |LOCATION:")
_DENIED = re.compile(r"^(?:psql:[^\n]*)?ERROR:  42501", re.MULTILINE)
_LIST = '"$@"; status=$?; cat >/dev/null; exit "$status"'


def back_up_database(
    connection: Connection,
    name: str,
    asset: PostgresAsset,
    host: str,
    store: BackupStore,
    secrets: Secrets,
    progress: Progress,
) -> RecoveryPoint:
    """Dump a database into the store; the recovery point exists once the dump was read back and its contents parsed.

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
    with Tools(connection, asset, secrets) as tools:
        client, server = client_version(tools, "pg_dump"), _facts(tools)
        if client[0] < server[0]:
            raise PreconditionFailed(
                f"pg_dump {client[0]} cannot dump a server of version {server[0]}.",
                where,
                f"install postgresql-client-{server[0]} on the host, or set `bin_dir` of the database in the plan",
            )
        taken = now()
        key = f"{name}/{point_id(taken)}/dump"
        said: list[Result] = []
        sha256, count = pass_into(
            store,
            key,
            lambda offer: said.append(_dump(tools, where, offer)),
            lambda done: progress(min(done, server[1]), server[1]),
        )
        tables, version = _read(said[0])
        refuse_loss(store, name, tables, where)
        _parse(tools, store, key, count)
    manifest = Manifest(
        asset=name, point=point_id(taken), format="pg_dump-custom", host=host, machine_id=machine_id,
        taken_at=taken, object_key=key, object_sha256=sha256, object_bytes=count, tables=tables, version=version,
    )  # fmt: skip
    progress(server[1], server[1])
    return store.publish(manifest)


def _facts(tools: Tools) -> tuple[int, int]:
    """Major version of the server, size of the database."""
    row = tools.rows(
        "SELECT current_setting('server_version_num')::int / 10000 AS major, "
        "pg_database_size(current_database()) AS size"
    )[0]
    return int(row["major"]), int(row["size"])


def _dump(tools: Tools, where: str, offer: Callable[[bytes], None]) -> Result:
    dump = tools.command("pg_dump", timeout=SECONDS)
    psql = tools.command(
        "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1",
        "--set=VERBOSITY=verbose", "--file=-", stdin=_SCRIPT.encode(), timeout=SECONDS,
    )  # fmt: skip
    words = {f"DUMP_{number}": raw(word) for number, word in enumerate(dump.argv)} | {"DUMP_RUN": _DUMP_RUN}
    result = tools.connection.run(replace(psql, env={**psql.env, **words}), on_stdout=offer)
    said = result.stderr.decode("utf-8", "replace")
    errors = printable(" ".join(line for line in said.splitlines() if not _OURS.match(line))[-500:])
    if result.status is None:
        raise Transient("the connection was lost during the dump.", where, "run it again")
    if result.ok and re.search(r"^ended 0$", said, re.MULTILINE):
        return result
    if result.status == 2:
        raise PreconditionFailed(
            f"the server went away or refused us: {errors}.", where, "look at the server's log"
        )
    if _DENIED.search(said):
        raise PreconditionFailed(
            f"{tools.asset.user} may not read everything: {errors}.",
            where,
            "grant it pg_read_all_data, or name another user in the plan",
        )
    raise Damaged(
        f"the database cannot be read to its end: {errors}. No backup was made of it.",
        where,
        "run a recovery for this database; older recovery points are kept",
    )


def _read(result: Result) -> tuple[tuple[TableCount, ...], str]:
    tables, version = [], ""
    for line in result.stderr.decode("utf-8", "replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "count":
            tables.append(TableCount.model_validate(json.loads(rest)))
        elif word == "version":
            version = rest
    return tuple(sorted(tables, key=lambda count: count.table)), version


def read_counts(result: Result) -> dict[str, int]:
    """Rows by table, from what `COUNTS` printed."""
    counts = (json.loads(line.removeprefix("count ")) for line in result.text.splitlines() if line)
    return {count["table"]: count["rows"] for count in counts}


def _parse(tools: Tools, store: BackupStore, key: str, size: int) -> None:
    """The stored dump's table of contents must parse."""
    listing = tools.command("pg_restore", "--list", database="", timeout=600.0)
    # Its own words only: --list opens no connection, and older versions refuse connection words without a database.
    words = ("sh", "-c", _LIST, "reinstate-list", listing.argv[0], "--list")
    tail = ""
    for mebibytes in HEADS:
        head = min(size, mebibytes << 20)
        result = tools.connection.run(
            Command(words, sudo=True, env=listing.env, timeout=600.0), source=store.read(key, 0, head)
        )
        if result.status is None:
            raise Transient("the connection was lost while the dump was examined.", key, "run it again")
        if result.ok and re.search(rb"^\d+; ", result.stdout, re.MULTILINE):
            return
        tail = result.tail(2)
        if head == size:
            break
    raise Damaged(f"the dump's table of contents does not parse: {tail}.", key, "look at pg_dump on the host")
