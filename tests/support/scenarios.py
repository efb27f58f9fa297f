"""Damages really made on one shop host, each with its undoing: what a diagnosis must explain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.diagnosis import Cause
from tests.lab import damage
from tests.lab.host import LabHost
from tests.lab.servers import NGINX_CONF, psql

WORKER = "shop-worker"
PORT = 8090
_CONTROL = """Package: shop-worker
Version: {version}
Architecture: all
Maintainer: Laboratory <lab@example.invalid>
Depends: python3
Description: worker of the shop
"""
_UNIT = """[Unit]
Description=Worker of the shop
[Service]
ExecStart=/usr/bin/shop-worker
[Install]
WantedBy=multi-user.target
"""
_PROGRAM = f"""#!/usr/bin/python3
import http.server
http.server.ThreadingHTTPServer(("0.0.0.0", {PORT}), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
_POSTINST = """#!/bin/sh
set -e
while [ -e /run/shop-worker.slow ]; do sleep 0.2; done
systemctl daemon-reload
systemctl enable -q shop-worker.service
systemctl restart shop-worker.service
"""
_PRERM = "#!/bin/sh\nsystemctl stop shop-worker.service\n"


@dataclass(frozen=True)
class Scenario:
    """One damage and what its diagnosis has to say.

    Attributes:
        act: does the damage; its moment is measured around it.
        undo: makes the host whole again.
        top: code of the most probable cause.
        services: services of the plan that are stopped or use what is damaged.
        port: a port that is affected.
        also: further codes that must be among the hints.
    """

    name: str
    act: Callable[[LabHost], object]
    undo: Callable[[LabHost], object]
    top: Cause
    services: frozenset[str]
    port: str
    also: frozenset[Cause] = frozenset()


def changes() -> dict[str, Any]:
    """What the plan says more than the shop's own: the worker."""
    return {"assets": {"worker": {"kind": "service", "host": "shop-host", "unit": f"{WORKER}.service"}}}


def prepare(host: LabHost) -> None:
    """Give the database a small disk of its own and install the worker."""
    unit = unit_of(host)
    host.must(["systemctl", "stop", "postgresql.service", unit])
    home = "/var/lib/postgresql"
    host.must(["mv", home, f"{home}.old"])
    host.must(["mkdir", home])
    host.must(["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "database", home])
    host.must(["cp", "-a", f"{home}.old/.", home])
    host.must(["chown", "postgres:postgres", home])
    # On a full disk it shall stop at its first lack of room: no old log segments to use again, no second life.
    settings = f"/etc/postgresql/{unit.split('@')[1].split('-')[0]}/main/conf.d/room.conf"
    place = host.inside(settings)
    place.write_text("wal_recycle = off\nrestart_after_crash = off\n")
    place.chmod(0o644)
    host.must(["systemctl", "start", "postgresql.service"])
    host.must(["dpkg", "-i", build(host, "1.0")])


def unit_of(host: LabHost) -> str:
    """The database's unit."""
    version = sorted(path.name for path in host.inside("/usr/lib/postgresql").iterdir())[-1]
    return f"postgresql@{version}-main.service"


def build(host: LabHost, version: str) -> str:
    """A package of the worker, built on the host; returns its path."""
    tree = f"/root/{WORKER}_{version}"
    files = {
        "DEBIAN/control": (_CONTROL.format(version=version), 0o644), "DEBIAN/postinst": (_POSTINST, 0o755),
        "DEBIAN/prerm": (_PRERM, 0o755), "usr/bin/shop-worker": (_PROGRAM + f"# {version}\n", 0o755),
        f"lib/systemd/system/{WORKER}.service": (_UNIT, 0o644),
    }  # fmt: skip
    for name, (text, mode) in files.items():
        place = host.inside(tree) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
    host.must(["dpkg-deb", "--root-owner-group", "--build", tree, f"{tree}.deb"])
    return f"{tree}.deb"


class Kept:
    """Contents of files before they are damaged, by path."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[Path, bytes]] = {}

    def flip(self, host: LabHost) -> None:
        """One bit of nginx's own library."""
        path = damage.private_library(host)
        file = host.inside(path)
        self.files["library"] = (file, file.read_bytes())
        damage.flip_library_bit(host)

    def delete(self, host: LabHost) -> None:
        """A person deletes the web server's configuration, then restarts it."""
        file = host.inside(NGINX_CONF)
        self.files["configuration"] = (file, file.read_bytes())
        host.must(["runuser", "-u", "ops", "--", "sudo", "-n", "rm", NGINX_CONF])
        host.shell(["systemctl", "restart", "nginx.service"])

    def back(self, name: str, unit: str) -> Callable[[LabHost], None]:
        """Undo: the content as before, the service running."""

        def undo(host: LabHost) -> None:
            file, content = self.files[name]
            file.write_bytes(content)
            host.must(["systemctl", "restart", unit])

        return undo

    def page(self, host: LabHost) -> None:
        """A page of a table in the database."""
        locate = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('orders')"
        path = psql(host, locate).strip()
        self.files["page"] = (Path(path), host.must(["base64", "-w0", path]).encode())
        host.must(["systemctl", "stop", "postgresql.service", unit_of(host)])
        host.must(["dd", "if=/dev/urandom", f"of={path}", "bs=8192", "seek=30", "count=1", "conv=notrunc"])
        host.must(["systemctl", "start", "postgresql.service"])
        host.shell(
            ["runuser", "-u", "postgres", "--", "psql", "-c", "SELECT count(t::text) FROM orders t", "shop"]
        )

    def page_back(self, host: LabHost) -> None:
        """Undo: the file as before."""
        path, content = self.files["page"]
        host.must(["systemctl", "stop", "postgresql.service", unit_of(host)])
        host.must(["sh", "-c", 'base64 -d >"$1"', "undo", str(path)], text=content.decode())
        host.must(["systemctl", "start", "postgresql.service"])


def fill(host: LabHost) -> None:
    """Fill the database's disk; it stops at its next write of a log segment.

    One session does both: on a full disk a new one may be refused, and then nothing is written any more.
    """
    more = "cat >/dev/null; dd if=/dev/zero of=/var/lib/postgresql/dump.old bs=4k oflag=append conv=notrunc; true"
    log = "SELECT count(pg_logical_emit_message(true, 'x', repeat('x', 100000))) FROM generate_series(1, 500)"
    both = ("-c", f"COPY (SELECT 1) TO PROGRAM '{more}'", "-c", log)
    said = host.shell(["runuser", "-u", "postgres", "--", "psql", *both, "postgres"]).stderr
    for _ in range(100):
        if host.shell(["systemctl", "is-active", unit_of(host)]).stdout.strip() != "active":
            return
        time.sleep(0.1)
    raise AssertionError(f"the database still runs on a full disk: {said}")


def emptied(host: LabHost) -> None:
    """Undo: room again."""
    host.must(["rm", "/var/lib/postgresql/dump.old"])
    restarted(host)


def kill(host: LabHost) -> None:
    """SIGKILL for the database's main process."""
    folder = psql(host, "SHOW data_directory").strip()
    host.must(["kill", "-9", host.must(["head", "-n1", f"{folder}/postmaster.pid"]).strip()])
    for _ in range(50):
        if host.shell(["systemctl", "is-active", unit_of(host)]).stdout.strip() != "active":
            return
        time.sleep(0.1)
    raise AssertionError("the database still runs")


def restarted(host: LabHost) -> None:
    """Undo: the database runs."""
    host.shell(["systemctl", "reset-failed"])
    host.must(["systemctl", "restart", unit_of(host)])


def interrupt(host: LabHost) -> None:
    """`kill -9` for dpkg while it configures the worker's new version."""
    package = build(host, "2.0")
    host.must(["touch", "/run/shop-worker.slow"])
    host.must(["sh", "-c", 'dpkg -i "$1" >/dev/null 2>&1 & echo $! >/run/dpkg.pid', "start", package])
    for _ in range(100):
        if "half-configured" in host.shell(["tail", "-n1", "/var/log/dpkg.log"]).stdout:
            break
        time.sleep(0.1)
    time.sleep(0.3)
    pid = host.must(["cat", "/run/dpkg.pid"]).strip()
    children = host.shell(["ps", "-o", "pid=", "--ppid", pid]).stdout.split()
    host.must(["kill", "-9", pid, *children])


def configured(host: LabHost) -> None:
    """Undo: dpkg ends what it began."""
    host.must(["rm", "/run/shop-worker.slow"])
    host.must(["dpkg", "--configure", "-a"])


def scenarios() -> list[Scenario]:
    """All, in the order in which one host can bear them."""
    kept = Kept()
    return [
        Scenario("bit-flipped-library", kept.flip, kept.back("library", "nginx.service"), Cause.ELF_ERROR,
                 frozenset({"nginx"}), "tcp 80", frozenset({Cause.UNIT_FAILED})),
        Scenario("disk-full", fill, emptied, Cause.NO_SPACE, frozenset({"postgresql"}), "tcp 5432"),
        Scenario("deleted-configuration", kept.delete, kept.back("configuration", "nginx.service"),
                 Cause.PERSONS_COMMAND, frozenset({"nginx"}), "tcp 80", frozenset({Cause.MISSING_FILE})),
        Scenario("killed-database", kill, restarted, Cause.KILLED_PROCESS, frozenset({"postgresql"}), "tcp 5432"),
        Scenario("broken-page", kept.page, kept.page_back, Cause.DATABASE_CORRUPTION, frozenset(), "tcp 5432"),
        Scenario("interrupted-upgrade", interrupt, configured, Cause.INTERRUPTED_PACKAGE_OPERATION,
                 frozenset({"worker"}), f"tcp {PORT}"),
    ]  # fmt: skip


def timed(act: Callable[[LabHost], object], host: LabHost) -> tuple[datetime, datetime]:
    """When the damage was done: not before the first moment, not after the second."""
    begun = datetime.now(UTC)
    act(host)
    return begun, datetime.now(UTC)
