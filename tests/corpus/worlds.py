"""The host and the plan of each family: what the cases are done to and what has to bring it back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocks.home import open_store, signing_key
from tasks.package_index import index_folder
from tests.lab.base import RPM, Base, ensure_base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.labworld import HOST, LabWorld, World, make_world
from tests.support.packages import public_pem
from tests.support.pythonworld import ENVIRONMENTS, STORE, add_environment
from tests.support.rounds import pool_store
from tests.support.rpmworld import make_rpm_world

_NUMBER = itertools.count(1)


class Laboratory:
    """What a family needs to build its worlds.

    Attributes:
        base: the base of Debian hosts.
        session: the network of this test session.
        make_shop: boots a host with the shop on it.
        start: boots any other host; it is stopped with its case.
        folder: an empty folder for plans, backups and homes.
    """

    def __init__(
        self, base: Base, session: LabSession, make_shop: Callable[[str], Any], folder: Path,
        start: Callable[[LabHost], LabHost] = lambda host: host,
    ) -> None:  # fmt: skip
        """Keep them."""
        self.base, self.session, self.make_shop, self.folder = base, session, make_shop, folder
        self.start = start

    def new_folder(self) -> Path:
        """A folder of its own for one world."""
        folder = self.folder / f"world-{next(_NUMBER)}"
        folder.mkdir()
        return folder


def debian(lab: Laboratory) -> LabWorld:
    """The shop's host, with backups in a folder; its database has cases of its own elsewhere."""
    folder = lab.new_folder()
    world = make_world(lab.make_shop(f"corpus-{folder.name}"), folder, "", "")
    rewrite(world, _only_packages)
    return world


def _only_packages(plan: dict[str, Any]) -> None:
    plan["backups"] = {"archive": {"kind": "directory", "path": "backups"}}
    for name in ("postgresql", "orders", "files"):
        del plan["assets"][name]
    plan["assets"]["nginx"]["depends_on"] = ["nginx-config", "system"]
    plan["checks"] = {"probes": plan["checks"]["probes"], "soak": 0, "interval": 0.2}


def system(lab: Laboratory) -> LabWorld:
    """The same host with nothing but its own state, and nginx, to bring back."""
    world = debian(lab)
    rewrite(world, _host_state)
    return world


def _host_state(plan: dict[str, Any]) -> None:
    del plan["assets"]["system"]
    plan["assets"]["nginx"]["depends_on"] = ["nginx-config"]
    plan["assets"]["host-state"] = {
        "kind": "system", "host": HOST, "certificates": ["/etc/ssl/lab/*.pem"], "services": [],
    }  # fmt: skip


def rewrite(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a world's plan file."""
    plan = json.loads(world.plan_file.read_text())
    change(plan)
    world.plan_file.write_text(json.dumps(plan, indent=1))


def tools(lab: Laboratory) -> LabWorld:
    """The same host; repairs come from the plan's signed package store, for its own apt may be what is damaged."""
    world = debian(lab)
    pool = world.folder / "debs"
    pool.mkdir()
    pool_store(lab.base, pool)
    (world.folder / "key.pem").write_bytes(public_pem())
    rewrite(world, _stocked)
    return world


def _stocked(plan: dict[str, Any]) -> None:
    plan["package_stores"] = {"debs": {"kind": "directory", "path": "debs", "keys": ["key.pem"]}}
    plan["assets"]["system"]["store"] = "debs"


def rpm(lab: Laboratory) -> World:
    """A host whose software came as RPM packages; the package store of its plan is signed, its mirror out of reach."""
    folder = lab.new_folder()
    host = lab.start(LabHost(ensure_base(recipe=RPM), lab.session, f"corpus-{folder.name}"))
    return make_rpm_world(host, folder)


def python(lab: Laboratory) -> LabWorld:
    """Five Python environments on the shop's host, and the wheels they were installed from."""
    world = debian(lab)
    added = add_environment(world.host, world.folder, ENVIRONMENTS)
    index_folder(world.folder / STORE, signing_key(), open_store(), lambda _done, _total: None)

    def change(plan: dict[str, Any]) -> None:
        plan["assets"] = {name: asset | {"host": HOST} for name, asset in added["assets"].items()}
        plan["package_stores"] = added["package_stores"]

    rewrite(world, change)
    return world


WORLDS: dict[str, Callable[[Laboratory], World]] = {
    "dpkg": debian,
    "tools": tools,
    "system": system,
    "rpm": rpm,
    "python": python,
}
"""By family."""
