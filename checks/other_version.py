"""The nearest other version of a package, for plans that let it be proposed when the installed one is nowhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from blocks.packages import PackageStore
from blocks.packages.debfile import paths
from checks.package_sources import Offer, Sources, Wanted, offer_of
from model.debversion import nearest
from model.errors import ReinstateError, Transient

_INFO = (
    *(
        "list",
        "md5sums",
        "conffiles",
        "preinst",
        "postinst",
        "prerm",
        "postrm",
        "triggers",
        "shlibs",
        "symbols",
    ),
    *("templates", "config"),
)


def other_version(store: PackageStore, wanted: Wanted, found: Sources) -> tuple[Offer, list[str]] | None:
    """The nearest version in the store, and every path it would bring; None when there is none.

    Only the store: what another version changes must be known before people sign, and that stands in the file itself.

    Raises:
        Transient: the store does not answer.
    """
    name, version, architecture = wanted
    try:
        files = [
            p for p in store.index().packages
            if (p.family, p.name) == ("deb", name) and p.architecture in {architecture, "all"}
        ]  # fmt: skip
        chosen = nearest(version, (file.version for file in files))
        if chosen is None:
            return None
        file = next(file for file in files if file.version == chosen)
        with tempfile.TemporaryDirectory() as folder:
            return offer_of(store, file), paths(store.fetch(file.filename, file.sha256, Path(folder)))
    except Transient:
        raise
    except ReinstateError as error:
        if str(error) not in found.refused:
            found.refused.append(str(error))
        return None


def infos(package: str) -> Iterator[str]:
    """Names of the records dpkg may write for a package."""
    for suffix in _INFO:
        yield f"{package}.{suffix}"
