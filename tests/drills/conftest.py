"""A staging shop with all that can be damaged in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeWorld, home, lab_s3, make_lab_world
from tests.lab.host import LabHost
from tests.support.certificate import make_certificate
from tests.support.labworld import HOST, LabWorld

__all__ = ["home", "lab_s3", "make_lab_world"]

SPOOL, CERTIFICATE, ARCHIVE = "/srv/spool", "/etc/ssl/lab/shop.pem", "/srv/app/archive.db"
_TABLES = """
import sqlite3
with sqlite3.connect("/srv/app/archive.db") as db:
    db.execute("CREATE TABLE papers (id INTEGER PRIMARY KEY, pages INTEGER NOT NULL, title TEXT NOT NULL)")
    db.executemany("INSERT INTO papers VALUES (?, ?, ?)", [(n, 1 + n % 90, "paper %d" % n) for n in range(1, 3000)])
"""
BETWEEN = "expect_column_values_to_be_between"


def changes() -> dict[str, Any]:
    """What the plan says more than the shop's own."""
    return {
        "hosts": {HOST: {"role": "staging"}},
        "assets": {
            "host-state": {
                "kind": "system", "host": HOST, "watch": ["disks", "certificates", "units"], "mounts": [SPOOL],
                "certificates": [CERTIFICATE],
            },
            "archive": {"kind": "sqlite", "host": HOST, "path": ARCHIVE, "backup": "archive"},
        },
        "checks": {
            "tables": [
                {
                    "database": "orders", "table": "orders",
                    "expectations": [
                        {"type": BETWEEN, "kwargs": {"column": "total_cents", "min_value": 1, "max_value": 100000}},
                    ],
                },
                {
                    "database": "archive", "table": "papers",
                    "expectations": [{"type": BETWEEN, "kwargs": {"column": "pages", "min_value": 1, "max_value": 90}}],
                },
            ]
        },
    }  # fmt: skip


def prepare(host: LabHost, folder: Path) -> None:
    """A small disk, a certificate, a SQLite file, and the marker that says staging."""
    host.inside("/var/lib").joinpath("reinstate").mkdir(mode=0o700, exist_ok=True)
    host.inside("/var/lib/reinstate").joinpath("role").write_text("staging\n")
    host.must(["mkdir", "-p", SPOOL, "/srv/app", "/etc/ssl/lab"])
    host.must(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "spool", SPOOL])
    _, alone = make_certificate(folder, "shop.example", "127.0.0.1")
    host.inside("/etc/ssl/lab").joinpath("shop.pem").write_bytes(alone.read_bytes())
    host.must(["python3", "-c", _TABLES])


@pytest.fixture
def staging(make_lab_world: MakeWorld) -> LabWorld:
    """A healthy staging shop."""
    world = make_lab_world(changes())
    prepare(world.host, world.folder)
    return world
