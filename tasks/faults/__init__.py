"""Faults of drills, really done on staging hosts and undone (R-DRILL, G12): `inject`, `undo`, `left_behind`.

A file per family: files · packages · host_state · services · postgres, mariadb, sqlite. `site` proves that the host is
staging before anything is touched; what is in `on_host` runs there. Each fault has a folder of its own below
`STATE_DIR/drill`, mode 700, with the originals and `planted.json`, written before anything is damaged.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from model.assets import MariadbAsset, PostgresAsset
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.fault_kinds import FaultKind
from model.faults import Fault, Planted
from model.plan import Plan
from tasks.faults import files, host_state, mariadb, packages, postgres, services, sqlite
from tasks.faults.site import PICKER, Site, ask, drills

__all__ = ["inject", "left_behind", "planted_on", "undo"]

RECORD = "planted.json"


@dataclass(frozen=True)
class Family:
    """How a kind is done.

    Attributes:
        prepare: choose what is broken; nothing is touched.
        strike: keep the originals and break it; done twice, it is done once.
        mend: put back what is still broken.
    """

    prepare: Callable[[Site], Planted]
    strike: Callable[[Site, Planted], None]
    mend: Callable[[Site, Planted], None]


_FILES = Family(files.prepare, files.strike, files.mend)
_PACKAGE = Family(packages.prepare_file, packages.strike_file, packages.mend_file)
_FAMILIES = {
    FaultKind.CONFIGURATION: _FILES,
    FaultKind.PERMISSIONS: _FILES,
    FaultKind.DELETED_DIRECTORY: _FILES,
    FaultKind.OVERWRITTEN_DOCUMENTS: _FILES,
    FaultKind.PACKAGE_FILE: _PACKAGE,
    FaultKind.LIBRARY_BIT: _PACKAGE,
    FaultKind.KILLED_UPGRADE: Family(
        packages.prepare_upgrade, packages.strike_upgrade, packages.mend_upgrade
    ),
    FaultKind.DISK_FULL: Family(host_state.prepare_disk, host_state.strike_disk, host_state.mend),
    FaultKind.EXPIRED_CERTIFICATE: Family(
        host_state.prepare_certificate, host_state.strike_certificate, host_state.mend
    ),
    FaultKind.STOPPED_SERVICE: Family(services.prepare, services.strike, services.mend),
}


def _family(site: Site) -> Family:
    if site.fault.kind in _FAMILIES:
        return _FAMILIES[site.fault.kind]
    asset = site.plan.assets[site.fault.asset]
    if isinstance(asset, PostgresAsset) or site.fault.kind is FaultKind.WRONG_UPDATE:
        return Family(postgres.prepare, postgres.strike, postgres.mend)
    if isinstance(asset, MariadbAsset):
        return Family(mariadb.prepare, mariadb.strike, mariadb.mend)
    return Family(sqlite.prepare, sqlite.strike, sqlite.mend)


def inject(connection: Connection, plan: Plan, fault: Fault, *, secrets: Secrets | None = None) -> Planted:
    """Do the damage, on a host that plan and host both call staging. Called again, it goes on where it was cut off.

    Args:
        connection: to the fault's host.
        plan: the plan the fault was chosen from.
        fault: what to do.
        secrets: resolver of the plan's references (`PlanFile.secrets`); databases with a password need it.

    Raises:
        BadInput: the fault does not fit the plan. Refused: the host is not staging; nothing was touched.
        PreconditionFailed: the fault cannot be done there; nothing is left of it. Unsupported: the host has no Python.
        Transient: the connection was lost.
    """
    site = Site.proven(connection, plan, fault, secrets or Secrets(Path()))
    family = _family(site)
    planted = _recorded(connection, f"{site.folder}/{RECORD}").get(site.folder)
    try:
        if planted is None:
            planted = family.prepare(site)
            connection.write_file(f"{site.folder}/{RECORD}", planted.model_dump_json().encode(), 0o600)
        family.strike(site, planted)
    except Transient:
        raise
    except ReinstateError:
        if planted is not None:
            family.mend(site, planted)
        site.plant("forget")
        raise
    return planted


def undo(connection: Connection, plan: Plan, planted: Planted, *, secrets: Secrets | None = None) -> None:
    """Bring back what the drill's recovery did not, and remove the drill's folder. What was cured is left alone.

    Raises:
        BadInput, Refused, Unsupported, Transient: as `inject`.
        PreconditionFailed: it cannot be put back now; folder and originals stay, and the same call goes on.
    """
    site = Site.proven(connection, plan, planted.fault, secrets or Secrets(Path()))
    if _recorded(connection, f"{site.folder}/{RECORD}"):
        _family(site).mend(site, planted)
    site.plant("forget")


def left_behind(connection: Connection, plan: Plan, planted: Planted) -> tuple[str, ...]:
    """What is still on the host of an injection: the drill's folder, what it added, files that never took their place.

    Raises:
        BadInput, Refused, Unsupported, Transient: as `inject`.
    """
    site = Site.proven(connection, plan, planted.fault, Secrets(Path()))
    left = planted.left
    return site.plant("left", paths=[left.folder, *left.added], beside=left.paths).left


def planted_on(connection: Connection) -> tuple[Planted, ...]:
    """Every fault that is on a host, by the host's own records: what a drill that broke off left to undo.

    Raises:
        Unsupported, Transient: as `inject`. PreconditionFailed: a record cannot be read.
    """
    return tuple(_recorded(connection, f"{drills(connection)}/*/{RECORD}").values())


def _recorded(connection: Connection, pattern: str) -> dict[str, Planted]:
    """By folder."""
    found: dict[str, Planted] = {}
    for path, text in ask(connection, PICKER, do="text", patterns=[pattern]).texts.items():
        try:
            found[path.rpartition("/")[0]] = Planted.model_validate_json(base64.b64decode(text))
        except ValueError as error:
            raise PreconditionFailed(
                "the record of a fault is damaged.", f"{connection.name}:{path}",
                "put back what lies beside it by hand, then remove its folder",
            ) from error  # fmt: skip
    return found
