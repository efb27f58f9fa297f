"""Databases under the same mutilations: dumps and copies in our own archive, and a cluster that pgBackRest keeps."""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.assets import MariadbAsset, PostgresAsset, SqliteAsset
from model.manifest import Manifest, RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreDatabase, Rung
from tasks import restore_database, restore_mariadb, restore_sqlite
from tasks.backup_database import back_up_database
from tasks.backup_mariadb import back_up_mariadb
from tasks.backup_sqlite import back_up_sqlite
from tests.lab.host import LabHost
from tests.lab.servers import psql
from tests.support.stores import make_directory_store
from tests.tasks.localhost import quiet

DUMPS = ("postgresql", "mariadb", "sqlite")
"""Kept in our own archive: without an index or a record of a tool."""
STAGING = "/var/lib/reinstate/staging"
_NUMBERS = itertools.count(1)
_ROWS = 400


@dataclass
class DatabaseWorld(ABC):
    """One database on the laboratory's host, and a store with its backups.

    Attributes:
        host: the laboratory's host.
        connection: to it.
        store: under test, in `folder`.
        name: of the database.
    """

    host: LabHost
    connection: Connection
    signing: SigningKey
    folder: Path
    name: str = field(default_factory=lambda: f"shop{next(_NUMBERS)}")
    repository: str = ""

    def __post_init__(self) -> None:
        """An empty store."""
        self.store: BackupStore = make_directory_store(self.signing, self.folder)
        self.secrets = Secrets(self.folder)

    @property
    @abstractmethod
    def kind(self) -> str:
        """Of the database."""

    @abstractmethod
    def fill(self) -> None:
        """Make the database."""

    @abstractmethod
    def sql(self, text: str) -> str:
        """Run it in the database, and return the rows."""

    @abstractmethod
    def back_up(self) -> RecoveryPoint:
        """A new point."""

    @abstractmethod
    def names(self) -> set[str]:
        """The database and what restores put beside it."""

    @abstractmethod
    def _perform(self, action: RestoreDatabase, prefix: str) -> None:
        """Restore it."""

    @abstractmethod
    def _drop(self, name: str) -> None:
        """Remove what a restore kept aside."""

    def change(self) -> None:
        """Between two backups."""
        self.sql("UPDATE orders SET note = 'changed' WHERE id <= 7")

    def damage(self) -> None:
        """Everything has to be restored; nothing of earlier restores is left."""
        self.sql("DELETE FROM orders")
        for name in self.names() - {self.name}:
            self._drop(name)

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """What the store says of a point."""
        return self.store.manifest(point)

    def action(self, point: RecoveryPoint) -> RestoreDatabase:
        """What the ladder proposes."""
        return RestoreDatabase(
            id="a01", host="web", asset="db", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u",
            point=point, database=self.database,
        )  # fmt: skip

    @property
    def database(self) -> str:
        """As the asset calls it."""
        return self.name

    def prepared(self, point: RecoveryPoint) -> Callable[[], object]:
        """The restore of everything, proposed now; each in an incident of its own."""
        return partial(self._perform, self.action(point), f"inc-20261101-000000-{next(_NUMBERS):04}-a01-1")

    def state(self) -> dict[str, tuple[object, ...]]:
        """Everything that must come back."""
        rows = self.sql("SELECT id, note FROM orders ORDER BY id")
        return {self.name: (hashlib.sha256(rows.encode()).hexdigest(),)}

    def staged(self) -> list[str]:
        """What is left beside the database, and in the staging folder."""
        staging = self.host.inside(STAGING)
        left = [path.name for path in staging.iterdir()] if staging.exists() else []
        return left + sorted(self.names() - {self.name})


