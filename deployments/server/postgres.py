"""The PostgreSQL below the Prefect server: embedded, rootless, socket only (SQLite answers 503 when a person signs)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from deployments.demo.database import SOCKET_PATH_LIMIT, install, mode
from deployments.demo.processes import clean_environment, run

USER = "prefect"


class Postgres:
    """The cluster of one installation."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is started."""
        self.root = folder / "postgres"
        self.data = self.root / "var/lib/postgresql/data"

    @property
    def sockets(self) -> Path:
        """The socket's folder, mode 700; in a short place when the path is too long for a socket's name."""
        usual = self.root / "run"
        if len(os.fsencode(usual)) <= SOCKET_PATH_LIMIT - len("/.s.PGSQL.5432"):
            usual.mkdir(parents=True, exist_ok=True, mode=0o700)
            return usual
        kept = self.root / "socket-folder"
        if not kept.is_file() or not Path(kept.read_text()).is_dir():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(tempfile.mkdtemp(prefix="reinstate-up-"))
        return Path(kept.read_text())

    @property
    def url(self) -> str:
        """SQLAlchemy URL for Prefect; only who may enter the socket's folder gets in, so it needs no password."""
        return f"postgresql+asyncpg://{USER}@/postgres?host={self.sockets}"

    def start(self) -> None:
        """Start it; made on first use. A cluster left running by a killed `up` is used as it is.

        Raises:
            RuntimeError: it did not start; the message has the end of its output.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.root / "bin").mkdir(exist_ok=True)
        install(self.root, mode())
        if not (self.data / "PG_VERSION").is_file():
            self._initialise()
        sockets = str(self.sockets).replace("'", "''")
        (self.data / "host.conf").write_text(
            f"listen_addresses = ''\nunix_socket_directories = '{sockets}'\nunix_socket_permissions = 0700\n"
            "max_connections = 200\nlog_timezone = 'UTC'\ntimezone = 'UTC'\n"
        )
        self._control("start")

    def stop(self) -> None:
        """Stop it, waiting for the end."""
        if (self.data / "PG_VERSION").is_file():
            self._control("stop")

    def _initialise(self) -> None:
        fresh = self.data.with_name("fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        initdb = self.root / "usr/lib/postgresql/bin/initdb"
        words = ["--pgdata", str(fresh), "--data-checksums", "--username", USER, "--auth", "trust"]
        run([str(initdb), *words, "--encoding", "UTF8", "--locale", "C"], env=clean_environment("up"))
        with (fresh / "postgresql.conf").open("a") as stream:
            stream.write("include = 'host.conf'\n")
        fresh.rename(self.data)

    def _control(self, verb: str) -> None:
        run([str(self.root / "bin/dbctl"), verb], env=clean_environment("up"))
