"""Stocking a package store while the host is healthy: a file of every package in exactly its version (R-PREV-4).

The files come from the host's own cache or through it from its mirrors, each with the hash of the index apt verified.
What is there already stays; what was fetched is signed also when the rest fails, so that calling again goes on.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from blocks.packages import PackageStore
from checks import obtainable, package_sources
from checks.package_sources import CACHE, Offer, Wanted
from model.assets import DpkgAsset
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.shelf import PackageFile
from tasks.fetch_package import DOWNLOAD
from tasks.package_index import describe
from tasks.staging import Progress, Staging, ask, chunks, sha256_of

BATCH_BYTES = 256 << 20
"""Bytes the host holds for us at a time at most."""


@dataclass(frozen=True)
class Stocked:
    """What stocking one asset's packages did.

    Attributes:
        fetched: packages fetched now.
        present: packages that were there.
        missing: packages that could not be had, each with the reason.
        bytes: bytes fetched.
    """

    asset: str
    fetched: int
    present: int
    missing: Mapping[str, str]
    bytes: int

    @property
    def sentence(self) -> str:
        """One line for people."""
        lost = "; ".join(f"{name}: {why}" for name, why in list(self.missing.items())[:5])
        more = f" and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
        tail = f" Not to be had: {lost}{more}." if self.missing else ""
        return f"{self.asset}: {self.fetched} packages fetched, {self.present} were there.{tail}"


def stock(
    name: str,
    asset: DpkgAsset,
    connection: Connection,
    store: PackageStore,
    signing: SigningKey,
    progress: Progress,
) -> Stocked:
    """Fetch what the store does not have of an asset's installed packages, and sign the store's index.

    Args:
        name: of the asset.
        asset: its packages.
        connection: the host, healthy.
        store: where the files go.
        signing: this installation's key, which the plan trusts for this store.
        progress: told (bytes fetched, bytes in all).

    Raises:
        Transient: host or store do not answer; calling again goes on.
        Damaged: a file is not what the index apt verified says; or the store's index is not ours.
    """
    try:
        known = list(store.index().packages)
    except PreconditionFailed:
        known = []
    there = {(p.name, p.version, p.architecture) for p in known if p.family == "deb"}
    wanted = obtainable.installed(connection, asset)
    lacking = [one for one in wanted if one not in there]
    found = package_sources.find(connection, asset, lacking, None)
    total = sum(offer.bytes for offer in found.offers.values())
    fetched: list[PackageFile] = []
    done = 0
    try:
        for package in _fetch(connection, found.offers, store):
            fetched.append(package)
            done += package.bytes
            progress(done, total)
    finally:
        if fetched or not known:
            fresh = {package.filename for package in fetched}
            store.publish([*(p for p in known if p.filename not in fresh), *fetched], signing)
    why = "; ".join(found.refused) or "its version is in no mirror of the host and not in its cache"
    missing = {f"{one[0]} {one[1]}": why for one in lacking if one not in found.offers}
    return Stocked(name, len(fetched), len(wanted) - len(lacking), missing, done)


def _fetch(
    connection: Connection, offers: Mapping[Wanted, Offer], store: PackageStore
) -> Iterator[PackageFile]:
    place = Staging(
        connection, f"{connection.host.state_dir.rstrip('/')}/staging/stock-{secrets.token_hex(4)}"
    )
    place.folder("")
    try:
        for batch in _batches(offers):
            mirrored = [one for one in batch if offers[one].source == "mirror"]
            if mirrored:
                _download(place, mirrored)
            for one in batch:
                offer = offers[one]
                folder = place.path if offer.source == "mirror" else CACHE
                yield _keep(connection, f"{folder}/{offer.filename}", one, offer, store)
                if offer.source == "mirror":
                    ask(connection, "rm", "-f", "--", f"{folder}/{offer.filename}")
    finally:
        place.remove(predecessors=False)


def _batches(offers: Mapping[Wanted, Offer]) -> Iterator[list[Wanted]]:
    batch: list[Wanted] = []
    held = 0
    for one, offer in offers.items():
        if batch and held + offer.bytes > BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += offer.bytes
    if batch:
        yield batch


def _download(place: Staging, wanted: Sequence[Wanted]) -> None:
    names = [f"{name}{'' if arch == 'all' else f':{arch}'}={version}" for name, version, arch in wanted]
    words = ("-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", "--", *names)
    result = ask(
        place.connection, "sh", "-c", DOWNLOAD, "reinstate-stock", place.path, *words, timeout=3600.0
    )
    if not result.ok:
        raise Transient(
            f"the host's mirror did not give all packages: {result.tail(3)}.",
            place.connection.name,
            "see that its mirrors answer; what was fetched before stays",
        )


def _keep(
    connection: Connection, path: str, wanted: Wanted, offer: Offer, store: PackageStore
) -> PackageFile:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / offer.filename
        with local.open("wb") as file:

            def write(chunk: bytes) -> None:
                file.write(chunk)

            ask(connection, "cat", "--", path, timeout=1800.0, on_stdout=write)
        if (told := sha256_of(local)) != offer.sha256:
            raise ReinstateError(
                f"{path} has SHA-256 {told}, apt's index says {offer.sha256}.",
                connection.name,
                "nothing was kept; clean the host's cache (`apt-get clean`) and see that its disk is not full",
            )
        package = describe(local, offer.filename)
        if (package.name, package.version, package.architecture) != wanted:
            raise ReinstateError(
                f"{path} says it is {package.name} {package.version} {package.architecture}.",
                connection.name,
                "nothing was kept; find out who made this mirror",
            )
        store.add(package, chunks(local))
    return package
