"""The world of the acceptance tests: the shop on a laboratory host, its plan, its people and its backups in S3."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp

from model.journal import State
from model.outcome import Gate
from model.plan import Plan
from tasks.voting import gate_digest
from tasks.work import Work, load_plan
from tests.lab import damage
from tests.lab.damage import Damage
from tests.lab.host import LabHost
from tests.lab.servers import DATABASE, FILES, ROLE, Shop
from tests.support.codes import fresh_code
from tests.support.s3server import ACCESS_KEY, SECRET_KEY

HOST = "shop-host"
PEOPLE = ("lena", "marc", "ines")
"""Two of the leading group and the administrator: each gate is signed by a person of its own."""


@dataclass(frozen=True)
class World:
    """A laboratory host with everything a recovery of it needs.

    Attributes:
        folder: the plan file and its secrets.
    """

    folder: Path

    @property
    def host(self) -> LabHost:
        """The host, damaged and watched from outside."""
        raise NotImplementedError

    @property
    def plan_file(self) -> Path:
        """The plan."""
        return self.folder / "plan.yaml"

    def plan(self) -> Plan:
        """The plan, read again."""
        return load_plan(str(self.plan_file)).plan

    def code(self, person: str) -> str:
        """A code of this person that was not used yet; may wait for the next one."""
        return fresh_code(secret_of(self.folder, f"totp-{person}"))


@dataclass(frozen=True)
class LabWorld(World):
    """One shop with everything a recovery of it needs.

    Attributes:
        shop: the shop, damaged and watched from outside.
        endpoint: the S3 server, by a name that both sides reach.
        bucket: where the backups are.
    """

    shop: Shop
    endpoint: str
    bucket: str

    @property
    def host(self) -> LabHost:
        """The host the shop runs on."""
        return self.shop.host


def make_world(
    shop: Shop, folder: Path, endpoint: str, bucket: str, changes: Mapping[str, Any] | None = None
) -> LabWorld:
    """Write plan and secrets for a shop.

    Args:
        shop: the shop.
        folder: an empty folder.
        endpoint: the S3 server as the host and this machine both reach it.
        bucket: a bucket of its own.
        changes: merged into the plan, dictionary by dictionary.
    """
    world = LabWorld(folder, shop, endpoint, bucket)
    write_people(world)
    write_secret(folder, "s3-access", ACCESS_KEY)
    write_secret(folder, "s3-secret", SECRET_KEY)
    write_secret(folder, "database", shop.password)
    # JSON is YAML; sorting would lose the order of the assets.
    world.plan_file.write_text(json.dumps(merged(plan_data(world), changes or {}), indent=1))
    return world


def plan_data(world: LabWorld) -> dict[str, Any]:
    """The plan as plain data."""
    host, shop = world.host, world.shop
    version = sorted(path.name for path in host.inside("/usr/lib/postgresql").iterdir())[-1]
    return {
        **plan_head(world, "lab-shop", HOST),
        "backups": {
            "archive": {
                "kind": "s3", "bucket": world.bucket, "endpoint": world.endpoint,
                "access_key": "file:secrets/s3-access", "secret_key": "file:secrets/s3-secret",
            }
        },
        "assets": {
            "nginx-config": {
                "kind": "files", "host": HOST, "path": "/etc/nginx", "role": "configuration", "backup": "archive",
                "services": ["nginx"],
            },
            "system": {"kind": "dpkg", "host": HOST, "services": ["nginx"]},
            "postgresql": {"kind": "service", "host": HOST, "unit": f"postgresql@{version}-main.service"},
            "orders": {
                "kind": "postgresql", "host": HOST, "database": DATABASE, "server": "127.0.0.1", "user": ROLE,
                "password": "file:secrets/database", "backup": "archive", "service": "postgresql",
                "depends_on": ["postgresql"],
            },
            "files": {"kind": "files", "host": HOST, "path": FILES, "role": "data", "backup": "archive"},
            "nginx": {
                "kind": "service", "host": HOST, "unit": "nginx.service",
                "depends_on": ["nginx-config", "system", "files"],
            },
        },
        "checks": {
            "probes": [{"name": "page", "url": shop.url, "contains": "The shop is open"}],
            "tables": [
                {
                    "database": "orders",
                    "table": "orders",
                    "expectations": [
                        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 5000}},
                        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
                        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer_id"}},
                    ],
                }
            ],
            "soak": 2,
            "interval": 0.5,
        },
    }  # fmt: skip


def write_people(world: World) -> None:
    """The secrets of the host and of the people who sign."""
    write_secret(world.folder, "ssh-key", world.host.key_path.read_text())
    for person in PEOPLE:
        write_secret(world.folder, f"totp-{person}", pyotp.random_base32())


def plan_head(world: World, name: str, host: str) -> dict[str, Any]:
    """What every plan of the laboratory says: the service, the people, the host and who signs."""
    there = world.host
    return {
        "reinstate": 1,
        "name": name,
        "version": "1",
        "service": {"name": "Shop", "description": "The shop of the laboratory.", "owner": "lena"},
        "people": {p: {"name": p.capitalize(), "totp": f"file:secrets/totp-{p}"} for p in PEOPLE},
        "roles": {"leading_group": ["lena", "marc"], "working_group": ["ines"], "technical_support": ["ines"]},
        "objectives": {"rto": "30m", "rpo": "1h"},
        "hosts": {
            host: {
                "address": there.address, "port": there.port, "user": "ops", "sudo": True,
                "key": "file:secrets/ssh-key", "host_key": there.host_key, "machine_id": there.machine_id,
            }
        },
        "signoff": {
            "decide": {"roles": ["leading_group"], "quorum": 1},
            "accept": {"roles": ["leading_group", "working_group"], "quorum": 1},
        },
    }  # fmt: skip


def merged(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Data with changes: dictionaries are merged, all else is replaced."""
    for key, value in changes.items():
        inner = data.get(key)
        both = isinstance(inner, dict) and isinstance(value, Mapping)
        data[key] = merged(inner, value) if both and inner is not None else value
    return data


