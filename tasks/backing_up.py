"""The Prefect tasks of `back_up`: one asset each (R-PREV-1)."""

from __future__ import annotations

from blocks.backups.pgbackrest import PgBackRestStore
from blocks.home import open_store
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from checks import rpm_baseline, rpm_database, system
from checks.baseline import record as record_baseline
from model.assets import (
    DatabaseAsset,
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    RpmAsset,
    SqliteAsset,
    SystemAsset,
)
from model.errors import BadInput
from model.manifest import RecoveryPoint
from tasks import recovery_points
from tasks.adopting import adopt
from tasks.backup_cluster import back_up_cluster
from tasks.backup_database import back_up_database
from tasks.backup_files import back_up_files
from tasks.backup_mariabackup import back_up_mariabackup
from tasks.backup_mariadb import back_up_mariadb
from tasks.backup_sqlite import back_up_sqlite
from tasks.one_act import one_act
from tasks.progress import Progress
from tasks.render import size
from tasks.work import PlanFile, load_plan, save_baseline


def _wrong_kind(file: PlanFile, asset: str) -> BadInput:
    kind = file.plan.assets[asset].kind
    return BadInput(f"{asset} is of kind {kind}.", str(file.path), "name an asset that is backed up this way")


@one_act(name="look for open incidents", task_run_name="hosts of {plan} whose backups stand still")
def frozen_hosts(plan: str) -> dict[str, str]:
    """Hosts whose scheduled backups stand still, and why."""
    file, journal = load_plan(plan), open_store()
    said = {host: recovery_points.frozen(file.plan, journal, host) for host in file.plan.hosts}
    return {host: why for host, why in said.items() if why}


def _keep(file: PlanFile, point: RecoveryPoint) -> str:
    """Write the new recovery point into our inventory; what is to be said about it."""
    journal = open_store()
    doubt = recovery_points.doubt(file.plan, journal, point.asset)
    return recovery_points.record(file.plan, journal, file.backups()[point.source], point, doubt)


@one_act(name="back up files", task_run_name="back up {asset} of {host}")
def back_up_file_set(plan: str, asset: str, host: str) -> str:
    """Back up one file set: archive and signed manifest."""
    file = load_plan(plan)
    wanted = file.plan.assets[asset]
    if not isinstance(wanted, FilesAsset):
        raise _wrong_kind(file, asset)
    with file.connect(host) as connection:
        prove(connection)
        point = back_up_files(
            connection,
            asset,
            wanted,
            host,
            file.backups()[wanted.backup],
            Progress(f"back up {asset}", f"back-up-{asset}"),
        )
    return f"{asset}: recovery point {point.id}, {size(point.bytes)}.{_keep(file, point)}"


@one_act(name="adopt snapshot", task_run_name="take over a snapshot of {asset} on {host}")
def adopt_snapshot(plan: str, asset: str, host: str, snapshot: str) -> str:
    """Take over a snapshot that the users' own backups made; it is a recovery point then."""
    file, journal = load_plan(plan), open_store()
    wanted = file.plan.assets[asset]
    if not isinstance(wanted, FilesAsset):
        raise _wrong_kind(file, asset)
    store = file.backups()[wanted.backup]
    known = [store.manifest(point).snapshot for point in store.points(asset)]
    with file.connect(host) as connection:
        point, said = adopt(
            connection, asset, wanted, host, store, snapshot, known,
            Progress(f"adopt {asset}", f"adopt-{asset}"),
        )  # fmt: skip
    recovery_points.record(file.plan, journal, store, point)
    return f"{asset}: snapshot taken over as recovery point {point.id}.{said}"


@one_act(name="dump database", task_run_name="dump {asset} of {host}")
def dump_database(plan: str, asset: str, host: str) -> str:
    """Dump or copy a database, or have pgBackRest back up its cluster; a signed manifest with row counts either way."""
    file = load_plan(plan)
    wanted = file.plan.assets[asset]
    if not isinstance(wanted, DatabaseAsset):
        raise _wrong_kind(file, asset)
    store, progress = file.backups()[wanted.backup], Progress(f"dump {asset}", f"dump-{asset}")
    with file.connect(host) as connection:
        prove(connection)
        match wanted:
            case MariadbAsset(method="mariabackup"):
                point = back_up_mariabackup(connection, asset, wanted, host, store, file.secrets, progress)
            case MariadbAsset():
                point = back_up_mariadb(connection, asset, wanted, host, store, file.secrets, progress)
            case SqliteAsset():
                point = back_up_sqlite(connection, asset, wanted, host, store, progress)
            case _ if isinstance(store, PgBackRestStore):
                point = back_up_cluster(connection, asset, wanted, host, store, file.secrets, progress)
            case _:
                point = back_up_database(connection, asset, wanted, host, store, file.secrets, progress)
    of_tool = (
        f", set {store.manifest(point).snapshot} of pgBackRest" if isinstance(store, PgBackRestStore) else ""
    )
    return f"{asset}: recovery point {point.id}{of_tool or ', ' + size(point.bytes)}.{_keep(file, point)}"


@one_act(name="record packages", task_run_name="record what {asset} of {host} looks like while healthy")
def record_package_baseline(plan: str, asset: str, host: str) -> str:
    """Record mode, owner, type and hash of every healthy package file; of RPM packages, which there are."""
    file = load_plan(plan)
    wanted = file.plan.assets[asset]
    if not isinstance(wanted, DpkgAsset | RpmAsset):
        raise _wrong_kind(file, asset)
    with file.connect(host) as connection:
        prove(connection)
        if isinstance(wanted, RpmAsset):
            return _record_rpm(file, asset, wanted, connection)
        entries = record_baseline(connection, wanted)
    save_baseline(open_store(), file.plan, asset, entries)
    return f"{asset}: baseline of {len(entries)} paths recorded."


def _record_rpm(file: PlanFile, name: str, asset: RpmAsset, connection: Connection) -> str:
    """Which RPM packages there are; a copy of their database where the plan wants one."""
    entries = rpm_baseline.record(connection, asset)
    save_baseline(open_store(), file.plan, name, entries)
    said = f"{name}: {len(entries)} packages and keys recorded."
    if asset.backup is None:
        return said
    folder = rpm_database.folder(connection)
    kept = FilesAsset(kind="files", host=asset.host, path=folder, backup=asset.backup, exclude=(".rpm.lock",))
    point = back_up_files(
        connection,
        name,
        kept,
        asset.host,
        file.backups()[asset.backup],
        Progress(f"keep {name}", f"keep-{name}"),
    )
    kept_as = f"{said} A copy of their database is recovery point {point.id}, {size(point.bytes)}."
    return kept_as + _keep(file, point)


@one_act(name="record system", task_run_name="record the state of {host} while healthy")
def record_system_baseline(plan: str, asset: str, host: str) -> str:
    """Record units, drop-ins, users, mounts and boot files."""
    file = load_plan(plan)
    wanted = file.plan.assets[asset]
    if not isinstance(wanted, SystemAsset):
        raise _wrong_kind(file, asset)
    with file.connect(host) as connection:
        prove(connection)
        entries = system.record_baseline(connection, wanted)
    save_baseline(open_store(), file.plan, asset, entries)
    return f"{asset}: state of the host recorded, {len(entries)} things."
