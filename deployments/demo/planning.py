"""The demo's plan file, written from the facts of its world. It holds references to secrets, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from deployments.demo.facts import ServiceFacts, WorldFacts

HOST = "shop-host"


def plan_data(world: WorldFacts, soak: float) -> dict[str, Any]:
    """The plan as plain data."""
    backup = "archive"
    assets: dict[str, Any] = {
        "database-server": _service(world.database.service),
        "shop-database": {
            "kind": "postgresql", "host": HOST, "database": world.database.name, "server": world.database.address,
            "port": world.database.port, "user": world.database.user, "bin_dir": str(world.database.bin_dir),
            "password": _file(world, world.database.password_file), "backup": backup, "service": "database-server",
            "depends_on": ["database-server"], "services": ["shop"],
        },
        "shop-config": {
            "kind": "files", "host": HOST, "path": str(world.shop.config_dir), "role": "configuration",
            "backup": backup, "services": ["shop"],
        },
        "shop-application": {
            "kind": "pip", "host": HOST, "python": str(world.shop.python), "store": "wheels", "services": ["shop"],
        },
        "shop-files": {
            "kind": "files", "host": HOST, "path": str(world.shop.files), "role": "data", "backup": backup,
            "services": ["shop"],
        },
    }  # fmt: skip
    if world.packages is not None:
        assets["shop-packages"] = {
            "kind": "dpkg", "host": HOST, "root": str(world.packages.root), "rootless": True, "store": "debs",
            "services": ["shop"],
        }  # fmt: skip
    assets["shop"] = _service(world.shop.service) | {"depends_on": list(assets)}
    stores: dict[str, Any] = {"wheels": {"kind": "directory", "path": str(world.shop.wheelhouse)}}
    if world.packages is not None:
        stores["debs"] = {"kind": "directory", "path": str(world.packages.store)}
    return {
        "reinstate": 1,
        "name": "demo-shop",
        "version": "1",
        "service": {"name": "Demo web shop", "description": "A shop that is broken for real.", "owner": "lena"},
        "people": {p.key: {"name": p.name, "email": p.email, "totp": _file(world, p.totp_file)} for p in world.people},
        "roles": {
            role: [p.key for p in world.people if role in p.roles]
            for role in sorted({role for p in world.people for role in p.roles})
        },
        "objectives": {"rto": "15m", "rpo": "1h"},
        "hosts": {
            HOST: {
                "address": world.host.address, "port": world.host.port, "user": world.host.user,
                "key": _file(world, world.host.client_key), "host_key": world.host.host_key,
                "machine_id": world.host.machine_id, "machine_id_file": str(world.host.machine_id_file),
                "role": world.host.role, "state_dir": str(world.host.state_dir),
            }
        },
        "backups": {backup: _backup(world)},
        "package_stores": stores,
        "assets": assets,
        "checks": {
            "probes": [
                {"name": "health", "url": f"{world.shop.url}/health"},
                {"name": "front", "url": f"{world.shop.url}/"},
            ],
            "tables": [
                {
                    "database": "shop-database",
                    "table": "orders",
                    "expectations": [
                        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 5000}},
                        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
                        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer_id"}},
                    ],
                }
            ],
            "soak": soak,
            "interval": 1,
        },
        "signoff": {
            "decide": {"roles": ["leading_group"], "quorum": 1},
            "accept": {"roles": ["leading_group"], "quorum": 1},
        },
    }  # fmt: skip


def write_plan(world: WorldFacts, soak: float = 3.0, more: Mapping[str, Any] | None = None) -> Path:
    """Write the plan, with more sections, into the demo's folder and return its path."""
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # the stub knows only None
    yaml.dump({**plan_data(world, soak), **(more or {})}, text)
    path = world.folder / "plan.yaml"
    path.write_text("# Written by `reinstate demo`: the plan of its throw-away shop.\n" + text.getvalue())
    return path


def _service(service: ServiceFacts) -> dict[str, Any]:
    return {
        "kind": "service", "host": HOST, "start": list(service.start), "stop": list(service.stop),
        "status": list(service.status),
    }  # fmt: skip


def _backup(world: WorldFacts) -> dict[str, Any]:
    if world.s3 is None:
        return {"kind": "directory", "path": str(world.backups)}
    return {
        "kind": "s3", "bucket": world.s3.bucket, "endpoint": world.s3.endpoint, "region": world.s3.region,
        "access_key": _file(world, world.s3.access_key_file), "secret_key": _file(world, world.s3.secret_key_file),
    }  # fmt: skip


def _file(world: WorldFacts, path: Path) -> str:
    return f"file:{path.relative_to(world.folder)}"
