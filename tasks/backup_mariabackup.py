"""Backing up a MariaDB server's data directory: the stream of mariabackup, judged as it passes into the store."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.secrets import Secrets
from checks.mariadb import MariadbTools
from checks.mariadb_tables import TablesSeen, look
from model.assets import MariadbAsset
from model.canonical import now
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Transient, Unsupported
from model.manifest import Manifest, RecoveryPoint, TableCount
from tasks.backup_files import point_id
from tasks.backup_mariadb import SECONDS, SUMMED
from tasks.mariabackup_tool import require_tools
from tasks.mbstream import StreamReader
from tasks.passage import pass_into
from tasks.row_counts import refuse_loss
from tasks.staging import Progress

_FACTS = """
SELECT JSON_OBJECT('version', VERSION(), 'folder', @@datadir, 'home', @@innodb_data_home_dir,
                   'log', @@innodb_log_group_home_dir, 'undo', @@innodb_undo_directory,
                   'binlog', COALESCE(@@log_bin_basename, ''),
                   'size', (SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables))
"""
_DENIED = re.compile(r"\b(?:1044|1045|1142|1227)\b|Access denied|missing required privilege", re.IGNORECASE)
_TOLD = re.compile(r"error|corrupt|fail|denied|privilege", re.IGNORECASE)
_LINE = re.compile(r"\[\d+\] |\d{4}-\d\d-\d\d |[A-Za-z]")
"""It prints damaged pages, too."""
_BINLOG = re.compile(r"filename '([^']+)', position '(\d+)'")
_DONE = "completed OK!"
_NOISE = 64 << 20
"""Bytes kept of what mariabackup says: two lines for each file."""


def back_up_mariabackup(
    connection: Connection,
    name: str,
    asset: MariadbAsset,
    host: str,
    store: BackupStore,
    secrets: Secrets,
    progress: Progress,
) -> RecoveryPoint:
    """Stream a backup of the server's data directory into the store; the recovery point exists once it was read back.

    Args:
        connection: the asset's host.
        name: of the asset in the plan.
        asset: the database.
        host: name of the host in the plan.
        store: where to.
        secrets: resolver of the plan's references (the password).
        progress: told (bytes stored, size of the server's databases).

    Raises:
        Damaged: a page is damaged, a table cannot be read, or all rows are gone: nothing is published.
        Refused: the tool is too old, of another series than the server, or the host is not the plan's.
        PreconditionFailed: tools, server or rights are missing. Unsupported: data lies outside of the data directory.
        Transient: a connection was lost.
    """
    machine_id = prove(connection).machine_id
    where = f"{host}:{asset.database}"
    with MariadbTools(connection, asset, secrets) as tools:
        facts = tools.rows(_FACTS)[0]
        size = int(facts["size"])
        program = require_tools(connection, asset, str(facts["version"]), whole=False)
        _require_inside(asset, facts, where)
        tables = tools.tables(asset.database)
        before = _read(tools, tables, where)
        refuse_loss(store, name, _counts(before, before), where)
        taken = now()
        key = f"{name}/{point_id(taken)}/dump"
        reader = StreamReader(where)
        sha256, count = pass_into(
            store, key, lambda offer: _stream(tools, program, where, reader, offer),
            lambda done: progress(min(done, size), size),
        )  # fmt: skip
        after = _read(tools, tables, where) if size <= SUMMED else TablesSeen()
    manifest = Manifest(
        asset=name, point=point_id(taken), format="mariabackup", host=host, machine_id=machine_id,
        root=asset.data_directory or "", taken_at=taken, object_key=key, object_sha256=sha256, object_bytes=count,
        tables=_counts(before, after), version=str(facts["version"]),
        position=_position(reader.facts(), str(facts["binlog"])),
    )  # fmt: skip
    progress(size, size)
    return store.publish(manifest)


def _require_inside(asset: MariadbAsset, facts: dict[str, Any], where: str) -> None:
    """All of the server's data is in the data directory of the plan: what is exchanged is all there is."""
    folder = str(facts["folder"]).rstrip("/")
    if folder != asset.data_directory:
        raise PreconditionFailed(
            f"the server's data directory is {printable(folder)}, the plan says {asset.data_directory}.", where,
            "correct `data_directory` of the database in the plan",
        )  # fmt: skip
    for key in ("home", "log", "undo"):
        other = str(facts[key] or "").rstrip("/")
        if other not in {"", ".", folder}:
            raise Unsupported(
                f"the server keeps data of InnoDB in {printable(other)}, outside of its data directory.", where,
                "back this database up with `method: dump`, or move that into the data directory",
            )  # fmt: skip


def _read(tools: MariadbTools, tables: list[str], where: str) -> TablesSeen:
    seen = look(tools, tools.asset.database, tables, check=False)
    wrong = seen.errors or {
        table: "the server gives no checksum of its rows" for table in tables if table not in seen.sums
    }
    if wrong:
        table, why = next(iter(sorted(wrong.items())))
        raise Damaged(
            f"table {table} cannot be read to its end: {why}. No backup was made.", where,
            "run a recovery for this database; older recovery points are kept",
        )  # fmt: skip
    return seen


def _counts(before: TablesSeen, after: TablesSeen) -> tuple[TableCount, ...]:
    """Rows of each table; the checksum of those that nobody wrote to while the backup was taken: it is the backup's."""
    return tuple(
        TableCount(table=table, rows=rows, checksum=total if total == after.sums.get(table) else "")
        for table, rows in sorted(before.counts.items())
        for total in [before.sums.get(table, "")]
    )


def _position(facts: dict[str, str], base: str) -> str:
    """Where the backup ends in the logs, from what the tool says of it."""
    lsn, binlog = facts.get("last_lsn", ""), _BINLOG.search(facts.get("binlog_pos", ""))
    if not lsn.isdigit():
        return ""
    file = f"{base.rpartition('/')[0]}/{binlog[1]}" if binlog else ""
    return f"lsn {lsn} binlog {file} {binlog[2]}" if binlog and base and " " not in file else f"lsn {lsn}"


def _stream(
    tools: MariadbTools, program: str, where: str, reader: StreamReader, offer: Callable[[bytes], None]
) -> None:
    def passing(chunk: bytes) -> None:
        reader.feed(chunk)
        offer(chunk)

    folder = f"{tools.connection.host.state_dir.rstrip('/')}/mariabackup"  # named in its messages; nothing is put there
    words = (*tools.words(program, protocol=False), "--backup", "--stream=mbstream", f"--target-dir={folder}")
    result = tools.connection.run(tools.command(words, SECONDS), limit=_NOISE, on_stdout=passing)
    if result.status is None:
        raise Transient("the connection was lost during the backup.", where, "run it again")
    said = result.stderr.decode("utf-8", "replace").splitlines()
    lines = [line for line in said if _LINE.match(line)]
    if result.ok and lines and lines[-1].endswith(_DONE):
        reader.finish()
        return
    errors = printable("; ".join([line for line in lines if _TOLD.search(line)][-4:])[-600:])
    if result.ok:
        errors = f"it ended without the words `{_DONE}`. {errors}"
    if _DENIED.search(errors):
        raise PreconditionFailed(
            f"{tools.asset.user} may not back the server up: {errors}.", where,
            "grant it RELOAD, PROCESS, LOCK TABLES and BINLOG MONITOR on *.*, or name another user in the plan; the "
            "tool also needs to read the data directory (`sudo: true`, or `os_user`)",
        )  # fmt: skip
    raise Damaged(
        f"mariabackup did not finish: {errors}. No backup was made.", where,
        "run a recovery for this database if pages are damaged; older recovery points are kept",
    )  # fmt: skip
