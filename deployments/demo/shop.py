"""Installs the web shop on the host: its environment, its two wheels, its configuration and its supervisor."""

from __future__ import annotations

import ensurepip
import shutil
import sys
import sysconfig
from pathlib import Path

from deployments.demo.facts import DatabaseFacts, ServiceFacts, ShopFacts
from deployments.demo.host import write_secret
from deployments.demo.processes import clean_environment, run
from deployments.demo.wheel import write_wheel

WARES = Path(__file__).parent / "wares"
VERSIONS = {"shoplib": "0.9.0", "shopfront": "1.4.2"}
SHOPCTL = """\
#!/bin/sh
# Drives the shop: shopctl start|stop|restart|status
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 4
exec "$root/opt/shop/venv/bin/python" -I -S "$root/opt/shop/lib/shopctl.py" "$root" "$@"
"""
CONFIG = """\
; The demo shop.
[shop]
title = Demo shop
port = {port}
files = {files}

[database]
psql = {psql}
dsn = {dsn}

[packages]
theme = {theme}
report = {report}
"""


def service(root: Path, name: str, program: str, log: Path) -> ServiceFacts:
    """The commands of a service that is driven by one program with four verbs."""
    path = str(root / "bin" / program)
    return ServiceFacts(
        name=name,
        start=(path, "start"),
        stop=(path, "stop"),
        restart=(path, "restart"),
        status=(path, "status"),
        log=log,
    )


def facts(root: Path, wheelhouse: Path, port: int) -> ShopFacts:
    """Describes the shop."""
    venv = root / "opt/shop/venv"
    # The layout of an environment, asked of this very Python version and not guessed.
    paths = sysconfig.get_paths("venv", {"base": str(venv), "platbase": str(venv)})
    return ShopFacts(
        url=f"http://127.0.0.1:{port}",
        port=port,
        config=root / "etc/shop/shop.ini",
        config_dir=root / "etc/shop",
        venv=venv,
        python=venv / "bin/python",
        site_packages=Path(paths["purelib"]),
        wheelhouse=wheelhouse,
        distributions=VERSIONS,
        files=root / "srv/files",
        service=service(root, "shop", "shopctl", root / "var/log/shop.log"),
    )


def write_wheels(wheelhouse: Path) -> None:
    """Writes the shop's wheels, the package source the product repairs from, beside those `venv` installs."""
    wheelhouse.mkdir(parents=True, exist_ok=True)
    for folder in (
        Path(ensurepip.__file__).with_name("_bundled"),
        Path("/usr/share/python-wheels"),  # Debian's
    ):
        for wheel in (*folder.glob("pip-*.whl"), *folder.glob("setuptools-*.whl")):
            shutil.copyfile(wheel, wheelhouse / wheel.name)
    write_wheel(WARES / "shoplib", VERSIONS["shoplib"], wheelhouse)
    write_wheel(
        WARES / "shopfront", VERSIONS["shopfront"], wheelhouse, requires=(f"shoplib=={VERSIONS['shoplib']}",)
    )


def install(root: Path, shop: ShopFacts, world_id: str) -> None:
    """Makes the environment with its own pip, and installs the shop from the wheelhouse."""
    env = clean_environment(world_id, HOME=str(root), TMPDIR=str(root / "tmp"))
    run([sys.executable, "-m", "venv", str(shop.venv)], env=env)
    pip = [str(shop.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # The installed files belong to their RECORD alone: compiled copies would only follow the damage around.
    source = ["--no-compile", "--no-index", "--find-links", str(shop.wheelhouse)]
    run([*pip, *source, f"shopfront=={VERSIONS['shopfront']}"], env=env, cwd=root)
    program = root / "opt/shop/lib/shopctl.py"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_bytes((WARES / "shopctl.py").read_bytes())
    (root / "bin/shopctl").write_text(SHOPCTL)
    (root / "bin/shopctl").chmod(0o755)


def configure(root: Path, shop: ShopFacts, database: DatabaseFacts, password: str) -> None:
    """Writes the shop's configuration and the password file it names (mode 600)."""
    passfile = shop.config_dir / "pgpass"
    write_secret(passfile, f"127.0.0.1:{database.port}:{database.name}:shop:{password}\n")
    words = {
        "host": database.address,
        "port": str(database.port),
        "user": "shop",
        "dbname": database.name,
        "passfile": str(passfile),
        "connect_timeout": "5",
    }
    shop.config.write_text(
        CONFIG.format(
            port=shop.port,
            files=shop.files,
            psql=database.bin_dir / "psql",
            dsn=" ".join(f"{key}={quote(value)}" for key, value in words.items()),
            theme=root / "usr/share/shop-theme/theme.css",
            report=root / "usr/bin/shop-report",
        )
    )
    shop.config.chmod(0o644)


def quote(value: str) -> str:
    """A value in a PostgreSQL connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
