"""What of an asset each kind of fault can break, by the plan alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model.assets import (
    Asset,
    DatabaseAsset,
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PostgresAsset,
    RpmAsset,
    ServiceAsset,
    SqliteAsset,
    SystemAsset,
)
from model.plan import Expectation, Plan

Targets = Sequence[Mapping[str, str]]
"""Fields of a fault, for each thing that can be broken."""


@dataclass(frozen=True)
class Need:
    """What a kind needs.

    Attributes:
        words: of the asset, for people.
        targets: what of an asset can be broken so; none: this asset does not allow it.
    """

    words: str
    targets: Callable[[Plan, str, Asset], Targets]


def packages(plan: Plan, _name: str, asset: Asset) -> Targets:
    """Packages it names, else the units it serves, else any."""
    if not isinstance(asset, DpkgAsset | RpmAsset) or (isinstance(asset, DpkgAsset) and asset.root != "/"):
        return ()
    if asset.packages:
        return [{"target": package} for package in asset.packages]
    units = [plan.services[name] for name in asset.services if name in plan.services]
    return [{"target": one.unit} for one in units if one.unit and one.host == asset.host] or [{}]


def upgrades(plan: Plan, name: str, asset: Asset) -> Targets:
    """As packages; any one where it names none."""
    if not isinstance(asset, DpkgAsset) or asset.root != "/" or asset.rootless:
        return ()
    return packages(plan, name, asset) if asset.packages else [{}]


def configuration(_plan: Plan, _name: str, asset: Asset) -> Targets:
    """The file set."""
    fits = isinstance(asset, FilesAsset) and asset.role == "configuration"
    return [{"target": asset.path}] if isinstance(asset, FilesAsset) and fits else ()


def files(_plan: Plan, _name: str, asset: Asset) -> Targets:
    """The file set, of either role."""
    return [{"target": asset.path}] if isinstance(asset, FilesAsset) else ()


def documents(_plan: Plan, _name: str, asset: Asset) -> Targets:
    """The file set, of users' data."""
    fits = isinstance(asset, FilesAsset) and asset.role == "data"
    return [{"target": asset.path}] if isinstance(asset, FilesAsset) and fits else ()


def disks(_plan: Plan, _name: str, asset: Asset) -> Targets:
    """Mounts beside the system's own."""
    if not isinstance(asset, SystemAsset) or "disks" not in asset.watch:
        return ()
    return [{"target": mount, "most": str(1 << 34)} for mount in asset.mounts if mount != "/"]


def certificates(_plan: Plan, _name: str, asset: Asset) -> Targets:
    """Files, as patterns."""
    if not isinstance(asset, SystemAsset) or "certificates" not in asset.watch:
        return ()
    return [{"target": pattern} for pattern in asset.certificates]


def stopped(_plan: Plan, _name: str, asset: Asset) -> Targets:
    """The unit."""
    return [{"target": asset.unit or ""}] if isinstance(asset, ServiceAsset) else ()


def pages(plan: Plan, name: str, asset: Asset) -> Targets:
    """Tables of a server that can be stopped, or a file."""
    if isinstance(asset, SqliteAsset):
        return [{}]
    served = isinstance(asset, PostgresAsset | MariadbAsset) and asset.service in plan.services
    return tables(plan, name, asset) if served else ()


def tables(plan: Plan, name: str, asset: Asset) -> Targets:
    """Tables the plan expects something of, else any."""
    if not isinstance(asset, DatabaseAsset):
        return ()
    named = dict.fromkeys(one.table for one in plan.checks.tables if one.database == name)
    return [{"target": table} for table in named] or [{}]


def updates(plan: Plan, name: str, asset: Asset) -> Targets:
    """Columns the plan expects something of that an UPDATE can break; people can report it of PostgreSQL only."""
    if not isinstance(asset, PostgresAsset):
        return ()
    found = [
        {"target": checks.table, **wrong}
        for checks in plan.checks.tables if checks.database == name
        for one in checks.expectations if (wrong := _against(one))
    ]  # fmt: skip
    # Columns that must be unique or filled mostly have a constraint of the database, too, which refuses the mistake.
    likely = [one for one in found if one["wrong"] in {"value", "more"}]
    return likely or found


def _against(expectation: Expectation) -> dict[str, str]:
    """A wrong UPDATE after which an expectation cannot hold; empty where there is none."""
    words = expectation.kwargs
    column = words.get("column")
    if not isinstance(column, str):
        return {}
    match expectation.type:
        case "expect_column_values_to_be_between":
            low, high = words.get("min_value"), words.get("max_value")
            beyond = (
                high + 1
                if isinstance(high, int | float)
                else low - 1
                if isinstance(low, int | float)
                else None
            )
            return {"column": column, "wrong": "value", "value": str(beyond)} if beyond is not None else {}
        case "expect_column_sum_to_be_between" if words.get("min_value") == words.get("max_value"):
            return {"column": column, "wrong": "more"}
        case "expect_column_values_to_not_be_null":
            return {"column": column, "wrong": "null"}
        case "expect_column_values_to_be_unique":
            return {"column": column, "wrong": "same"}
        case _:
            return {}
