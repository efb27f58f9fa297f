"""A damaged MariaDB database is found, and comes back from a dump we made; what was there can come back, too."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import database, mariadb_tables
from model.assets import MariadbAsset
from model.errors import Damaged, Refused
from model.finding import CheckResult, Code, Verdict
from model.manifest import RecoveryPoint
from model.outcome import Stage
from model.plan import TableChecks
from model.proposal import RestoreDatabase, Rung
from tasks import restore_mariadb
from tasks.backup_mariadb import back_up_mariadb
from tasks.database_swap import Names
from tasks.performed import Performed
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support import suites
from tests.support.datahost import connect, data_host
from tests.support.stores import make_directory_store, overwrite, publish_altered, stored

pytestmark = pytest.mark.lab

_NUMBER = itertools.count(1)
PASSWORD = "canary-p'ss\"w\\ord #x"
SCHEMA = r"""
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
USE shop;
CREATE TABLE customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) NOT NULL, UNIQUE KEY (name));
CREATE TABLE orders (
  id INT PRIMARY KEY AUTO_INCREMENT, customer INT NOT NULL, total DECIMAL(10,2), at TIMESTAMP NOT NULL DEFAULT NOW(),
  content BLOB, note TEXT, twice INT AS (id * 2) VIRTUAL, KEY (customer),
  CONSTRAINT whose FOREIGN KEY (customer) REFERENCES customers (id));
CREATE TABLE audit (id INT PRIMARY KEY AUTO_INCREMENT, what TEXT, weight FLOAT);
CREATE TABLE old (id INT PRIMARY KEY, text TEXT) ENGINE=MyISAM;
CREATE TABLE `odd ``na'me` (x INT);
INSERT INTO `odd ``na'me` VALUES (1), (NULL);
INSERT INTO customers (name) SELECT CONCAT('name', seq) FROM seq_1_to_300;
INSERT INTO orders (customer, total, content, note)
  SELECT 1 + seq % 300, seq / 3, UNHEX(SHA1(seq)), CONCAT('it''s \\ a "note"; DROP TABLE x;\n(1,2),', REPEAT('x', 90))
  FROM seq_1_to_3000;
