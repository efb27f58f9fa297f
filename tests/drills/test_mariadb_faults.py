"""Faults of MariaDB on a real server: seen by its checks as announced, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import database, mariadb_tables
from checks.expectations import expect_tables
from model.assets import MariadbAsset, ServiceAsset
from model.fault_kinds import FaultKind
from model.faults import Fault, choose
from model.finding import Finding
from model.manifest import Manifest
from model.plan import Checks, Objectives, Person, Plan, Roles, Service, TableChecks
from tasks.backup_mariadb import back_up_mariadb
from tasks.faults import inject, left_behind, undo
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.datahost import data_host, described
from tests.support.stores import make_directory_store, signing
from tests.tasks.localhost import quiet

__all__ = ["signing"]
pytestmark = pytest.mark.lab

HOST = "maria-drill"
PASSWORD = "canary-p'ss\"w\\ord #x"
SCHEMA = r"""
DROP DATABASE IF EXISTS shop; CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) NOT NULL, UNIQUE KEY (name));
CREATE TABLE orders (
  id INT, part INT, customer INT NOT NULL, total DECIMAL(10,2), content BLOB, note TEXT, KEY (customer),
  PRIMARY KEY (id, part), CONSTRAINT whose FOREIGN KEY (customer) REFERENCES customers (id));
CREATE TABLE audit (id INT PRIMARY KEY, total INT);
INSERT INTO customers (name) SELECT CONCAT('name', seq) FROM seq_1_to_300;
INSERT INTO orders SELECT seq, 2, 1 + seq % 300, IF(seq % 7, seq / 3, NULL), UNHEX(SHA1(seq)), 'it''s \\ a "note";\n'
  FROM seq_1_to_2000;
INSERT INTO audit VALUES (1, 1);
CREATE VIEW latest AS SELECT id FROM audit;
CREATE TRIGGER seen AFTER UPDATE ON audit FOR EACH ROW UPDATE customers SET name = 'x' WHERE id = -1;
"""


@pytest.fixture(scope="module")
def lab(data_base: Base, lab_session: LabSession) -> Iterator[LabHost]:
    with data_host(data_base, lab_session, HOST) as host:
        host.must(["systemctl", "start", "mariadb"])
        text = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        grant = f"CREATE USER clerk@localhost IDENTIFIED BY '{text}'; GRANT ALL ON *.* TO clerk@localhost"
        host.must(["mariadb"], text=grant)
        folder = host.inside("/var/lib") / "reinstate"
        folder.mkdir(mode=0o700)
        (folder / "role").write_text("staging\n")
        yield host


class World:
    """The server, its plan, and what its checks see."""

    def __init__(self, lab: LabHost, connection: Connection, signing: SigningKey, folder: Path) -> None:
        self.lab, self.connection, self.secrets = lab, connection, Secrets(folder)
        self.asset = MariadbAsset(
            kind="mariadb", host=HOST, database="shop", server="127.0.0.1", user="clerk", password="file:password",
            backup="kept", service="mariadb",
        )  # fmt: skip
        between = {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "total", "min_value": 0, "max_value": 1000},
        }
        tables = [
            {"database": "db", "table": table, "expectations": [between]} for table in ("orders", "audit")
        ]
        self.plan = Plan(
            name="shop", version="1", service=Service(name="Shop", owner="ann"), people={"ann": Person(name="Ann")},
            roles=Roles(leading_group=("ann",), working_group=("ann",)), objectives=Objectives(rto=60, rpo=60),
            hosts={HOST: described(lab)}, backups={"kept": {"kind": "directory", "path": "kept"}},  # type: ignore[dict-item]  # checked by pydantic
            assets={"db": self.asset, "mariadb": ServiceAsset(kind="service", host=HOST, unit="mariadb.service")},
            checks=Checks(tables=tuple(TableChecks.model_validate(one) for one in tables)),
        )  # fmt: skip
        self.sql(SCHEMA)
        store = make_directory_store(signing, folder)
        self.manifest: Manifest = store.manifest(
            back_up_mariadb(connection, "db", self.asset, HOST, store, self.secrets, quiet)
        )

    def sql(self, text: str) -> str:
        return self.lab.must(["mariadb", "--no-defaults", "-N", "-r"], text=text)

    def sums(self) -> str:
        """Every row and every definition, from outside."""
        names = self.sql("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
        sums = self.sql("CHECKSUM TABLE shop.customers, shop.orders, shop.audit EXTENDED")
        return names + sums + self.sql("USE shop; SHOW CREATE TABLE orders; SHOW CREATE TABLE audit")

    def found(self) -> list[Finding]:
        seen = mariadb_tables.collect(self.connection, self.asset, self.secrets)
        results = [database.judge("db", self.asset, seen, self.manifest)]
        described_by = SSHHost.from_plan(HOST, self.plan.hosts[HOST], self.secrets)
        results += expect_tables(self.plan, lambda _name: described_by.connect(), self.secrets)
        return [finding for result in results for finding in result.findings]


@pytest.fixture
def world(lab: LabHost, signing: SigningKey, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    with SSHHost.from_plan(HOST, described(lab), Secrets(tmp_path)).connect() as connection:
        yield World(lab, connection, signing, tmp_path)


@pytest.mark.parametrize("kind", [FaultKind.DROPPED_TABLE, FaultKind.DATABASE_PAGES])
def test_fault_of_mariadb_is_seen_as_announced_and_undone(world: World, kind: FaultKind) -> None:
    assert [] == world.found()
    before = world.sums()
    fault = next(
        one
        for seed in range(9)
        for one in choose(world.plan, [HOST], [kind], seed, 1)
        if one.target == "orders"
    )
    planted = inject(world.connection, world.plan, fault, secrets=world.secrets)
    assert planted == inject(world.connection, world.plan, fault, secrets=world.secrets)
    seen = world.found()
    assert [] == [one for one in planted.expected if not any(one.matches(finding) for finding in seen)], seen
    assert [] == [finding.sentence for finding in seen if not planted.explains(finding)]
    for _ in range(2):
        undo(world.connection, world.plan, planted, secrets=world.secrets)
        assert before == world.sums()
    assert () == left_behind(world.connection, world.plan, planted)
    assert "" == world.lab.must(["find", "/var/lib/reinstate", "-name", "my-*.cnf"])
    assert [] == world.found()


def test_table_that_others_or_triggers_depend_on_is_left_alone(world: World) -> None:
    """Dropping it would take away what no undoing knows of."""
    before = world.sums()
    for target in ("audit", "customers"):
        fault = Fault(kind=FaultKind.DROPPED_TABLE, asset="db", host=HOST, seed=1, target=target)
        planted = inject(world.connection, world.plan, fault, secrets=world.secrets)
        assert ("orders",) == planted.subjects
        undo(world.connection, world.plan, planted, secrets=world.secrets)
        assert before == world.sums()
