"""A damaged SQLite database is found, and comes back from a copy we made; what was there can come back, too."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import database, sqlite
from model.assets import ServiceAsset, SqliteAsset
from model.errors import Damaged, PreconditionFailed, Refused
from model.finding import CheckResult, Code, Verdict
from model.manifest import RecoveryPoint
from model.outcome import Stage
from model.plan import TableChecks
from model.proposal import RestoreDatabase, Rung
from tasks import restore_sqlite
from tasks.backup_sqlite import back_up_sqlite
from tasks.performed import Performed
from tests.support import suites
from tests.support.sshservers import Server
from tests.support.stores import make_directory_store, overwrite, publish_altered, stored

_NUMBER = itertools.count(1)
SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INT REFERENCES customers, total REAL, content BLOB, note TEXT);
CREATE INDEX by_customer ON orders (customer);
CREATE TABLE "odd ""name" (x TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO "odd ""name" VALUES ('a'), ('b');
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO customers SELECT i, 'name' || i FROM n;
INSERT INTO orders
SELECT id, id, id / 3.0, randomblob(20), 'it''s ' || char(10) || id || hex(zeroblob(60)) FROM customers;
"""


def quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


class World:
    """A host, a database file on it, and everything that acts on them."""

    def __init__(self, connection: SSHConnection, folder: Path, store: BackupStore) -> None:
        self.connection, self.folder, self.store = connection, folder, store
        self.path = folder / "data" / "shop [1].db"
        self.path.parent.mkdir()
        self.asset = SqliteAsset(kind="sqlite", host="web", path=str(self.path), backup="local")
        self.incident = f"inc-20261125-000000-{next(_NUMBER):04}"
        self.services: dict[str, ServiceAsset] = {}
        made = sqlite3.connect(self.path)
        made.executescript(SCHEMA)
        made.close()
        self.path.chmod(0o640)

    def sql(self, text: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            rows = connection.execute(text).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def page_of(self, name: str) -> int:
        """A page in the middle of what belongs to a table or index."""
        return int(str(self.sql(f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")[0][0]))

    def write(self, offset: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def back_up(self) -> RecoveryPoint:
        return back_up_sqlite(self.connection, "db", self.asset, "web", self.store, quiet)

    def check(self, point: RecoveryPoint | None = None) -> CheckResult:
        seen = sqlite.collect(self.connection, self.asset)
        return database.judge("db", self.asset, seen, self.store.manifest(point) if point else None)

    def action(self, point: RecoveryPoint) -> RestoreDatabase:
        return RestoreDatabase(
            id="a01", host="web", asset="db", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u",
            point=point, database=str(self.path),
        )  # fmt: skip

    def restore(self, point: RecoveryPoint) -> Performed:
        return restore_sqlite.perform(
            self.connection, self.asset, self.services, self.action(point), self.store,
            job_prefix=f"{self.incident}-a01-{next(_NUMBER)}", token=1, progress=quiet,
        )  # fmt: skip

    def undo(self, point: RecoveryPoint) -> Performed:
        return restore_sqlite.undo(
            self.connection, self.asset, self.services, self.action(point), token=1, progress=quiet,
            job_prefix=f"{self.incident}-undo-a01-{next(_NUMBER)}",
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """What is in the folder, byte by byte; an empty -wal and the -shm are SQLite's own coming and going."""
        return {
            p.name: p.read_bytes()
            for p in sorted(self.path.parent.iterdir())
            if not p.name.endswith("-shm") and p.stat().st_size
        }

    def live(self) -> dict[str, bytes]:
        return {
            name: data
            for name, data in self.files().items()
            if name in {self.path.name, f"{self.path.name}-wal"}
        }


@pytest.fixture
def world(host: SSHConnection, signing: SigningKey, tmp_path: Path) -> World:
    return World(host, tmp_path, make_directory_store(signing, tmp_path))


@pytest.fixture(params=["python", "tool"])
def either(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Hosts with Python, and hosts with the `sqlite3` tool only."""
    if request.param == "tool":
        monkeypatch.setattr(sqlite, "_PYTHON", "exit 97")
    return world


def found(result: CheckResult) -> set[tuple[Code, str]]:
    return {(finding.code, finding.subject) for finding in result.findings}


def test_database_in_use_comes_back_whole_and_undo_is_bit_for_bit(either: World) -> None:
    """R-RESP-6, N1: also what was only in the write-ahead log; owner and mode are kept."""
    world = either
    writer = sqlite3.connect(world.path)
    writer.execute("INSERT INTO customers VALUES (5000, 'only in the log')")
    writer.commit()
    point = world.back_up()
    counts = {count.table: count.rows for count in world.store.manifest(point).tables}
    assert counts == {"customers": 2001, "orders": 2000, 'odd "name': 2}
    assert all(count.checksum for count in world.store.manifest(point).tables)
    assert Verdict.PASSED is world.check(point).verdict
    writer.execute("DELETE FROM orders")
    writer.execute("INSERT INTO customers VALUES (5001, 'after the backup')")
    writer.commit()
    before = world.live()
    with pytest.raises(PreconditionFailed, match=r"still has .* open"):
        world.restore(point)
    assert before == world.live()
    writer.close()
    damaged = world.live()
    performed = world.restore(point)
    assert "3 tables with 4003 rows" in performed.sentence
    assert [(2000,)] == world.sql("SELECT count(*) FROM orders")
    assert [("only in the log",)] == world.sql("SELECT name FROM customers WHERE id >= 5000")
    assert 0o640 == world.path.stat().st_mode & 0o7777
    assert Verdict.PASSED is world.check(point).verdict
    assert "already" in world.restore(point).sentence
    world.sql("INSERT INTO customers VALUES (6000, 'since')")
    assert "again what it was" in world.undo(point).sentence
    assert damaged == world.live()
    (kept,) = world.path.parent.glob("*.restored-*[0-9a-f]")
    assert [(6000,)] == sqlite3.connect(kept).execute("SELECT max(id) FROM customers").fetchall()
    assert "not replaced" in world.undo(point).sentence


def tree(world: World) -> None:
    world.write((world.page_of("orders") - 1) * 4096 + 8, b"\xff" * 600)


def one_byte(world: World) -> None:
    """In a value that no index covers."""
    data = world.path.read_bytes()
    at = data.rindex(b"name1999")
    world.write(at, b"X")


def indexed(world: World) -> None:
    world.sql("DROP INDEX by_customer")
    world.sql("CREATE INDEX by_customer ON orders (note)")
    data = world.path.read_bytes()
    world.write(data.index(b"it's \n77") + 6, b"8")


DAMAGES: dict[str, tuple[Callable[[World], object], Code, str]] = {
    "tree": (tree, Code.DATABASE_CHECKSUM_FAILED, "path"),
    "index": (indexed, Code.DATABASE_CHECKSUM_FAILED, "path"),
    "head": (lambda w: w.write(0, b"no database here"), Code.DATABASE_CHECKSUM_FAILED, "path"),
    "cut": (lambda w: w.path.write_bytes(w.path.read_bytes()[:40960]), Code.DATABASE_CHECKSUM_FAILED, "path"),
    "missing": (lambda w: w.path.unlink(), Code.DATABASE_EMPTY, "path"),
    "empty": (lambda w: w.path.write_bytes(b""), Code.DATABASE_EMPTY, "path"),
    "dropped table": (lambda w: w.sql("DROP TABLE orders"), Code.DATABASE_TABLE_UNREADABLE, "orders"),
    "orphans": (
        lambda w: w.sql("DELETE FROM customers WHERE id = 7"), Code.DATABASE_INCONSISTENT, "orders",
    ),
}  # fmt: skip


def test_damage_is_named(either: World) -> None:
    """R-RESP-2."""
    world = either
    point = world.back_up()
    whole = world.path.read_bytes()
    assert Verdict.PASSED is world.check(point).verdict
    for name, (damage, code, subject) in DAMAGES.items():
        damage(world)
        named = str(world.path) if subject == "path" else subject
        assert (code, named) in found(world.check(point)), name
        for file in world.path.parent.iterdir():
            file.unlink()
        world.path.write_bytes(whole)
    assert Verdict.PASSED is world.check(point).verdict


@pytest.mark.parametrize("name", ["tree", "head", "missing"])
def test_damage_is_cured(world: World, name: str) -> None:
    """R-RESP-6."""
    point = world.back_up()
    DAMAGES[name][0](world)
    seen = found(world.check(point))
    there = world.live()
    world.restore(point)
    assert Verdict.PASSED is world.check(point).verdict
    world.undo(point)
    assert there == world.live()
    assert seen == found(world.check(point))


def test_altered_value_is_only_seen_by_what_was_recorded(world: World) -> None:
    """lab.md, D: every check of SQLite passes a flipped byte in a value; the recorded digest does not."""
    point = world.back_up()
    one_byte(world)
    assert Verdict.PASSED is world.check(point).verdict
    file = sqlite.SqliteFile(world.connection, str(world.path))
    now = {count.table: count.checksum for count in sqlite.recorded(file, sqlite.look(file))}
    then = {count.table: count.checksum for count in world.store.manifest(point).tables}
    assert ["customers"] == [table for table in then if now[table] != then[table]]


def test_python_and_the_tool_say_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sqlite.SqliteFile(world.connection, str(world.path))
    ask = [
        "SELECT 1, -2.5, NULL, X'00ff', 'it''s ' || char(10) || '\u00e4', count(*) FROM orders",
        "SELECT nope",
    ]
    python = file.query(ask)
    assert (1, -2.5, None, b"\x00\xff", "it's \n\u00e4", 2000) == python[0].rows[0]
    digests = [count.checksum for count in sqlite.recorded(file, sqlite.look(file))]
    monkeypatch.setattr(sqlite, "_PYTHON", "exit 97")
    tool = sqlite.SqliteFile(world.connection, str(world.path))
    again = tool.query(ask)
    assert python[0].rows == again[0].rows
    assert python[0].columns == again[0].columns
    assert "nope" in python[1].error
    assert "nope" in again[1].error
    assert digests == [count.checksum for count in sqlite.recorded(tool, sqlite.look(tool))]
    assert "more than" in file.query(["SELECT 1 FROM orders, customers LIMIT 10001"])[0].error


def test_services_are_stopped_around_the_exchange_and_run_again(world: World, tmp_path: Path) -> None:
    point = world.back_up()
    trace = tmp_path / "trace"
    trace.write_text("")
    say = f"echo %s >>{trace}"
    world.services["shop"] = ServiceAsset(
        kind="service", host="web", start=("sh", "-c", say % "start"), stop=("sh", "-c", say % "stop"),
        status=("sh", "-c", f'[ "$(tail -n 1 {trace})" != stop ]'),
    )  # fmt: skip
    world.sql("DROP TABLE orders")
    world.restore(point)
    assert ["stop", "start"] == trace.read_text().split()


def test_backups_that_are_none_are_refused_by_name_and_nothing_is_touched(world: World) -> None:
    """Issue 4, must show 5: empty, shrunk, truncated, flipped, another host's, another path's."""
    point = world.back_up()
    whole = stored(world.store, point.key)
    manifest = world.store.manifest(point)
    before = world.files()

    publish = partial(publish_altered, world.store, manifest)
    few = tuple(c.model_copy(update={"rows": c.rows // 20}) for c in manifest.tables)
    none = tuple(c.model_copy(update={"rows": 0}) for c in manifest.tables)
    one = bytearray(whole)
    one[whole.rindex(b"name1999")] ^= 1
    for bad, error, says in (
        (publish(whole, tables=few), Refused, "holds 200 rows"),
        (publish(whole, tables=none), Refused, "holds no row"),
        (publish(whole, machine_id="f" * 32), Refused, "taken from machine"),
        (publish(whole, root="/elsewhere"), Refused, "not a copy of"),
        (publish(whole[: len(whole) // 2]), Damaged, "malformed|disk image"),
        (publish(bytes(one)), Damaged, "customers has its 2000 rows, and another checksum"),
    ):
        with pytest.raises(error, match=says):
            world.restore(bad)
    overwrite(world.store, point.key, bytes(one))
    with pytest.raises(Damaged):
        world.restore(point)
    assert before == world.files()


def test_backup_of_a_damaged_or_emptied_database_is_not_made(world: World) -> None:
    """R-PREV-1, G11."""
    world.back_up()
    time.sleep(1.0)  # recovery points are named by the second
    for table in ("orders", "customers", '"odd ""name"'):
        world.sql(f"DELETE FROM {table}")
    with pytest.raises(Damaged, match="no table has a row any more"):
        world.back_up()
    world.write(0, b"no database here")
    with pytest.raises(Damaged, match="not a database"):
        world.back_up()
    world.path.unlink()
    with pytest.raises(Damaged, match="absent"):
        world.back_up()
    assert 1 == len(world.store.points("db"))
    assert not list(Path(world.connection.host.state_dir).glob("sqlite-*"))


def test_expectations_are_asked_on_the_host_and_failing_rows_only_counted(
    world: World, restore_server: Server, tmp_path: Path
) -> None:
    """R-RESP-6: no copy of the file is made; what great-expectations has no word for is asked as well."""
    point = world.back_up()
    manifest = world.store.manifest(point)

    def ask(*checks: TableChecks) -> list[CheckResult]:
        secrets = Secrets(tmp_path)
        return suites.ask(world.asset, restore_server.connect, secrets, *checks, manifest=manifest)

    refers = [{"column": "customer", "table": "customers"}]
    whole = suites.table(
        expectations=suites.SUITE, refers=refers, recorded=["rows", "checksum"],
        fresh=[{"column": "note", "within": "1h"}],
    )  # fmt: skip
    world.sql("UPDATE orders SET note = 'it is ' || id")
    (result,) = ask(whole)
    assert {
        "orders: newest note": "no moment at all",
        "orders: recorded checksum": "another content",
    } == suites.said(result)
    world.sql("UPDATE orders SET note = 'canary' WHERE id <= 5")
    world.sql("UPDATE orders SET note = datetime('now', '-2 hours') WHERE id = 6")
    world.sql("UPDATE orders SET customer = 77777 WHERE id <= 3")
    world.sql("DELETE FROM orders WHERE id > 1990")
    world.sql("CREATE TABLE hollow (id INT)")
    result, empty, missing, wrong = ask(
        whole, suites.table("hollow", suites.SUITE), suites.table("gone", suites.SUITE),
        suites.table("customers", [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nope"}}]),
    )  # fmt: skip
    answers = suites.said(result)
    assert answers["orders: expect_column_values_to_match_regex"] == "6 of 1990 rows do not"
    assert answers["orders: customer → customers.id"] == "3 rows do not"
    assert answers["orders: recorded rows"] == "1990 rows"
    assert "canary" not in result.model_dump_json()
    assert ["has no rows"] == list(suites.said(empty).values())
    assert ["does not exist"] == list(suites.said(missing).values())
    assert Verdict.ERROR is wrong.verdict
    assert "nope" in wrong.not_checked[0]
