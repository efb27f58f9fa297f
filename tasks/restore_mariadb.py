"""Restoring a MariaDB database from a dump: into a new database, counted, then its tables are renamed into place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.mariadb import MariadbTools, identifier, literal
from checks.mariadb_tables import look
from model.assets import MariadbAsset
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError, Transient
from model.manifest import Manifest
from model.proposal import RestoreDatabase
from tasks import landing
from tasks.database_swap import Names
from tasks.dump_grammar import DumpReader
from tasks.fetch import fetch
from tasks.mariadb_swap import MariadbEffect
from tasks.performed import Performed
from tasks.pieces import Piece
from tasks.row_counts import first_difference, refuse_shrunk, total
from tasks.staging import Progress, Staging, staging

_PARENTS = """
SELECT JSON_OBJECT('child', child.table_name, 'parent', parent.table_name)
FROM information_schema.innodb_sys_foreign f
JOIN information_schema.tables child
  ON f.for_name = CONCAT({database}, '/', CAST(CONVERT(child.table_name USING filename) AS CHAR))
JOIN information_schema.tables parent
  ON f.ref_name = CONCAT({database}, '/', CAST(CONVERT(parent.table_name USING filename) AS CHAR))
WHERE child.table_schema = {database} AND parent.table_schema = {database}
"""


def perform(
    connection: Connection,
    asset: MariadbAsset,
    secrets: Secrets,
    action: RestoreDatabase,
    store: BackupStore,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
    machine_id: str = "",
) -> Performed:
    """Restore the database of a signed action.

    Args:
        connection: the host.
        asset: the database of the plan.
        secrets: resolver of the plan's references (the password).
        action: which database, from which recovery point.
        store: where the point is.
        job_prefix: start of the jobs' names, `INCIDENT-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told (bytes fetched, bytes in all).
        machine_id: machine the backup must come from, for a cross-restore signed as such; default: this host.

    Raises:
        Damaged: dump or manifest is wrong, or the restored rows are not those of the manifest; the live database was
            not touched. Refused: another host's backup, or one that holds no or too few rows.
        PreconditionFailed: tools or rights are missing. Transient: interrupted; calling again goes on.
    """
    manifest = landing.proven_manifest(connection, store, action.point, action.asset, machine_id)
    where = f"{store.name}:{action.point.key}"
    if manifest.format != "mariadb-dump" or action.database != asset.database:
        raise Refused(f"this is not a dump of {asset.database}.", where, "propose again")
    refuse_shrunk(store, action.point, manifest)
    names = Names.of(asset.database, job_prefix, action.id)
    with MariadbTools(connection, asset, secrets) as tools:
        effect = MariadbEffect(tools, names, job_prefix, token)
        there = tools.databases()
        swapped = _is_swapped(effect, there)
        if swapped and names.fresh not in there:
            return Performed(f"{names.live} was restored from {action.point.id} already.")
        with staging(connection, job_prefix, token) as stage:
            moved = fetch_dump(stage, store, manifest, progress)
            dump = f"{stage.path}/dump"
            if not swapped:
                restore_beside(effect, manifest, dump)
                _swap(effect, there)
            effect.load_code(dump)
        effect.drop("empty", names.fresh)
        there = tools.databases()
    kept = (
        f"the damaged one is kept as {names.damaged}" if names.damaged in there else "there was none before"
    )
    return Performed(
        f"{names.live} restored from {action.point.id}: {len(manifest.tables)} tables with {total(manifest.tables)} "
        f"rows, counted before the swap; {kept}.",
        moved,
    )


def _is_swapped(effect: MariadbEffect, there: set[str]) -> bool:
    """Whether the fresh tables are in place: then none is left where they were loaded."""
    names = effect.names
    begun = names.damaged in there or _was_absent(effect)
    return begun and (names.fresh not in there or not effect.tools.tables(names.fresh))


def fetch_dump(stage: Staging, store: BackupStore, manifest: Manifest, progress: Progress) -> int:
    """Bring the dump to the host; it is judged line by line before the server sees its first statement."""
    reader = DumpReader(f"{store.name}:{manifest.object_key}")
    for chunk in store.read(manifest.object_key):
        reader.feed(chunk)
    rows = reader.finish()
    differs = first_difference(manifest.tables, rows, {c.table: c.checksum for c in manifest.tables})
    if differs:
        raise Damaged(
            f"the dump is not what its manifest says: {differs.replace('after loading', 'in it')}.",
            f"{store.name}:{manifest.object_key}",
            "use another recovery point; keep this one for the investigation",
        )
    piece = Piece("dump", "the dump", 0, manifest.object_bytes, manifest.object_sha256)
    return fetch(stage, store, manifest.object_key, manifest.object_bytes, [piece], progress)


def restore_beside(effect: MariadbEffect, manifest: Manifest, dump: str) -> None:
    """Load a staged dump into the fresh database, and compare it with the manifest.

    Raises:
        Damaged: it is not what the manifest says.
    """
    effect.create()
    try:
        effect.load(dump)
        require_counts(effect, manifest)
    except Transient:
        raise
    except ReinstateError:
        effect.drop("discard", effect.names.fresh)
        raise


def require_counts(effect: MariadbEffect, manifest: Manifest) -> None:
    """Rows and checksums of the fresh database against the manifest's.

    Raises:
        Damaged: naming the first table that differs.
    """
    fresh = effect.names.fresh
    seen = look(effect.tools, fresh, effect.tools.tables(fresh))
    differs = first_difference(manifest.tables, seen.counts, seen.sums)
    if seen.errors or differs:
        why = differs or f"table {next(iter(seen.errors))}: {next(iter(seen.errors.values()))}"
        raise Damaged(
            f"{why}; the live database was not touched.", effect.where,
            "use another recovery point; keep this one for the investigation",
        )  # fmt: skip


def _marker(effect: MariadbEffect) -> str:
    return f"{effect.folder}.was-absent"


def _was_absent(effect: MariadbEffect) -> bool:
    try:
        effect.tools.connection.read_file(_marker(effect), limit=1)
    except PreconditionFailed:
        return False
    return True


def _swap(effect: MariadbEffect, there: set[str]) -> None:
    names, tools = effect.names, effect.tools
    live, damaged = identifier(names.live), identifier(names.damaged)
    if names.live not in there:
        tools.connection.write_file(_marker(effect), b"")  # so that an undo knows
        effect.rename("swap", [(names.fresh, names.live)], [effect.making(live)])
        return
    effect.keep_code()
    tables = tools.tables(names.live)
    seen = look(tools, names.live, tables)
    lost = _lost(effect, seen.shut, seen.errors)
    if lost:
        effect.set_aside(lost)
    tools.connection.write_file(f"{effect.folder}.lost", "\0".join(lost).encode("utf-8", "surrogateescape"))
    fresh = set(tools.tables(names.fresh))
    first = [
        "SET SESSION foreign_key_checks = 0",
        effect.making(damaged),
        *(f"DROP TABLE IF EXISTS {live}.{identifier(table)}" for table in lost),
        *(
            f"CREATE TABLE {live}.{identifier(table)} LIKE {identifier(names.fresh)}.{identifier(table)}"
            for table in lost
            if table in fresh
        ),
        *effect.without_code(names.live, lost),
        "SET SESSION foreign_key_checks = 1",
    ]
    gone = {table for table in lost if table not in fresh}
    effect.rename("swap", [(names.live, names.damaged), (names.fresh, names.live)], first, without=gone)


def _lost(effect: MariadbEffect, shut: set[str], errors: Mapping[str, str]) -> list[str]:
    """Tables that cannot be renamed, children before their parents."""
    rows = effect.tools.rows(_PARENTS.format(database=literal(effect.names.live)))
    children: dict[str, set[str]] = {}
    for row in rows:
        children.setdefault(row["parent"], set()).add(row["child"])
    with_parents = {row["child"] for row in rows}
    lost = {table for table in errors if table in shut or table in with_parents}
    try:
        ordered: Sequence[str] = list(TopologicalSorter(children).static_order())
    except CycleError:
        ordered = sorted(lost)
    return [*(t for t in ordered if t in lost), *sorted(lost - set(ordered))]


def undo(
    connection: Connection,
    asset: MariadbAsset,
    secrets: Secrets,
    action: RestoreDatabase,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Rename the tables back; what was restored stays beside them, with anything written to it since.

    Args:
        connection: the host.
        asset: the database of the plan.
        secrets: resolver of the plan's references.
        action: the action to undo.
        job_prefix: start of the jobs' names, `INCIDENT-undo-ACTION-ATTEMPT`.
        token: our fencing token.
        progress: told once, at the end.

    Raises:
        ReinstateError: a rename failed; nothing was changed then.
    """
    names = Names.of(asset.database, job_prefix, action.id)
    with MariadbTools(connection, asset, secrets) as tools:
        effect = MariadbEffect(tools, names, job_prefix, token)
        there = tools.databases()
        sentence = f"{names.live} was not replaced; nothing had to be renamed back."
        if names.damaged in there and _is_swapped(effect, there):
            sentence = _undo(effect)
        elif names.damaged in there:
            effect.drop("discard", names.damaged)
        elif names.live in there and names.fresh not in there and _was_absent(effect):
            _move_away(effect, [])
            effect.drop("absent", names.live)
            sentence = (
                f"{names.live} is absent again, as before; the restored database is kept as {names.undone}."
            )
        if names.fresh in there:
            effect.drop("fresh", names.fresh)
    progress(1, 1)
    return Performed(sentence)


