"""What a repair can be made from: packages of exactly the installed version, wheels, recovery points. Read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks import dpkg, system_supplies
from checks.dpkg import Database, Package
from checks.pip_supplies import PipSupplies, pip_supplies
from model.assets import DpkgAsset, FilesAsset, PipAsset, PostgresAsset, SystemAsset
from model.command import Command
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.finding import Finding
from model.manifest import Entry
from model.plan import Plan
from model.supplies import PackageSupply, PointSupply, Supplies, SystemSupply

POINTS = 3
"""Recovery points offered per asset: the newest may be younger than the damage, or another host's."""

CACHE = "/var/cache/apt/archives"
_URI = re.compile(r"^'(?P<uri>[^']*)' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})\s*$")


def gather(
    plan: Plan,
    connections: Mapping[str, Connection],
    findings: Sequence[Finding],
    stores: Mapping[str, BackupStore],
    package_dirs: Mapping[str, Path],
    baselines: Mapping[str, Sequence[Entry]] | None = None,
) -> Supplies:
    """Look for what can repair the findings.

    Args:
        plan: the plan.
        connections: an open connection per host.
        findings: what is damaged; nothing is looked for that nobody needs.
        stores: backup sources by name.
        package_dirs: package stores of the plan by name, folders on this machine.
        baselines: recorded states by asset.

    Raises:
        Transient: a host or a store cannot be reached.
    """
    packages: list[PackageSupply] = []
    python: list[PipSupplies] = []
    points: list[PointSupply] = []
    systems: list[SystemSupply] = []
    remarks: list[str] = []
    for name in sorted({finding.asset for finding in findings} & set(plan.assets)):
        asset = plan.assets[name]
        wanted = sorted({(f.package, f.version) for f in findings if f.asset == name and f.package})
        connection = connections[asset.host]
        match asset:
            case DpkgAsset():
                packages += _packages(name, asset, connection, wanted, package_dirs)
            case PipAsset():
                here = [finding for finding in findings if finding.asset == name]
                try:
                    python.append(pip_supplies(name, asset, connection, here, package_dirs[asset.store]))
                except Transient:
                    raise
                except ReinstateError as error:  # what else is damaged still gets its proposal
                    remarks.append(str(error))
            case FilesAsset() | PostgresAsset():
                found, said = _points(name, stores[asset.backup])
                points += found
                remarks += said
            case SystemAsset():
                known = (baselines or {}).get(name, ())
                systems.append(system_supplies.gather(plan, name, asset, connection, findings, stores, known))
                for other, owner in plan.assets.items():
                    if (
                        wanted
                        and isinstance(owner, DpkgAsset)
                        and (owner.host, owner.root) == (asset.host, "/")
                    ):
                        packages += _packages(other, owner, connection, wanted, package_dirs)
                        break
            case _:
                pass
    return Supplies(
        packages=tuple(packages), points=tuple(points), systems=tuple(systems),
        wheels=tuple(wheel for one in python for wheel in one.wheels),
        trees=tuple(tree for one in python for tree in one.trees),
        interpreters=tuple(interpreter for one in python for interpreter in one.interpreters),
        dressed=tuple(entry for one in python for entry in one.dressed),
        remarks=(*remarks, *(remark for one in python for remark in one.remarks)),
    )  # fmt: skip


def _points(name: str, store: BackupStore) -> tuple[list[PointSupply], list[str]]:
    """The newest recovery points whose manifest verifies; damaged ones are said, and the next is tried."""
    found: list[PointSupply] = []
    remarks: list[str] = []
    for point in store.points(name):
        if len(found) == POINTS:
            break
        try:
            found.append(PointSupply(asset=name, point=point, manifest=store.manifest(point)))
        except Damaged as error:
            remarks.append(str(error))
    return found, remarks


