"""What a damaged RPM asset can be repaired from: .rpm files of exactly its versions, rpm's own records, its keys."""

from __future__ import annotations

import hashlib
import stat as modes
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from blocks.packages.rpmfile import rpm_paths
from checks import capabilities, rpm_database, rpm_sources
from checks.rpm_database import RpmDatabase, RpmPackage
from checks.rpm_packages import newest, split
from checks.rpm_rules import TYPES, owner_ids
from model.assets import RpmAsset
from model.command import Command
from model.errors import ReinstateError, Transient
from model.finding import Code, Finding
from model.manifest import Entry
from model.supplies import PackageSupply, RecordSupply, Refusal, RpmDatabaseSupply

_METADATA = frozenset({Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS, Code.FILE_CAPABILITIES_DIFFER})
KEY_FOLDER = "/etc/pki/rpm-gpg"
_KEYS = r"""
for f in "$1"/*; do [ -f "$f" ] && [ ! -L "$f" ] && printf '%s\0' "$f" && head -c 65536 "$f" && printf '\0'; done
exit 0
"""


@dataclass
class RpmSupplies:
    """What was found for one asset."""

    packages: list[PackageSupply] = field(default_factory=list)
    records: list[RecordSupply] = field(default_factory=list)
    databases: list[RpmDatabaseSupply] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def gather(
    name: str, asset: RpmAsset, connection: Connection, findings: Sequence[Finding], stores: Mapping[str, PackageStore]
) -> RpmSupplies:  # fmt: skip
    """Look for what can repair the findings of one asset.

    Raises:
        Transient: the host or a store cannot be reached. PreconditionFailed: rpm does not start.
    """
    database = rpm_database.read(connection)
    installed = {(p.name, p.version): p for p in database.packages}
    lost = {f.subject: split(f.subject) for f in findings if _is_lost(f)}
    known = {**installed, **{(p.name, p.version): p for p in lost.values() if p.name != "gpg-pubkey"}}
    wanted = {}
    for finding in findings:
        package = known.get((finding.package, finding.version))
        if package is not None:
            wanted[package.name, package.version, package.architecture] = package
    store = stores[asset.store] if asset.store else None
    supplies = RpmSupplies()
    for finding in findings:
        if finding.code is Code.PACKAGE_NOT_INSTALLED and finding.version and store is not None:
            supplies.packages += _absent(name, finding, database, store)
    found = rpm_sources.find(connection, asset, list(wanted), store)
    supplies.refused += [Refusal(asset=name, sentence=sentence) for sentence in found.refused]
    for one, package in wanted.items():
        offer = found.offers.get(one)
        if offer is not None:
            supplies.packages.append(
                PackageSupply(
                    asset=name, package=package.name, version=offer.version, architecture=offer.architecture,
                    source=offer.source, filename=offer.filename, sha256=offer.sha256, bytes=offer.bytes,
                    touches=tuple(sorted({*_touches(package, database)})), keeps=tuple(_keeps(package)),
                )
            )  # fmt: skip
    keys = [p.id for p in lost.values() if p.name == "gpg-pubkey"]
    supplies.packages += _keys(name, asset, connection, keys)
    supplies.records.append(RecordSupply(asset=name, entries=tuple(_records(database, findings))))
    if database.damaged:
        readable = tuple(p.id for p in (*database.packages, *database.keys))
        supplies.databases.append(
            RpmDatabaseSupply(
                asset=name, folder=database.folder, files=database.all_files, readable=readable,
                complete=bool(database.main) and not database.errors,
            )
        )  # fmt: skip
    return supplies


def _absent(
    name: str, finding: Finding, database: RpmDatabase, store: PackageStore
) -> Iterator[PackageSupply]:
    """A package that is not installed any more; the file itself says what its installation touches."""
    try:
        index = store.index()
        architectures = tuple(dict.fromkeys((*(p.architecture for p in database.packages), "noarch")))
        file = index.find("rpm", finding.package, finding.version, architectures)
        if file is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            paths = rpm_paths(store.fetch(file.filename, file.sha256, Path(folder)))
    except Transient:
        raise
    except ReinstateError:  # `rpm_sources` says why a store does not count
        return
    yield PackageSupply(
        asset=name, package=file.name, version=file.version, architecture=file.architecture,
        source=f"store:{store.name}", filename=file.filename, sha256=file.sha256, bytes=file.bytes,
        touches=tuple(sorted({*paths, *database.all_files, "/etc/ld.so.cache"})),
    )  # fmt: skip


def _is_lost(finding: Finding) -> bool:
    return finding.code is Code.PACKAGE_DATABASE_DAMAGED and bool(finding.package)


def _touches(package: RpmPackage, database: RpmDatabase) -> Iterator[str]:
    """Every path the installation of a package changes: its own, rpm's records, the library cache."""
    others = [
        p for versions in newest(database.packages).values() for p in versions if p.name == package.name
    ]
    for one in {package.id: package, **{p.id: p for p in others}}.values():
        for file in one.files:
            yield file.path
            if file.flags & rpm_database.CONFIG:
                yield from (f"{file.path}.{ending}" for ending in ("rpmnew", "rpmsave", "rpmorig"))
    yield from database.all_files
    yield "/etc/ld.so.cache"


def _keeps(package: RpmPackage) -> Iterator[str]:
    """Files whose content the packager excepts from verification, and that rpm overwrites all the same."""
    never = rpm_database.CONFIG | rpm_database.GHOST
    for file in package.files:
        lawful = not file.verify & rpm_database.DIGEST and not file.flags & never
        if lawful and file.digest and modes.S_ISREG(file.mode) and file.state == 0:
            yield file.path


def _records(database: RpmDatabase, findings: Sequence[Finding]) -> Iterator[Entry]:
    """Mode and owner as rpm has them, of paths where nothing else is wrong and the owner exists."""
    wrong = {f.subject: f for f in findings if f.code in _METADATA}
    for package in database.packages:
        for file in package.files:
            finding = wrong.get(file.path)
            if finding is None or (finding.package, finding.version) != (package.name, package.version):
                continue
            uid, gid = owner_ids(database, file)
            kind = TYPES.get(modes.S_IFMT(file.mode))
            held = capabilities.encode(file.capabilities)
            if kind is not None and uid is not None and gid is not None and held is not None:
                yield Entry(
                    path=file.path,
                    type=kind,
                    mode=modes.S_IMODE(file.mode),
                    uid=uid,
                    gid=gid,
                    capabilities=held,
                )


def _keys(name: str, asset: RpmAsset, connection: Connection, lost: Sequence[str]) -> Iterator[PackageSupply]:
    """Public keys that the database lost, from the plan or from the host's folder of keys."""
    if not lost:
        return
    answer = connection.run(
        Command(("sh", "-c", _KEYS, "reinstate-keys", KEY_FOLDER), sudo=True, timeout=60.0)
    )
    pieces = answer.stdout.decode("utf-8", "surrogateescape").split("\0")
    known = rpm_sources.known_keys(asset, dict(zip(pieces[0::2], pieces[1::2], strict=False)))
    for wanted in lost:
        if wanted in known:
            where, text = known[wanted]
            data = text.encode("utf-8", "surrogateescape")
            yield PackageSupply(
                asset=name, package="gpg-pubkey", version=wanted.removeprefix("gpg-pubkey-"), architecture="",
                source="plan" if where == "plan" else "host-key", filename=where,
                sha256=hashlib.sha256(data).hexdigest(), bytes=len(data),
            )  # fmt: skip