def break_it(host: LabHost) -> list[Damage]:
    """Damage all that the acceptance case names: program, library, configuration, database page, data file."""
    faults = (
        damage.replace_binary, damage.flip_library_bit, damage.delete_configuration, damage.corrupt_table_page,
        damage.truncate_file,
    )  # fmt: skip
    return [fault(host) for fault in faults]


def write_secret(folder: Path, name: str, value: str) -> None:
    """Keep a secret beside the plan, for its owner alone."""
    place = folder / "secrets"
    place.mkdir(exist_ok=True, mode=0o700)
    (place / name).touch(mode=0o600)
    (place / name).write_text(f"{value.strip()}\n")


def secret_of(folder: Path, name: str) -> str:
    """A secret that `write_secret` kept."""
    return (folder / "secrets" / name).read_text().strip()


def form_answer(world: World, work: Work, gate: Gate, person: str, decision: str) -> dict[str, str]:
    """What a person types into the form of a gate, having read what it shows."""
    state: State = work.state()
    return {
        "person": person, "decision": decision, "reason": f"{person} read it and says {decision}.",
        "digest": gate_digest(state, gate)[:12], "code": world.code(person),
    }  # fmt: skip


@dataclass
class Watch:
    """Wall times of a test's stages, printed at its end."""

    began: float
    laps: list[tuple[str, float]]

    @classmethod
    def start(cls) -> Watch:
        """A watch that runs from now."""
        return cls(time.monotonic(), [])

    def lap(self, name: str) -> None:
        """The stage that ends now."""
        self.laps.append((name, time.monotonic() - self.began - sum(seconds for _, seconds in self.laps)))

    def show(self, title: str) -> str:
        """One line per stage."""
        lines = [f"{seconds:8.1f} s  {name}" for name, seconds in self.laps]
        return "\n".join([title, *lines, f"{sum(s for _, s in self.laps):8.1f} s  in all"])