def _packages(
    name: str,
    asset: DpkgAsset,
    connection: Connection,
    wanted: Sequence[tuple[str, str]],
    package_dirs: Mapping[str, Path],
) -> Iterator[PackageSupply]:
    database = dpkg.read(connection, asset)
    shelf = _index(package_dirs[asset.store]) if asset.store else []
    for package, version in wanted:
        known = database.packages.get(package)
        version = version or (known.version if known else "")
        architecture = known.architecture if known else ""
        found = _in_mirror(connection, asset, package, version) or _in_store(
            shelf, asset.store or "", package, version, architecture
        )
        if found is None:
            continue
        source, filename, sha256, count, arch = found
        yield PackageSupply(
            asset=name, package=package, version=version, architecture=arch or architecture, source=source,
            filename=filename, sha256=sha256, bytes=count,
            touches=tuple(_touches(asset, database, known)) if known else (),
        )  # fmt: skip


Found = tuple[str, str, str, int, str]
"""source, filename, sha256, bytes, architecture."""


def _in_mirror(connection: Connection, asset: DpkgAsset, package: str, version: str) -> Found | None:
    """The host's own apt sources, and its cache when the very file lies there."""
    if asset.root != "/" or not version:
        return None
    # An index may hold SHA-512 as well, and apt names the strongest. Looking must not rewrite the host's cache file.
    options = (
        "--option=Acquire::ForceHash=SHA256",
        "--option=Dir::Cache::pkgcache=",
        "--print-uris",
        "--quiet=2",
    )
    words = ("apt-get", "download", *options, "--", f"{package}={version}")
    result = connection.run(Command(words, sudo=True, env={"LC_ALL": "C"}, timeout=60.0))
    for line in result.text.splitlines() if result.ok else ():
        match = _URI.match(line.strip())
        if match is None:
            continue
        filename, sha256, count = match["name"], match["sha256"], int(match["size"])
        cached = connection.run(Command(("sha256sum", "--", f"{CACHE}/{filename}"), sudo=True, timeout=120.0))
        source = "host-cache" if cached.ok and cached.text.startswith(sha256) else "mirror"
        return source, filename, sha256, count, ""
    return None


def _in_store(
    shelf: Sequence[Mapping[str, str]], store: str, package: str, version: str, architecture: str
) -> Found | None:
    for stanza in shelf:
        right = (stanza.get("Package"), stanza.get("Version")) == (package.partition(":")[0], version)
        if (
            right
            and stanza.get("Architecture") in (architecture, "all")
            and len(stanza.get("SHA256", "")) == 64
        ):
            name = PurePosixPath(stanza["Filename"]).name
            return f"store:{store}", name, stanza["SHA256"], int(stanza["Size"]), stanza["Architecture"]
    return None


def _index(folder: Path) -> list[dict[str, str]]:
    """Stanzas of a package store's `Packages` file (dpkg-scanpackages, apt-ftparchive).

    Raises:
        PreconditionFailed: there is none.
    """
    try:
        text = (folder / "Packages").read_text(encoding="utf-8")
    except OSError as error:
        raise PreconditionFailed(
            "the package store has no readable index.",
            str(folder),
            "run `apt-ftparchive packages . > Packages` in it",
        ) from error
    stanzas = []
    for block in text.split("\n\n"):
        pairs = (
            line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" ")
        )
        stanza = {key: value.strip() for key, value in pairs}
        if stanza:
            stanzas.append(stanza)
    return stanzas


def _touches(asset: DpkgAsset, database: Database, package: Package) -> Iterator[str]:
    """Every path the installation of a package changes: its own, dpkg's records, the library cache."""
    root = asset.root.rstrip("/")
    for path in package.paths or ():
        if path not in ("/", "/."):
            yield root + database.placed(package.name, path)
    for name in package.info:
        yield f"{root}/var/lib/dpkg/info/{name}"
    for name in ("status", "status-old"):
        yield f"{root}/var/lib/dpkg/{name}"
    if not root:
        yield "/etc/ld.so.cache"
