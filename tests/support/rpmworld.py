"""A world of the RPM family: a host with the tally service, its plan, its people, a signed package store, backups."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.home import open_store, signing_key
from tasks.package_index import index_folder
from tests.lab.host import LabHost
from tests.support.labworld import World, merged, plan_head, write_people
from tests.tasks.localhost import quiet

HOST = "rpm-host"
REPOSITORY = "/etc/yum.repos.d/lab.repo"


@dataclass(frozen=True)
class RpmWorld(World):
    """A host whose software came as RPM packages.

    Attributes:
        machine: the host, damaged and watched from outside.
    """

    machine: LabHost

    @property
    def host(self) -> LabHost:
        """The host."""
        return self.machine


def make_rpm_world(
    host: LabHost, folder: Path, changes: Mapping[str, Any] | None = None, *, mirror: bool = False
) -> RpmWorld:
    """Write plan, secrets and package store for a host, and start its service.

    Args:
        host: a booted host of the RPM base.
        folder: an empty folder.
        changes: merged into the plan, dictionary by dictionary.
        mirror: leave the host its own repository; else every repair comes from the plan's store.
    """
    world = RpmWorld(folder, host)
    write_people(world)
    pool = folder / "pool"
    pool.mkdir()
    for path in host.inside("/srv/repo").glob("*.rpm"):
        shutil.copy(path, pool)
    index_folder(pool, signing_key(), open_store(), quiet)
    if not mirror:
        host.inside(REPOSITORY).unlink()
    host.must(["systemctl", "enable", "--now", "tallyd.service"])
    world.plan_file.write_text(json.dumps(merged(plan_data(world), changes or {}), indent=1))
    return world


def plan_data(world: RpmWorld) -> dict[str, Any]:
    """The plan as plain data."""
    return {
        **plan_head(world, "lab-rpm", HOST),
        "backups": {"archive": {"kind": "directory", "path": "backups"}},
        "package_stores": {"pool": {"kind": "directory", "path": "pool"}},
        "assets": {
            "tally-config": {
                "kind": "files", "host": HOST, "path": "/etc/tally", "role": "configuration", "backup": "archive",
                "services": ["tallyd"],
            },
            "packages": {"kind": "rpm", "host": HOST, "store": "pool", "backup": "archive", "services": ["tallyd"]},
            "tallyd": {
                "kind": "service", "host": HOST, "unit": "tallyd.service", "depends_on": ["tally-config", "packages"],
            },
        },
        "checks": {
            "probes": [
                {"name": "page", "url": f"http://{world.host.address}:8080/", "contains": "The tally is open"}
            ],
            "soak": 0,
            "interval": 0.2,
        },
    }  # fmt: skip
