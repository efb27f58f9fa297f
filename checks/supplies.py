"""What a repair can be made from: packages of exactly the installed version, wheels, recovery points. Read-only."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks import dpkg, system_supplies
from checks.dpkg import Database, Package
from checks.stat import list_tree
from model.assets import DpkgAsset, FilesAsset, PipAsset, PostgresAsset, SystemAsset
from model.command import Command
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.finding import Finding
from model.manifest import Entry
from model.plan import Plan
from model.supplies import PackageSupply, PointSupply, Supplies, SystemSupply, WheelSupply

POINTS = 3
"""Recovery points offered per asset: the newest may be younger than the damage, or another host's."""

CACHE = "/var/cache/apt/archives"
_URI = re.compile(r"^'(?P<uri>[^']*)' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})\s*$")
_WHEEL = re.compile(
    r"^(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl$"
)

# Where the environment keeps its packages, found without running anything of it (no site, no .pth).
_SITE = """
import os, sys, sysconfig
prefix = os.path.dirname(os.path.dirname(sys.argv[1]))
venv = os.path.exists(os.path.join(prefix, "pyvenv.cfg")) and "venv" in sysconfig.get_scheme_names()
where = {"scheme": "venv", "vars": {"base": prefix, "platbase": prefix}} if venv else {}
print(os.path.realpath(sysconfig.get_path("purelib", **where)))
print(sys.implementation.cache_tag)
"""


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
    wheels: list[WheelSupply] = []
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
                try:
                    wheels += _wheels(name, asset, connection, wanted, package_dirs[asset.store])
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
        packages=tuple(packages), wheels=tuple(wheels), points=tuple(points), systems=tuple(systems),
        remarks=tuple(remarks),
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


def _wheels(
    name: str, asset: PipAsset, connection: Connection, wanted: Sequence[tuple[str, str]], folder: Path
) -> Iterator[WheelSupply]:
    for distribution, version in wanted:
        for path in sorted(folder.glob("*.whl")):
            match = _WHEEL.match(path.name)
            if match is None or _plain(match["name"]) != _plain(distribution) or match["version"] != version:
                continue
            data = path.read_bytes()
            yield WheelSupply(
                asset=name, distribution=distribution, version=version, filename=path.name,
                sha256=hashlib.sha256(data).hexdigest(), bytes=len(data),
                touches=tuple(_wheel_touches(connection, asset, path)),
            )  # fmt: skip
            break


def _wheel_touches(connection: Connection, asset: PipAsset, wheel: Path) -> list[str]:
    """Every path pip changes when it installs a wheel: the wheel's files, their folders, RECORD's, byte code."""
    result = connection.run(
        Command((asset.python, "-I", "-S", "-c", _SITE, asset.python), sudo=True, timeout=60.0)
    )
    lines = result.text.split("\n")
    if not result.ok or not lines[0].startswith("/"):
        raise ReinstateError(
            f"the environment's interpreter does not run: {result.tail(2)}", f"{connection.name}:{asset.python}",
            "repair the interpreter's own package first",
        )  # fmt: skip
    site, tag = PurePosixPath(lines[0]), lines[1]
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(n) for n in archive.namelist() if not n.endswith("/") and ".data/" not in n]
    info = next(name.parts[0] for name in names if name.parts[0].endswith(".dist-info"))
    paths = {str(site / name) for name in names}
    paths |= {str(site / info / name) for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    for name in names:
        if name.suffix == ".py":
            paths.add(str(site / name.parent / "__pycache__" / f"{name.stem}.{tag}.pyc"))
            paths.add(str(site / name.parent / "__pycache__"))
        paths |= {str(site / parent) for parent in name.parents if str(parent) != "."}
    for top in sorted({name.parts[0] for name in names if len(name.parts) > 1}):
        paths |= set(list_tree(connection, str(site / top)))
    return sorted(paths | set(_recorded(connection, site, info)))


def _recorded(connection: Connection, site: PurePosixPath, info: str) -> Iterator[str]:
    """Paths RECORD lists outside the wheel, such as scripts; a missing RECORD lists nothing."""
    try:
        text = connection.read_file(str(site / info / "RECORD")).decode("utf-8", "replace")
    except PreconditionFailed:
        return
    for line in text.splitlines():
        path = line.rsplit(",", 2)[0].strip('"')
        if path.startswith("../"):
            parts: list[str] = []
            for part in (site / path).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            yield str(PurePosixPath(*parts))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
