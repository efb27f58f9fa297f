"""What a repair can be made from: packages of exactly the installed version, wheels, recovery points. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blocks.backups.base import BackupStore
from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks import (
    cluster_supplies,
    data_directory,
    package_sources,
    recovery_points,
    rpm_supplies,
    status_copies,
    system_supplies,
)
from checks.dpkg import Database, Package
from checks.other_version import infos, other_version
from checks.pip_supplies import PipSupplies, pip_supplies
from checks.point_facts import Knowledge, Looked
from model.assets import (
    DatabaseAsset,
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PipAsset,
    PostgresAsset,
    RpmAsset,
    SqliteAsset,
    SystemAsset,
)
from model.errors import ReinstateError, Transient
from model.finding import Finding
from model.manifest import Entry
from model.plan import Plan
from model.supplies import (
    DatabaseSupply,
    PackagePaths,
    PackageSupply,
    RecordSupply,
    Refusal,
    RpmDatabaseSupply,
    Supplies,
    SystemSupply,
)


def gather(
    plan: Plan,
    connections: Mapping[str, Connection],
    findings: Sequence[Finding],
    stores: Mapping[str, BackupStore],
    package_stores: Mapping[str, PackageStore],
    baselines: Mapping[str, Sequence[Entry]] | None = None,
    known: Knowledge | None = None,
) -> Supplies:
    """Look for what can repair the findings.

    Args:
        plan: the plan.
        connections: an open connection per host.
        findings: what is damaged; nothing is looked for that nobody needs.
        stores: backup sources by name.
        package_stores: package stores of the plan by name.
        baselines: recorded states by asset.
        known: what is known of recovery points beside their stores.

    Raises:
        Transient: a host or a store cannot be reached.
    """
    packages: list[PackageSupply] = []
    python: list[PipSupplies] = []
    looked: list[Looked] = []
    systems: list[SystemSupply] = []
    remarks: list[str] = []
    refused: list[Refusal] = []
    records: list[RecordSupply] = []
    rpm_databases: list[RpmDatabaseSupply] = []
    databases: list[DatabaseSupply] = []
    paths: list[PackagePaths] = []
    for name in sorted({finding.asset for finding in findings} & set(plan.assets)):
        asset = plan.assets[name]
        wanted = sorted({(f.package, f.version) for f in findings if f.asset == name and f.package})
        connection = connections[asset.host]
        match asset:
            case DpkgAsset():
                read = status_copies.read(connection, asset)
                databases += _database(name, asset, read)
                paths += _paths(name, asset, read.database, wanted)
                found_packages, no = _packages(name, asset, connection, wanted, package_stores, read)
                packages += found_packages
                refused += no
            case RpmAsset():
                rpm = rpm_supplies.gather(
                    name, asset, connection, [f for f in findings if f.asset == name], package_stores
                )
                packages += rpm.packages
                refused += rpm.refused
                records += rpm.records
                rpm_databases += rpm.databases
                if asset.backup is not None and rpm.databases:
                    looked.append(_points(name, stores[asset.backup], connection, (), known))
            case PipAsset():
                here = [finding for finding in findings if finding.asset == name]
                try:
                    python.append(pip_supplies(name, asset, connection, here, package_stores[asset.store]))
                except Transient:
                    raise
                except ReinstateError as error:  # what else is damaged still gets its proposal
                    remarks.append(str(error))
                    refused.append(Refusal(asset=name, sentence=str(error)))
            case FilesAsset() | PostgresAsset() | MariadbAsset() | SqliteAsset():
                one, no_sets = _usable(name, asset, connection, stores[asset.backup], findings, known)
                looked.append(one)
                refused += no_sets
            case SystemAsset():
                recorded = (baselines or {}).get(name, ())
                systems.append(
                    system_supplies.gather(plan, name, asset, connection, findings, stores, recorded)
                )
                for other, owner in plan.assets.items():
                    if (
                        wanted
                        and isinstance(owner, DpkgAsset)
                        and (owner.host, owner.root) == (asset.host, "/")
                    ):
                        read = status_copies.read(connection, owner)
                        found_packages, no = _packages(other, owner, connection, wanted, package_stores, read)
                        packages += found_packages
                        refused += no
                        break
            case _:
                pass
    return Supplies(
        packages=tuple(packages), points=tuple(point for one in looked for point in one.supplies),
        judged=tuple(judged for one in looked for judged in one.judged),
        proofs=tuple((one.judged[0].asset, proof) for one in looked for proof in one.proofs),
        systems=tuple(systems), refused=tuple(refused),
        databases=tuple(databases), paths=tuple(paths), records=tuple(records), rpm_databases=tuple(rpm_databases),
        wheels=tuple(wheel for one in python for wheel in one.wheels),
        trees=tuple(tree for one in python for tree in one.trees),
        interpreters=tuple(interpreter for one in python for interpreter in one.interpreters),
        dressed=tuple(entry for one in python for entry in one.dressed),
        remarks=(*remarks, *(r for one in looked for r in _said(one)), *(r for one in python for r in one.remarks)),
    )  # fmt: skip


def _usable(
    name: str, asset: FilesAsset | DatabaseAsset, connection: Connection, store: BackupStore,
    findings: Sequence[Finding], known: Knowledge | None,
) -> tuple[Looked, list[Refusal]]:  # fmt: skip
    """What an asset can be restored from, and why not from the rest.

    A cluster with its WAL comes back to the last moment from whichever set is whole: its sets have rules of their own.
    """
    if isinstance(asset, PostgresAsset) and isinstance(store, PgBackRestStore):
        sets, refused = cluster_supplies.gather(name, asset, connection, store)
        return Looked(supplies=sets), refused
    here = [finding for finding in findings if finding.asset == name]
    looked = _points(name, store, connection, here, known)
    if isinstance(asset, MariadbAsset) and asset.method == "mariabackup":
        looked.supplies = [
            one.model_copy(
                update={"replayable": data_directory.replayable(connection, one.manifest.position)}
            )
            for one in looked.supplies
        ]
    return looked, []


def _points(
    name: str,
    store: BackupStore,
    connection: Connection,
    findings: Sequence[Finding],
    known: Knowledge | None,
) -> Looked:
    """The recovery points of an asset, judged, the best first."""
    return recovery_points.look(
        name, connection.host.recorded_as, store, known or Knowledge(), connection, findings
    )


def _said(looked: Looked) -> list[str]:
    refused = [f"recovery point {j.point} of {j.asset}: {j.sentence}" for j in looked.judged if j.refused]
    return [*looked.remarks, *refused]


def _packages(
    name: str,
    asset: DpkgAsset,
    connection: Connection,
    wanted: Sequence[tuple[str, str]],
    stores: Mapping[str, PackageStore],
    read: status_copies.Read,
) -> tuple[list[PackageSupply], list[Refusal]]:
    database = read.database
    store = stores[asset.store] if asset.store else None
    asked: dict[package_sources.Wanted, str] = {}
    for package, version in wanted:
        known = database.packages.get(package)
        version = version or (known.version if known else "")
        architecture = known.architecture if known else (package.partition(":")[2] or database.native)
        if version:
            asked[package.partition(":")[0], version, architecture] = package
    found = package_sources.find(connection, asset, list(asked), store)
    supplies = []
    for one, package in asked.items():
        known = database.packages.get(package)
        offer = found.offers.get(one)
        touches = list(_touches(asset, database, known)) if known else []
        instead = ""
        if offer is None and asset.other_version == "propose" and store is not None:
            other = other_version(store, one, found)
            if other is not None:
                offer, more = other
                instead = one[1]
                touches += [f"{asset.root.rstrip('/')}{database.placed(package, path)}" for path in more]
                touches += [f"{asset.root.rstrip('/')}/var/lib/dpkg/info/{info}" for info in infos(package)]
        if offer is not None:
            supplies.append(
                PackageSupply(
                    asset=name, package=package, version=offer.version, instead_of=instead,
                    architecture=offer.architecture, source=offer.source, filename=offer.filename,
                    sha256=offer.sha256, bytes=offer.bytes, touches=tuple(sorted(set(touches))),
                    held=known is not None and known.want == "hold",
                )
            )  # fmt: skip
    return supplies, [Refusal(asset=name, sentence=sentence) for sentence in found.refused]


def _database(name: str, asset: DpkgAsset, read: status_copies.Read) -> Iterator[DatabaseSupply]:
    if read.mended is not None:
        yield DatabaseSupply(
            asset=name, path=f"{asset.root.rstrip('/')}/var/lib/dpkg/status", base=read.mended.base,
            sha256=read.mended.sha256, bytes=len(read.mended.data), restored=read.mended.restored,
            again=read.mended.again, lost=read.mended.lost,
        )  # fmt: skip


def _paths(
    name: str, asset: DpkgAsset, database: Database, wanted: Sequence[tuple[str, str]]
) -> Iterator[PackagePaths]:
    for package, _version in wanted:
        if (known := database.packages.get(package)) is not None:
            yield PackagePaths(asset=name, package=package, touches=tuple(_touches(asset, database, known)))


def _touches(asset: DpkgAsset, database: Database, package: Package) -> Iterator[str]:
    """Every path the installation of a package changes: its own, dpkg's records, the library cache."""
    root = asset.root.rstrip("/")
    # A lost list: the hashes and the configuration files name nearly all of its paths.
    for path in package.paths or (*package.md5sums, *package.conffiles):
        if path not in ("/", "/."):
            yield root + database.placed(package.name, path)
    for name in {*package.info, *(f"{package.name}.{suffix}" for suffix in ("list", "md5sums"))}:
        yield f"{root}/var/lib/dpkg/info/{name}"
    for name in ("status", "status-old"):
        yield f"{root}/var/lib/dpkg/{name}"
    if not root:
        yield "/etc/ld.so.cache"