def _undo(effect: MariadbEffect) -> str:
    names = effect.names
    lost = _lost_before(effect)
    there = effect.tools.databases()
    if names.undone not in there or not effect.tools.tables(names.undone):
        _move_away(effect, [(names.damaged, names.live)])
    effect.load_kept_code()  # what it names is there, if only as a table that stands for a damaged one
    if lost:
        effect.sql(
            "lost",
            (
                "SET SESSION foreign_key_checks = 0",
                *(f"DROP TABLE IF EXISTS {identifier(names.live)}.{identifier(table)}" for table in lost),
            ),
            "empty tables that stood for damaged ones could not be removed",
            f"drop {', '.join(lost[:3])} by hand: they were not readable before the recovery",
        )
    effect.drop("empty", names.damaged)
    said = (
        f" {len(lost)} tables that could not be opened are gone from it; their files are in {effect.folder}."
        if lost
        else ""
    )
    return (
        f"{names.live} is again what it was before the recovery.{said} The restored database is kept as "
        f"{names.undone}."
    )


def _move_away(effect: MariadbEffect, back: Sequence[tuple[str, str]]) -> None:
    names = effect.names
    first = [effect.making(identifier(names.undone)), *effect.without_code(names.live)]
    effect.rename("rename", [(names.live, names.undone), *back], first)


def _lost_before(effect: MariadbEffect) -> list[str]:
    try:
        data = effect.tools.connection.read_file(f"{effect.folder}.lost", limit=1 << 20)
    except PreconditionFailed:
        return []
    return [name for name in data.decode("utf-8", "surrogateescape").split("\0") if name]


def forget(
    connection: Connection,
    asset: MariadbAsset,
    secrets: Secrets,
    action: RestoreDatabase,
    *,
    job_prefix: str,
    token: int,
) -> Performed:
    """After commit and retention: drop the damaged database that was kept."""
    names = Names.of(asset.database, job_prefix, action.id)
    with MariadbTools(connection, asset, secrets) as tools:
        MariadbEffect(tools, names, job_prefix, token).drop("forget", names.damaged)
    return Performed(f"{names.damaged} was dropped.")