@dataclass
class PostgresWorld(DatabaseWorld):
    """A PostgreSQL database, dumped."""

    kind = "postgresql"

    def fill(self) -> None:
        self.host.must(["systemctl", "start", "postgresql@15-main.service"])
        psql(self.host, f"CREATE DATABASE {self.name}", "postgres")
        self.sql(
            "CREATE TABLE orders (id int PRIMARY KEY, note text);"
            f"INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, {_ROWS}) n"
        )

    @property
    def asset(self) -> PostgresAsset:
        return PostgresAsset(
            kind="postgresql", host="web", database=self.name, server="/var/run/postgresql", os_user="postgres",
            backup="kept",
        )  # fmt: skip

    def sql(self, text: str) -> str:
        return psql(self.host, text, self.name)

    def names(self) -> set[str]:
        return set(psql(self.host, f"SELECT datname FROM pg_database WHERE datname ~ '^{self.name}(_|$)'",
                        "postgres").split())  # fmt: skip

    def back_up(self) -> RecoveryPoint:
        return back_up_database(self.connection, "db", self.asset, "web", self.store, self.secrets, quiet)

    def _perform(self, action: RestoreDatabase, prefix: str) -> None:
        restore_database.perform(
            self.connection, self.asset, self.secrets, action, self.store, job_prefix=prefix, token=1, progress=quiet
        )  # fmt: skip

    def _drop(self, name: str) -> None:
        psql(self.host, f"DROP DATABASE {name} WITH (FORCE)", "postgres")


@dataclass
class MariadbWorld(DatabaseWorld):
    """A MariaDB database, dumped."""

    kind = "mariadb"

    def fill(self) -> None:
        self.host.must(["systemctl", "start", "mariadb.service"])
        self._server(f"CREATE DATABASE {self.name}")
        self.sql(
            "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT);"
            f"INSERT INTO orders SELECT seq, MD5(seq) FROM seq_1_to_{_ROWS}"
        )

    @property
    def asset(self) -> MariadbAsset:
        return MariadbAsset(kind="mariadb", host="web", database=self.name, os_user="root", backup="kept")

    def sql(self, text: str) -> str:
        return self._server(f"USE {self.name}; {text}")

    def _server(self, text: str) -> str:
        return self.host.must(["mariadb", "--no-defaults", "-N", "-r"], text=text)

    def names(self) -> set[str]:
        text = (
            f"SELECT schema_name FROM information_schema.schemata WHERE schema_name RLIKE '^{self.name}(_|$)'"
        )
        return set(self._server(text).split())

    def back_up(self) -> RecoveryPoint:
        return back_up_mariadb(self.connection, "db", self.asset, "web", self.store, self.secrets, quiet)

    def _perform(self, action: RestoreDatabase, prefix: str) -> None:
        restore_mariadb.perform(
            self.connection, self.asset, self.secrets, action, self.store, job_prefix=prefix, token=1, progress=quiet
        )  # fmt: skip

    def _drop(self, name: str) -> None:
        self._server(f"DROP DATABASE `{name}`")


@dataclass
class SqliteWorld(DatabaseWorld):
    """A SQLite file, copied."""

    kind = "sqlite"

    @property
    def database(self) -> str:
        return f"/srv/{self.name}/live.db"

    def fill(self) -> None:
        self.host.inside(self.database).parent.mkdir()
        self.sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);"
            f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_ROWS})"
            "INSERT INTO orders SELECT i, hex(i * i) FROM n"
        )

    @property
    def asset(self) -> SqliteAsset:
        return SqliteAsset(kind="sqlite", host="web", path=self.database, os_user="root", backup="kept")

    def sql(self, text: str) -> str:
        file = sqlite3.connect(self.host.inside(self.database))
        try:
            if text.startswith("SELECT"):
                return json.dumps(file.execute(text).fetchall())
            file.executescript(text)
            file.commit()
            return ""
        finally:
            file.close()

    def names(self) -> set[str]:
        folder = self.host.inside(self.database).parent
        return {self.name, *(path.name for path in folder.iterdir() if path.name != "live.db")}

    def back_up(self) -> RecoveryPoint:
        return back_up_sqlite(self.connection, "db", self.asset, "web", self.store, quiet)

    def _perform(self, action: RestoreDatabase, prefix: str) -> None:
        restore_sqlite.perform(
            self.connection, self.asset, {}, action, self.store, job_prefix=prefix, token=1, progress=quiet
        )  # fmt: skip

    def _drop(self, name: str) -> None:
        (self.host.inside(self.database).parent / name).unlink()


WORLDS: dict[str, type[DatabaseWorld]] = {
    "postgresql": PostgresWorld,
    "mariadb": MariadbWorld,
    "sqlite": SqliteWorld,
}
