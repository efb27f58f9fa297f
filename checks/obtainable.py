"""Whether every installed package of an asset can be had in exactly its version, before one is damaged (R-PREV-4).

No package is read: signed indexes and the host's own lists count, and that what they name is still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks import dpkg, package_sources, pip_facts, rpm_database, rpm_sources, wheel_shelf
from model.assets import DpkgAsset, PipAsset, RpmAsset
from model.errors import PreconditionFailed

PackageAsset = DpkgAsset | RpmAsset | PipAsset


@dataclass(frozen=True)
class Obtainable:
    """What can be had.

    Attributes:
        count: installed packages that were looked for.
        lacking: those that nobody has, as `name version`.
        refused: sources that do not count, and why.
    """

    count: int
    lacking: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def look(asset: PackageAsset, connection: Connection, stores: Mapping[str, PackageStore]) -> Obtainable:
    """Look for every installed package of an asset.

    Args:
        asset: it.
        connection: to its host.
        stores: package stores of the plan by name.

    Raises:
        Transient: host or store do not answer.
        PreconditionFailed: the host's package database cannot be read, or a store has no index.
        Damaged: the index of the store with the wheels does not count.
    """
    store = stores[asset.store] if asset.store else None
    if isinstance(asset, PipAsset):
        names = _distributions(connection, asset)
        gone = wheel_shelf.missing(stores[asset.store], names)
        return Obtainable(len(names), tuple(" ".join(one) for one in gone))
    if isinstance(asset, DpkgAsset):
        wanted = installed(connection, asset)
        lacking, refused = package_sources.missing(connection, asset, wanted, store)
    else:
        wanted = _rpms(connection, asset)
        lacking, refused = rpm_sources.missing(connection, asset, wanted, store)
    return Obtainable(len(wanted), tuple(f"{one[0]} {one[1]}" for one in lacking), tuple(refused))


def installed(connection: Connection, asset: DpkgAsset) -> list[package_sources.Wanted]:
    """The installed packages of an asset: name without architecture, version, architecture.

    Raises:
        PreconditionFailed: the host's package database is damaged.
    """
    database = dpkg.read(connection, asset)
    if database.torn:
        raise PreconditionFailed(
            f"the host's package database is damaged: {database.torn}.", connection.name, "repair it first"
        )
    return [
        (package.name.partition(":")[0], package.version, package.architecture)
        for package in database.packages.values()
        if package.state == "installed"
        and (not asset.packages or package.name.partition(":")[0] in asset.packages)
    ]


def _rpms(connection: Connection, asset: RpmAsset) -> list[package_sources.Wanted]:
    database = rpm_database.read(connection)
    if database.damaged:
        raise PreconditionFailed("the host's rpm database is damaged.", connection.name, "repair it first")
    return [
        (package.name, package.version, package.architecture)
        for package in database.packages
        if not asset.packages or package.name in asset.packages
    ]


def _distributions(connection: Connection, asset: PipAsset) -> set[tuple[str, str]]:
    data = pip_facts.collect(connection, asset, names_only=True)
    owned = {
        site.path for site in data.sites if site.owned
    }  # by the system's packages, which are an asset of their own
    wanted = {pip_facts.normal(name) for name in asset.distributions}
    return {
        (pip_facts.normal(one.name), one.version)
        for one in data.distributions
        if one.site not in owned and (not wanted or pip_facts.normal(one.name) in wanted)
    }
