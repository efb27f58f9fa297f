"""A recovery point restored into a sandbox, checked there, damaged on purpose, checked again, and removed (R-PREV-1).

Everything is restored by the very functions a recovery uses. Nothing live is touched: files go into a folder of ours,
a database gets a name of its own, a cluster a folder and a socket of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from blocks.backups.base import BackupStore
from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks import database, files, postgres
from checks.postgres import Tools
from checks.sqlite import SqliteFile
from model.assets import Asset, FilesAsset, MariadbAsset, PostgresAsset, SqliteAsset
from model.errors import Damaged, PreconditionFailed, ReinstateError, Unsupported
from model.finding import CheckResult, Verdict
from model.manifest import FileType, Manifest, RecoveryPoint, absolute
from model.outcome import Stage
from model.proposal import RestoreFiles, Rung
from tasks import restore_database, restore_files, restore_sqlite
from tasks.backup_database import COUNTS, read_counts
from tasks.beside import EndOfBackup, beside
from tasks.database_swap import DatabaseEffect, Names
from tasks.exchange import Layout
from tasks.landing import proven_manifest
from tasks.rehearsal import Rehearsal
from tasks.row_counts import refuse_shrunk
from tasks.sandbox_copy import REMEDY, Copy, dropped
from tasks.sandbox_mariadb import data_directory_copy, mariadb_copy
from tasks.staging import Progress, ask, staging

# One byte of a file becomes another one, and no time tells: what a failing disk does.
_SPOIL = r"""
touch -r "$1" -- "$2" &&
byte=$(od -An -tx1 -N1 -- "$1" | tr -d ' \n') &&
if [ "$byte" = 58 ]; then with=Y; else with=X; fi &&
printf %s "$with" | dd of="$1" bs=1 count=1 conv=notrunc status=none &&
touch -r "$2" -- "$1"
"""
# The number of cells on the first page: tables are lost without a word.
_SPOIL_SQLITE = r"""printf '\0\0' | dd of="$1" bs=1 seek=103 count=2 conv=notrunc status=none"""
_CLEAR = r"""
[ ! -e "$1" ] || rm -rf --one-file-system -- "$1"
[ ! -e "$1" ]
"""
_MAKE = 'umask 077; mkdir -p -- "$1"'


@contextmanager
def sandboxed(
    connection: Connection,
    name: str,
    asset: Asset,
    store: BackupStore,
    point: RecoveryPoint,
    secrets: Secrets,
    machine_id: str,
    progress: Progress,
) -> Iterator[Copy]:
    """A recovery point, restored for the time of the context; afterwards nothing of it is left.

    Args:
        connection: the host of the sandbox.
        name: of the asset.
        asset: as the plan has it.
        store: where the point is.
        point: it.
        secrets: resolver of the plan's references.
        machine_id: machine the backup must come from.
        progress: told (bytes fetched, bytes in all).

    Raises:
        Damaged: it is not what was backed up. Refused: another host's, or (nearly) empty.
        PreconditionFailed: no room, or tools or rights are missing. Unsupported: nothing restores such an asset.
        ReinstateError: something of the sandbox is left; it says where.
    """
    there = Rehearsal(connection)
    trial = f"verify-{name}"
    manifest = proven_manifest(connection, store, point, name, machine_id)
    match asset:
        case FilesAsset():
            with _folder(there, trial) as folder:
                yield _files(there, name, asset, store, point, manifest, folder, progress)
        case PostgresAsset() if isinstance(store, PgBackRestStore):
            with _cluster(there, asset, store, point, manifest, secrets, trial) as copy:
                yield copy
        case PostgresAsset():
            refuse_shrunk(store, point, manifest)
            with _postgres(there, asset, store, manifest, secrets, trial, progress) as copy:
                yield copy
        case MariadbAsset() if manifest.format == "mariabackup":
            refuse_shrunk(store, point, manifest)
            with data_directory_copy(there, asset, store, manifest, secrets, trial, progress) as copy:
                yield copy
        case MariadbAsset():
            refuse_shrunk(store, point, manifest)
            with mariadb_copy(there, asset, store, manifest, secrets, trial, progress) as copy:
                yield copy
        case SqliteAsset():
            refuse_shrunk(store, point, manifest)
            with staging(there, trial, 0) as stage:
                moved = restore_sqlite.stage_copy(stage, store, manifest, progress)
                path, where = restore_sqlite.staged_copy(stage), f"{store.name}:{manifest.object_key}"
                yield Copy(
                    asset.model_copy(update={"path": path, "os_user": ""}), moved,
                    lambda: restore_sqlite.require_counts(SqliteFile(there, path), manifest, where),
                    lambda: _shell(there, _SPOIL_SQLITE, path),
                )  # fmt: skip
        case _:
            raise Unsupported(f"assets of kind {asset.kind} have no recovery points.", name, "leave it out")


def _shell(connection: Connection, script: str, *words: str) -> None:
    done = ask(connection, "sh", "-c", script, "reinstate-sandbox", *words, timeout=3600.0)
    if not done.ok:
        raise PreconditionFailed(
            f"the sandbox cannot be written: {done.tail(2)}.", f"{connection.name}:{words[0]}",
            "free space in the state directory; nothing live was touched",
        )  # fmt: skip


@contextmanager
def _folder(connection: Connection, trial: str) -> Iterator[str]:
    """A folder of ours, empty; what a run that was killed left there goes first."""
    folder = f"{connection.host.state_dir.rstrip('/')}/sandbox/{trial}"
    _clear(connection, folder)
    _shell(connection, _MAKE, folder)
    try:
        yield folder
    finally:
        _clear(connection, folder)


def _clear(connection: Connection, folder: str) -> None:
    if not ask(connection, "sh", "-c", _CLEAR, "reinstate-sandbox", folder, timeout=7200.0).ok:
        raise ReinstateError("the sandbox could not be removed.", f"{connection.name}:{folder}", REMEDY)


def _files(
    connection: Connection, name: str, asset: FilesAsset, store: BackupStore, point: RecoveryPoint,
    manifest: Manifest, folder: str, progress: Progress,
) -> Copy:  # fmt: skip
    root = f"{folder}/tree"
    action = RestoreFiles(
        id="a01", host=connection.name, asset=name, stage=Stage.RESTORE, rung=Rung.DATA_SET, reason="verification",
        undo="the sandbox is removed", point=point, root=asset.path, files=manifest.entries,
    )  # fmt: skip
    done = restore_files.perform(
        connection, asset, action, store, job_prefix=folder.rpartition("/")[2], token=0, progress=progress,
        machine_id=manifest.machine_id, into=root,
    )  # fmt: skip
    copy = asset.model_copy(update={"path": root, "host": connection.name, "exclude": (), "digest": "sha256"})

    def require() -> None:
        data = files.collect(connection, copy, manifest.model_copy(update={"root": root}))
        _require(files.judge(name, copy, data, manifest), store, point)

    victim = next((e.path for e in manifest.entries if e.type is FileType.FILE and e.size), None)
    spoil = (
        None if victim is None
        else lambda: _shell(connection, _SPOIL, absolute(root, victim), f"{folder}/times")
    )  # fmt: skip
    return Copy(None, done.bytes, require, spoil)


def _require(result: CheckResult, store: BackupStore, point: RecoveryPoint) -> None:
    if result.verdict is not Verdict.PASSED:
        first = result.findings[0].sentence if result.findings else result.sentence
        raise Damaged(
            f"what was restored is not what was backed up: {first}", f"{store.name}:{point.key}",
            "use another recovery point; keep this one for the investigation",
        )  # fmt: skip


@contextmanager
def _postgres(
    connection: Connection, asset: PostgresAsset, store: BackupStore, manifest: Manifest, secrets: Secrets,
    trial: str, progress: Progress,
) -> Iterator[Copy]:  # fmt: skip
    names = Names.of(asset.database, trial, "trial")
    with Tools(connection, asset, secrets) as tools:
        effect = DatabaseEffect(tools, names, trial, 0)

        def spoil() -> None:
            table = next(count.table for count in manifest.tables if count.rows)
            schema, _, name = table.partition(".")
            place = f"{postgres.identifier(schema)}.{postgres.identifier(name)}"
            row = f"DELETE FROM ONLY {place} WHERE ctid = (SELECT min(ctid) FROM ONLY {place})"  # noqa: S608 - quoted
            first = f"SET session_replication_role = replica; {row}"
            for sql in (first, f"TRUNCATE {place} CASCADE"):  # who is no superuser truncates
                if tools.psql(sql, database=names.fresh).ok:
                    return
            raise PreconditionFailed(
                "the copy cannot be changed.", effect.where, "give the role its own rights"
            )

        with dropped(effect):
            moved = restore_database.restore_beside(effect, store, manifest, progress)
            yield Copy(
                asset.model_copy(update={"database": names.fresh, "host": connection.name}), moved,
                lambda: restore_database.require_counts(effect, manifest), spoil,
            )  # fmt: skip


@contextmanager
def _cluster(
    connection: Rehearsal, asset: PostgresAsset, store: PgBackRestStore, point: RecoveryPoint, manifest: Manifest,
    secrets: Secrets, trial: str,
) -> Iterator[Copy]:  # fmt: skip
    """Beside the live cluster, read to the last row; recovery is held there, so nothing in it can be damaged."""
    layout = Layout.of(asset.data_directory or "", trial)

    with beside(
        connection, asset, secrets, store, [point], EndOfBackup(), layout, connection.plainly
    ) as both:

        def require() -> None:
            counted = both.then.psql(COUNTS, timeout=4 * 3600.0)
            rows = read_counts(counted.check(connection.name, "look at the server's log"))
            _require_tables(rows, manifest, f"{store.name}:{point.key}")
            data = database.collect(connection, both.then.asset, secrets)
            _require(database.judge(point.asset, both.then.asset, data, None), store, point)

        yield Copy(None, 0, require)


def _require_tables(rows: Mapping[str, int], manifest: Manifest, where: str) -> None:
    """The tables of the backup are there; rows were counted before it began, so only all of them gone is wrong."""
    lost = [count.table for count in manifest.tables if count.rows and not rows.get(count.table)]
    if lost:
        raise Damaged(
            f"table {lost[0]} has no row in the restored cluster, and had some when it was backed up.", where,
            "use another recovery point; keep this one for the investigation",
        )  # fmt: skip
