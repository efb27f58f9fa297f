"""The database check, on a real PostgreSQL whose pages are really overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.secrets import Secrets
from checks import database, postgres
from model.assets import PostgresAsset
from model.command import Command, Result
from model.errors import BadInput, Transient
from model.finding import CheckResult, Code, Verdict
from model.manifest import Manifest, TableCount
from tests.checks.local import LocalConnection
from tests.support.postgres import PASSWORD, SUPERUSER, Postgres, postgres_server

ODD = "odd \"name; \\q ' ü"
TABLES = ("public.customers", f"public.{ODD}", "public.orders")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def shop(server: Postgres) -> Iterator[Postgres]:
    """A database with a small table, one with a name that needs quoting, and one of many pages."""
    server.run("CREATE DATABASE shop")
    server.run("CREATE TABLE customers AS SELECT 1 AS id", "shop")
    server.run(f"CREATE TABLE {postgres.identifier(ODD)} AS SELECT 1 AS id", "shop")
    server.run(
        "CREATE TABLE orders AS SELECT n AS id, repeat('x', 200) AS note FROM generate_series(1, 500) n",
        "shop",
    )
    yield server
    server.run("DROP DATABASE IF EXISTS shop WITH (FORCE)")


def asset(server: Postgres, **more: object) -> PostgresAsset:
    return PostgresAsset.model_validate(
        {"kind": "postgresql", "host": "web-1", "database": "shop", "port": server.port, "user": SUPERUSER,
         "bin_dir": str(server.programs), "password": "file:password", "backup": "tree"} | more
    )  # fmt: skip


def check(
    here: LocalConnection, server: Postgres, manifest: Manifest | None = None, **more: object
) -> CheckResult:
    folder = Path(here.host.state_dir)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o600)
    wanted = asset(server, **more)
    return database.judge("database", wanted, database.collect(here, wanted, Secrets(folder)), manifest)


def manifest(**rows: int) -> Manifest:
    return Manifest(
        asset="database", point="20250101T000000Z", format="pg_dump-custom", host="web-1", machine_id="0" * 32,
        taken_at=datetime(2025, 1, 1, tzinfo=UTC), object_key="k", object_sha256="0" * 64, object_bytes=1,
        tables=tuple(TableCount(table=f"public.{name}", rows=count) for name, count in rows.items()),
    )  # fmt: skip


def overwrite_page(server: Postgres, table: str, at: int = 4096) -> None:
    """512 bytes of garbage in the first page, on disk, while the server is stopped."""
    path = server.data / str(server.run(f"SELECT pg_relation_filepath('{table}')", "shop")[0][0])
    server.run("CHECKPOINT")
    server.control("stop")
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes(range(256)) * 2)
    server.control("start")


def found(result: CheckResult) -> list[tuple[Code, str]]:
    return [(finding.code, finding.subject) for finding in result.findings]


def test_healthy_database_passes_and_no_secret_is_in_argv_or_left_behind(
    here: LocalConnection, shop: Postgres
) -> None:
    result = check(here, shop, manifest(orders=500, customers=1))
    assert (Verdict.PASSED, 3) == (result.verdict, result.examined)
    assert not any("canary" in command.wire() for command in here.ran)
    assert ["password"] == [path.name for path in Path(here.host.state_dir).iterdir()]


@pytest.mark.parametrize("system", [False, True], ids=["same-psql", "system-psql"])
def test_overwritten_page_is_found_and_the_tables_beside_it_are_read(
    here: LocalConnection, shop: Postgres, system: bool
) -> None:
    """By SQLSTATE: the server's messages may be in any language, and psql may be older than the server."""
    if system and shutil.which("psql") is None:
        pytest.skip("this machine has no psql of its own")
    overwrite_page(shop, "orders")
    options = {"bin_dir": ""} if system else {}
    result = check(here, shop, manifest(orders=500, customers=1), **options)
    assert [(Code.DATABASE_CHECKSUM_FAILED, "public.orders")] == found(result)
    assert "XX001" in result.findings[0].actual
    assert "invalid page" in result.findings[0].actual


def test_table_that_may_not_be_read_is_found(here: LocalConnection, shop: Postgres) -> None:
    path = shop.data / str(shop.run("SELECT pg_relation_filepath('customers')", "shop")[0][0])
    shop.run("CHECKPOINT")
    shop.control("stop")
    path.rename(path.with_suffix(".away"))
    shop.control("start")
    assert [(Code.DATABASE_TABLE_UNREADABLE, "public.customers")] == found(check(here, shop))


def test_dropped_table_is_found_by_the_manifest(here: LocalConnection, shop: Postgres) -> None:
    shop.run("DROP TABLE orders", "shop")
    result = check(here, shop, manifest(orders=500, customers=1, never_had_rows=0))
    assert [(Code.DATABASE_TABLE_UNREADABLE, "public.orders")] == found(result)
    assert "500 rows in the backup" == result.findings[0].expected


def test_database_that_lost_every_row_is_found(here: LocalConnection, shop: Postgres) -> None:
    shop.run(f"TRUNCATE orders, customers, {postgres.identifier(ODD)}", "shop")
    assert [(Code.DATABASE_EMPTY, "shop")] == found(check(here, shop, manifest(orders=500)))


def test_database_without_tables_is_an_error_not_a_pass(here: LocalConnection, server: Postgres) -> None:
    assert Verdict.ERROR is check(here, server, database="postgres").verdict


def test_dropped_database_is_found_as_gone_and_not_as_unreachable(
    here: LocalConnection, server: Postgres
) -> None:
    assert [(Code.DATABASE_EMPTY, "shop")] == found(check(here, server))


def test_server_that_does_not_answer_is_found(here: LocalConnection, server: Postgres) -> None:
    assert [(Code.DATABASE_UNREACHABLE, "shop")] == found(check(here, server, port=1))


class Breaking(LocalConnection):
    """A connection whose psql breaks off when it has read a number of tables, once."""

    def __init__(self, state_dir: Path, tables: int) -> None:
        super().__init__(state_dir=state_dir)
        self.tables = tables

    def run(self, command: Command, **options: object) -> Result:
        reading = command.stdin is not None and b"COPY" in command.stdin and self.tables >= 0
        if reading and command.stdin is not None:
            lines = command.stdin.splitlines(keepends=True)[: 2 + 2 * self.tables]
            broken = Command(
                command.argv,
                stdin=b"".join(lines) + b"\\! kill -9 $PPID\n",
                env=command.env,
                timeout=command.timeout,
            )
            self.tables = -1
            return super().run(broken)
        return super().run(command)


def test_table_that_takes_the_session_down_is_found_and_the_rest_is_read(
    tmp_path: Path, shop: Postgres
) -> None:
    result = check(Breaking(tmp_path, 1), shop)
    assert [(Code.DATABASE_TABLE_UNREADABLE, TABLES[1])] == found(result)


def test_lost_connection_is_no_finding(tmp_path: Path, shop: Postgres) -> None:
    class Lost(LocalConnection):
        def run(self, command: Command, **_: object) -> Result:
            return Result(command.shown(), None)

    with pytest.raises(Transient):
        check(Lost(state_dir=tmp_path), shop)


@pytest.mark.parametrize(("name", "quoted"), [("a", '"a"'), ('a"b', '"a""b"'), ("A b;--", '"A b;--"')])
def test_identifier_is_quoted(name: str, quoted: str) -> None:
    assert quoted == postgres.identifier(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_identifier_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        postgres.identifier(name)
