"""The ledger: a PostgreSQL cluster of a payment service on a laboratory host, archived and backed up by pgBackRest."""

from __future__ import annotations

from pathlib import Path

from tests.lab.host import LabHost

DATABASE = "ledger"
ROLE = "reinstate"
PASSWORD = 'lab\'s "pass" $word'
STANZA = "ledger"
ACCOUNTS = 4000
OPENING = 1000
DATA = "/var/lib/postgresql/15/main"
UNIT = "postgresql@15-main.service"
_SCHEMA = f"""
CREATE TABLE accounts (id integer PRIMARY KEY, owner text NOT NULL, balance bigint NOT NULL);
CREATE TABLE bookings (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, debit integer NOT NULL REFERENCES accounts,
    credit integer NOT NULL REFERENCES accounts, amount bigint NOT NULL CHECK (amount > 0), note text NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT clock_timestamp());
INSERT INTO accounts SELECT n, 'Owner ' || n, {OPENING} FROM generate_series(1, {ACCOUNTS}) n;
CREATE INDEX accounts_by_owner ON accounts (owner);
"""
_HEALTH = """
import http.server, subprocess
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ask = ["psql", "-Atc", "SELECT count(*) FROM accounts", "ledger"]
        ok = not subprocess.run(ask, capture_output=True, timeout=20).returncode
        self.send_response(200 if ok else 503)
        self.end_headers()
        self.wfile.write(b"paying" if ok else b"closed")
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Health).serve_forever()
"""


class Ledger:
    """The ledger on one host.

    Attributes:
        host: where it runs.
    """

    def __init__(self, host: LabHost) -> None:
        """Look at a host on which `prepare_ledger` has run."""
        self.host = host

    def as_owner(self, *words: str) -> str:
        """Run a program as the cluster's owner; it has to succeed."""
        return self.host.must(
            ["runuser", "-u", "postgres", "--", "sh", "-c", 'cd / && exec "$@"', "lab", *words]
        )

    def sql(self, statement: str, database: str = DATABASE) -> str:
        """Run SQL and return the rows, fields parted by `|`."""
        return self.as_owner(
            "psql", "-XAqt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement
        ).strip()

    def pay(self, count: int, note: str) -> None:
        """Book payments, each in a transaction of its own; what all accounts hold together stays the same."""
        self.sql(
            f"""DO $$ BEGIN FOR n IN 1..{count} LOOP
            INSERT INTO bookings (debit, credit, amount, note)
                VALUES (1 + n * 7 % {ACCOUNTS}, 1 + n * 11 % {ACCOUNTS}, 1 + n % 5, '{note}');
            UPDATE accounts SET balance = balance - (1 + n % 5) WHERE id = 1 + n * 7 % {ACCOUNTS};
            UPDATE accounts SET balance = balance + (1 + n % 5) WHERE id = 1 + n * 11 % {ACCOUNTS};
            COMMIT; END LOOP; END $$"""
        )

    def state(self) -> tuple[str, str]:
        """Digest of all rows of both tables, read in the order of their keys."""
        return self.digest("accounts"), self.digest("bookings")

    def digest(self, table: str) -> str:
        """Number and digest of a table's rows."""
        return self.sql(f"SELECT count(*) || ' ' || md5(string_agg(t::text, '|' ORDER BY id)) FROM {table} t")

    def total(self) -> int:
        """What all accounts hold together."""
        return int(self.sql("SELECT sum(balance) FROM accounts"))

    def backrest(self, *words: str) -> str:
        """Run pgBackRest as a schedule of the host's own would."""
        return self.as_owner("pgbackrest", f"--stanza={STANZA}", "--log-level-file=off", *words)

    def damage_page(self, table: str = "accounts", page: int = 3) -> Path:
        """Write nonsense over the middle of a page, as a failing disk would; returns the file on this machine."""
        place = f"{DATA}/" + self.sql(f"SELECT pg_relation_filepath('{table}')")
        self.sql("CHECKPOINT")
        self.host.must(["systemctl", "stop", UNIT])
        file = self.host.inside(place)
        with file.open("r+b") as handle:
            handle.seek(page * 8192 + 3000)
            handle.write(b"\xde\xad\xbe\xef" * 64)
        self.host.must(["systemctl", "start", UNIT])
        return file


def prepare_ledger(host: LabHost, repository: str) -> Ledger:
    """Set the ledger up: cluster, archiving, stanza, schema; no backup yet.

    Args:
        host: a freshly booted host of the `data` base.
        repository: lines for pgBackRest's configuration that say where the repository is.
    """
    ledger = Ledger(host)
    config = host.inside("/etc/pgbackrest.conf")
    config.write_text(
        f"[global]\n{repository}\nrepo1-bundle=y\nrepo1-retention-full=9\ncompress-level=1\nstart-fast=y\njob-retry=0\n"
        f"log-level-file=off\n\n[{STANZA}]\npg1-path={DATA}\n"
    )
    host.must(["chown", "postgres:", "/etc/pgbackrest.conf"])
    host.must(["chmod", "640", "/etc/pgbackrest.conf"])
    host.inside("/etc/postgresql/15/main/conf.d").mkdir(exist_ok=True)
    host.inside("/etc/postgresql/15/main/conf.d/archive.conf").write_text(
        f"archive_mode = on\narchive_command = 'pgbackrest --stanza={STANZA} archive-push %p'\nfsync = off\n"
    )
    host.inside("/srv/health.py").write_text(_HEALTH)
    host.inside("/etc/systemd/system/payments.service").write_text(
        "[Service]\nUser=postgres\nWorkingDirectory=/\nExecStart=/usr/bin/python3 /srv/health.py\n"
    )
    host.must(["systemctl", "daemon-reload"])
    host.must(["systemctl", "start", UNIT])
    ledger.sql(f"CREATE DATABASE {DATABASE}", "postgres")
    quoted = PASSWORD.replace("'", "''")
    ledger.sql(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{quoted}'", "postgres")
    ledger.sql(_SCHEMA)
    ledger.backrest("stanza-create")
    host.must(["systemctl", "start", "payments"])
    return ledger