INSERT INTO audit (what, weight) SELECT 'seen', seq / 4 FROM seq_1_to_40;
INSERT INTO old SELECT seq, 'a\tb\0c' FROM seq_1_to_100;
CREATE VIEW latest AS SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer;
DELIMITER //
CREATE TRIGGER seen AFTER INSERT ON orders FOR EACH ROW BEGIN INSERT INTO audit (what) VALUES ('new'); END//
CREATE PROCEDURE one(IN a INT) BEGIN SELECT a; END//
CREATE FUNCTION more(a INT) RETURNS INT DETERMINISTIC RETURN a + 1//
CREATE EVENT clean ON SCHEDULE EVERY 1 DAY DO BEGIN DELETE FROM audit WHERE id < 0; END//
DELIMITER ;
"""
DATA = "/var/lib/mysql/shop"


def quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


class World:
    """The host, its database and everything that acts on them."""

    def __init__(self, lab: LabHost, connection: SSHConnection, store: BackupStore, secrets: Secrets) -> None:
        self.lab, self.connection, self.store, self.secrets = lab, connection, store, secrets
        self.incident = f"inc-20261125-000000-{next(_NUMBER):04}"
        self.names = Names.of("shop", f"{self.incident}-a01-1", "a01")
        self.asset = MariadbAsset(
            kind="mariadb", host="data", database="shop", server="127.0.0.1", user="clerk", password="file:password",
            backup="local",
        )  # fmt: skip

    def sql(self, text: str) -> str:
        return self.lab.must(["mariadb", "--no-defaults", "-N", "-r"], text=text)

    def fresh(self) -> None:
        """The database as it was made, and nothing of ours."""
        ours = self.sql("SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'shop%'")
        for name in ours.split():
            self.sql(f"SET foreign_key_checks = 0; DROP DATABASE `{name}`")
        self.sql(SCHEMA)

    def stopped(self, *words: str) -> None:
        """Damage files while the server is down."""
        self.lab.must(["systemctl", "stop", "mariadb"])
        self.lab.must(list(words))
        self.lab.must(["systemctl", "start", "mariadb"])

    def back_up(self) -> RecoveryPoint:
        return back_up_mariadb(self.connection, "db", self.asset, "data", self.store, self.secrets, quiet)

    def check(self, point: RecoveryPoint | None = None) -> CheckResult:
        seen = mariadb_tables.collect(self.connection, self.asset, self.secrets)
        return database.judge("db", self.asset, seen, self.store.manifest(point) if point else None)

    def restore(self, point: RecoveryPoint) -> Performed:
        return restore_mariadb.perform(
            self.connection, self.asset, self.secrets, action_for(point), self.store,
            job_prefix=f"{self.incident}-a01-{next(_NUMBER)}", token=1, progress=quiet,
        )  # fmt: skip

    def undo(self, point: RecoveryPoint) -> Performed:
        return restore_mariadb.undo(
            self.connection, self.asset, self.secrets, action_for(point), token=1, progress=quiet,
            job_prefix=f"{self.incident}-undo-a01-{next(_NUMBER)}",
        )  # fmt: skip

    def sums(self, database: str = "shop") -> str:
        tables = ("customers", "orders", "audit", "old", "odd ``na'me")
        return self.sql("".join(f"CHECKSUM TABLE {database}.`{t}`;" for t in tables)).replace(database, "")

    def databases(self) -> set[str]:
        return set(self.sql("SHOW DATABASES").split()) - {
            "mysql",
            "information_schema",
            "performance_schema",
            "sys",
        }

    def code(self) -> str:
        return self.sql(
            "SELECT trigger_name, action_statement FROM information_schema.triggers WHERE trigger_schema = 'shop';"
            "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = 'shop' "
            "ORDER BY 1; SELECT event_name, status FROM information_schema.events WHERE event_schema = 'shop';"
            "SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = 'shop'"
        )


def action_for(point: RecoveryPoint) -> RestoreDatabase:
    return RestoreDatabase(
        id="a01", host="data", asset="db", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u", point=point,
        database="shop",
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(data_base: Base, lab_session: LabSession) -> Iterator[LabHost]:
    with data_host(data_base, lab_session, "maria") as host:
        host.must(["systemctl", "start", "mariadb"])
        text = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        host.must(
            ["mariadb"],
            text=f"CREATE USER clerk@localhost IDENTIFIED BY '{text}'; GRANT ALL ON *.* TO clerk@localhost",
        )
        yield host


@pytest.fixture
def world(lab: LabHost, signing: SigningKey, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    with connect(lab) as connection:
        made = World(lab, connection, make_directory_store(signing, tmp_path), Secrets(tmp_path))
        made.fresh()
        yield made


def found(result: CheckResult) -> set[tuple[Code, str]]:
    return {(finding.code, finding.subject) for finding in result.findings}


def test_database_comes_back_whole_and_undo_brings_the_damaged_one_back(world: World) -> None:
    """R-RESP-6, N1: tables, keys, triggers, routines, events and views; both ways, bit for bit."""
    good, code = world.sums(), world.code()
    point = world.back_up()
    counts = {count.table: (count.rows, bool(count.checksum)) for count in world.store.manifest(point).tables}
    assert counts == {
        "customers": (300, True), "orders": (3000, True), "audit": (40, False), "old": (100, True),
        "odd `na'me": (2, True),
    }  # fmt: skip
    assert Verdict.PASSED is world.check(point).verdict
    world.sql(
        "USE shop; DROP TRIGGER seen; DELETE FROM orders; DROP PROCEDURE one; CREATE TABLE later (id INT);"
    )
    assert (Code.DATABASE_TABLE_UNREADABLE, "old") not in found(world.check(point))
    before, damaged = world.code(), world.sums()
    performed = world.restore(point)
    assert "5 tables with 3442 rows" in performed.sentence
    assert good == world.sums()
    assert code == world.code()
    assert {"shop", world.names.damaged} == world.databases()
    world.sql("INSERT INTO shop.orders (customer) VALUES (1)")  # keys and triggers work
    assert "41" in world.sql("SELECT COUNT(*) FROM shop.audit")
    assert "already" in world.restore(point).sentence
    assert "again what it was" in world.undo(point).sentence
    assert damaged == world.sums()
    assert before == world.code()
    assert {"shop", world.names.undone} == world.databases()
    assert "not replaced" in world.undo(point).sentence
    assert "3001" in world.sql(f"SELECT COUNT(*) FROM {world.names.undone}.orders")
    assert "" == world.lab.must(["find", "/var/lib/reinstate", "-name", "my-*.cnf"])


def page(number: int) -> tuple[str, ...]:
    return (
        "dd", "if=/dev/urandom", f"of={DATA}/orders.ibd", "bs=16384", f"seek={number}", "count=1", "conv=notrunc",
        "status=none",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda w: w.stopped(*page(6)), {(Code.DATABASE_CHECKSUM_FAILED, "orders")}),
        (
            lambda w: w.stopped("sh", "-c", f"truncate -s 49152 {DATA}/customers.ibd; rm {DATA}/audit.ibd"),
            {(Code.DATABASE_TABLE_UNREADABLE, "customers"), (Code.DATABASE_TABLE_UNREADABLE, "audit")},
        ),
        (lambda w: w.sql("DROP TABLE shop.orders"), {(Code.DATABASE_TABLE_UNREADABLE, "orders")}),
        (lambda w: w.sql("DROP DATABASE shop"), {(Code.DATABASE_EMPTY, "shop")}),
    ],
    ids=["damaged page", "cut and missing files", "dropped table", "dropped database"],
)
def test_damage_is_named_and_cured(
    world: World, damage: Callable[[World], object], expected: set[tuple[Code, str]]
) -> None:
    """R-RESP-2, R-RESP-6: also where the server can neither read nor rename a table any more."""
    good = world.sums()
    point = world.back_up()
    damage(world)
    assert expected == found(world.check(point))
    world.restore(point)
    assert good == world.sums()
    assert Verdict.PASSED is world.check(point).verdict
    assert [] == [line for line in world.sql(
        "SELECT for_name FROM information_schema.innodb_sys_foreign WHERE for_name NOT LIKE 'shop/%' "
        "AND ref_name LIKE 'shop/%'"
    ).split() if line]  # nothing kept aside holds on to the live tables  # fmt: skip
    world.undo(point)
    assert {subject for _, subject in expected} == {subject for _, subject in found(world.check(point))}


def test_file_cut_behind_the_back_of_a_running_server_is_found(world: World) -> None:
    """The server holds the pages in memory, and innochecksum alone passes a file that ends with a page."""
    world.sql("FLUSH TABLES shop.orders FOR EXPORT; UNLOCK TABLES")
    assert Verdict.PASSED is world.check().verdict
    world.lab.must(["truncate", "-s", str(16384 * 7), f"{DATA}/orders.ibd"])
    result = world.check()
    assert {(Code.DATABASE_CHECKSUM_FAILED, "orders")} == found(result)
    assert "its first page says" in result.findings[0].actual


def test_backups_that_are_none_are_refused_by_name_and_nothing_is_touched(
    world: World, signing: SigningKey
) -> None:
    """Issue 4, must show 5: empty, shrunk, truncated, flipped, another host's, hostile."""
    point = world.back_up()
    whole = stored(world.store, point.key)
    manifest = world.store.manifest(point)
    before = world.sums()

    publish = partial(publish_altered, world.store, manifest)
    few = tuple(c.model_copy(update={"rows": c.rows // 20, "checksum": ""}) for c in manifest.tables)
    none = tuple(c.model_copy(update={"rows": 0, "checksum": ""}) for c in manifest.tables)
    hostile = (
        rb"\! touch /root/pwned",
        b"DROP DATABASE mysql;",
        b"INSERT INTO `mysql`.`user` VALUES (1);",
        b"SELECT 1 INTO OUTFILE '/root/pwned';",
        b"SET GLOBAL general_log = 1;",
        b"source /etc/passwd",
    )
    cases: list[tuple[RecoveryPoint, type[Exception], str]] = [
        (publish(whole, tables=few), Refused, r"holds 172 rows, the 1 before it 3442 \(median\)"),
        (publish(whole, tables=none), Refused, "holds no row"),
        (publish(whole, machine_id="f" * 32), Refused, "taken from machine"),
        (publish(whole[: len(whole) // 2]), Damaged, "truncated|no row of values"),
        (publish(whole.replace(b"'name7'", b"'name8'").replace(b"(8,'name8'),\n", b"")), Damaged, "299 rows"),
    ]
    cases += [(publish(whole.replace(b"UNLOCK TABLES;", line, 1)), Damaged, "is refused") for line in hostile]
    for bad, error, says in cases:
        with pytest.raises(error, match=says):
            world.restore(bad)
    flipped = bytearray(whole)
    flipped[whole.index(b"'name7'") + 2] ^= 4
    overwrite(world.store, point.key, bytes(flipped))
    with pytest.raises(Damaged):
        world.restore(point)
    assert before == world.sums()
    assert {"shop"} == world.databases()
    assert "" == world.lab.must(["find", "/root", "-name", "pwned"])


def test_backup_of_a_damaged_or_emptied_database_is_not_made(world: World) -> None:
    """R-PREV-1, G11."""
    world.back_up()
    world.sql("SET foreign_key_checks = 0; USE shop; DELETE FROM orders; DELETE FROM customers; DELETE FROM audit; "
              "DELETE FROM old; DELETE FROM `odd ``na'me`")  # fmt: skip
    time.sleep(1.0)  # recovery points are named by the second
    with pytest.raises(Damaged, match="no table has a row any more"):
        world.back_up()
    world.fresh()
    world.stopped(*page(6))
    with pytest.raises(Damaged, match="cannot be read to its end"):
        world.back_up()
    assert 1 == len(world.store.points("db"))


def test_server_that_is_down_and_password_that_is_wrong_are_told_apart(world: World, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("canary-wrong")
    denied = world.check()
    assert [(Code.DATABASE_UNREACHABLE, "shop")] == list(found(denied))
    assert "Access denied" in denied.findings[0].actual
    assert "canary" not in denied.model_dump_json()
    world.lab.must(["systemctl", "stop", "mariadb"])
    assert "Can't connect" in world.check().findings[0].actual
    world.lab.must(["systemctl", "start", "mariadb"])


def test_expectations_are_asked_through_the_hosts_own_client_and_failing_rows_only_counted(
    world: World,
) -> None:
    """R-RESP-6: also by the socket, which no tunnel reaches."""
    point = world.back_up()
    manifest = world.store.manifest(point)
    socket = world.asset.model_copy(
        update={"server": "/run/mysqld/mysqld.sock", "user": "root", "password": None}
    )

    def ask(*checks: TableChecks) -> list[CheckResult]:
        return suites.ask(socket, lambda: connect(world.lab), world.secrets, *checks, manifest=manifest)

    whole = suites.table(
        expectations=suites.SUITE, fresh=[{"column": "at", "within": "1h"}], recorded=["rows", "checksum"],
        refers=[{"column": "customer", "table": "customers"}],
    )  # fmt: skip
    (result,) = ask(whole)
    assert Verdict.PASSED is result.verdict, result
    assert "All 10 expectations" in result.sentence
    world.sql(
        "SET foreign_key_checks = 0; USE shop; UPDATE orders SET note = 'canary' WHERE id <= 5;"
        "CREATE TABLE nothing (id INT);"
        "UPDATE orders SET customer = 77777 WHERE id <= 3; DELETE FROM orders LIMIT 1;"
        "UPDATE orders SET at = NOW() - INTERVAL 2 HOUR"
    )
    result, empty, missing, wrong = ask(
        whole, suites.table("nothing", suites.SUITE), suites.table("gone", suites.SUITE),
        suites.table("customers", [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nope"}}]),
    )  # fmt: skip
    assert Verdict.FAILED is result.verdict
    answers = suites.said(result)
    assert answers["orders: expect_column_values_to_match_regex"] == "4 of 2999 rows do not"
    assert answers["orders: customer → customers.id"] == "2 rows do not"
    assert answers["orders: recorded rows"] == "2999 rows"
    assert answers["orders: recorded checksum"] == "another content"
    assert "s old" in answers["orders: newest at"]
    assert 5 == len(answers)
    assert "canary" not in result.model_dump_json()
    assert ["has no rows"] == list(suites.said(empty).values())
    assert ["does not exist"] == list(suites.said(missing).values())
    assert Verdict.ERROR is wrong.verdict
    assert "nope" in wrong.not_checked[0]
