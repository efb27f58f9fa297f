"""The template of the host: a healthy host that is stopped, made once and copied for every further demo."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deployments.demo import database, files, host, packages, shop
from deployments.demo.facts import DatabaseFacts
from deployments.demo.processes import clean_environment, run

KEY = "template-key"
SHAPING = (
    "database.py",
    "files.py",
    "host.py",
    "packages.py",
    "shop.py",
    "shop.sql",
    "template.py",
    "wheel.py",
)
"""The sources that decide what a host looks like, beside all of `wares/`."""


def key(folder: Path) -> str:
    """Digest of all that shapes a host: our sources, the Python, PostgreSQL's programs, the user, the place."""
    here = Path(__file__).parent
    sources = [*(here / name for name in SHAPING), *sorted((here / "wares").rglob("*.py"))]
    shape = {
        "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources],
        "python": [sys.version, sys.base_prefix],
        "postgresql": [str(database.programs()), database.mode()],
        "user": os.geteuid(),
        "folder": str(folder),
    }
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()


def prepare(folder: Path, root: Path, role: str, world_id: str) -> None:
    """Puts a healthy, stopped host at `root`: a copy of the template, which is made first if there is none."""
    template, kept_key = folder / "cache/host", folder / "cache" / KEY
    current = f"{key(folder)} {role}"
    shutil.rmtree(root, ignore_errors=True)
    if kept_key.exists() and kept_key.read_text() == current:
        shutil.copytree(template, root, symlinks=True)
        return
    kept_key.unlink(missing_ok=True)
    shutil.rmtree(template, ignore_errors=True)
    shutil.rmtree(folder / "store", ignore_errors=True)
    _make(folder, root, role, world_id)
    shutil.copytree(root, template, symlinks=True)
    kept_key.write_text(current)


def _make(folder: Path, root: Path, role: str, world_id: str) -> None:
    host.make_root(root, role)
    with ThreadPoolExecutor(2) as pool:
        # The two slow parts, at the same time: the environment of the shop, and the database.
        environment = pool.submit(_install_shop, folder, root, world_id)
        cluster = pool.submit(_install_database, folder, root, world_id)
        _install_packages(folder, root, world_id)
        files.create(root / "srv/files")
        waiting: tuple[Future[None], ...] = (environment, cluster)
        for part in waiting:
            part.result()


def _install_shop(folder: Path, root: Path, world_id: str) -> None:
    described = shop.facts(root, folder / "store/wheels", port=1)
    shop.write_wheels(described.wheelhouse)
    shop.install(root, described, world_id)


def _install_packages(folder: Path, root: Path, world_id: str) -> None:
    described = packages.facts(root, folder / "store/debs")
    if described is None:
        packages.place(root)
        return
    packages.build_store(described.store, root / "tmp", world_id)
    packages.install(root, described, world_id)


def _install_database(folder: Path, root: Path, world_id: str) -> None:
    sockets = database.socket_dir(root)
    described: DatabaseFacts = database.facts(root, folder / "secrets", sockets, None)
    database.install(root, database.mode())
    database.initialise(described, world_id)
    database.configure(root, described)
    environment = clean_environment(world_id)
    run(described.service.start, env=environment)
    try:
        password = (folder / "secrets/shop-password").read_text().strip()
        database.load(root, described, password, world_id)
    finally:
        run(described.service.stop, env=environment)
        if sockets != root / "run":
            shutil.rmtree(sockets)
