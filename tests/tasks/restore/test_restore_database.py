"""A damaged database comes back from a dump we made, counted before the swap; the damaged one can come back too."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.assets import PostgresAsset
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError
from model.manifest import Manifest, RecoveryPoint, TableCount
from model.outcome import Stage
from model.proposal import RestoreDatabase, Rung
from tasks import restore_database
from tasks.backup_database import back_up_database
from tasks.database_swap import Names
from tasks.performed import Performed
from tests.support.postgres import PASSWORD, SUPERUSER, Postgres, postgres_server
from tests.support.stores import make_directory_store, make_s3_store, overwrite, stored

_NUMBER = itertools.count(1)
PREFIX = "inc-20261101-000000-0000-a01"
NAMES = Names.of("shop", f"{PREFIX}-1", "a01")
SCHEMA = """
CREATE ROLE clerk;
CREATE DATABASE shop OWNER clerk;
ALTER DATABASE shop SET search_path = '$user', public;
ALTER DATABASE shop SET work_mem = '7MB';
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO clerk;
"""
TABLES = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
ALTER TABLE orders OWNER TO clerk;
INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
CREATE SCHEMA "odd ""name";
CREATE TABLE "odd ""name"."line
break" (x int);
INSERT INTO "odd ""name"."line
break" VALUES (1), (2);
CREATE TABLE empty (x int);
CREATE MATERIALIZED VIEW latest AS SELECT max(id) FROM orders;
"""


def quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres(cluster: Postgres) -> Iterator[Postgres]:
    """A server with the database `shop` as it was made, and nothing else of ours."""
    for statement in SCHEMA.strip().splitlines():
        cluster.run(statement)
    cluster.run(TABLES, "shop")
    yield cluster
    for name in databases(cluster) - {"postgres"}:
        cluster.run(f'DROP DATABASE "{name}" WITH (FORCE)')
    cluster.run("DROP ROLE IF EXISTS clerk")


def databases(postgres: Postgres) -> set[str]:
    return {str(row[0]) for row in postgres.run("SELECT datname FROM pg_database WHERE NOT datistemplate")}


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return Secrets(tmp_path)


@pytest.fixture
def asset(postgres: Postgres) -> PostgresAsset:
    return PostgresAsset(
        kind="postgresql", host="web", database="shop", server="127.0.0.1", port=postgres.port, user=SUPERUSER,
        bin_dir=str(postgres.programs), password="file:password", backup="offsite",
    )  # fmt: skip


@pytest.fixture
def local(signing: SigningKey, tmp_path: Path) -> BackupStore:
    return make_directory_store(signing, tmp_path)


def back_up(host: SSHConnection, asset: PostgresAsset, store: BackupStore, secrets: Secrets) -> RecoveryPoint:
    return back_up_database(host, "db", asset, "web", store, secrets, quiet)


def action_for(point: RecoveryPoint) -> RestoreDatabase:
    return RestoreDatabase(
        id="a01", host="web", asset="db", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u",
        point=point, database="shop",
    )  # fmt: skip


def restore(
    host: SSHConnection, asset: PostgresAsset, store: BackupStore, secrets: Secrets, point: RecoveryPoint,
    prefix: str = "",
) -> Performed:  # fmt: skip
    return restore_database.perform(
        host, asset, secrets, action_for(point), store, job_prefix=prefix or f"{PREFIX}-{next(_NUMBER)}", token=1,
        progress=quiet,
    )  # fmt: skip


def undo(host: SSHConnection, asset: PostgresAsset, secrets: Secrets, point: RecoveryPoint) -> Performed:
    return restore_database.undo(
        host, asset, secrets, action_for(point), token=1, progress=quiet,
        job_prefix=f"inc-20261101-000000-0000-undo-a01-{next(_NUMBER)}",
    )  # fmt: skip


def content(postgres: Postgres, database: str = "shop") -> list[tuple[object, ...]]:
    return postgres.run("SELECT count(*), sum(hashtext(note)) FROM orders", database)


def test_database_comes_back_with_rows_owner_rights_and_settings(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, store: BackupStore, secrets: Secrets
) -> None:
    good = content(postgres)
    point = back_up(host, asset, store, secrets)
    assert (
        ("odd \"name.line\nbreak", 2), ("public.empty", 0), ("public.orders", 5000),
    ) == tuple((count.table, count.rows) for count in store.manifest(point).tables)  # fmt: skip
    assert store.manifest(point).version.startswith("18")
    postgres.run("DELETE FROM orders WHERE id % 2 = 0; INSERT INTO orders VALUES (99999, 'new')", "shop")
    damaged = content(postgres)
    user = postgres.connect("shop")  # somebody is still connected
    performed = restore(host, asset, store, secrets, point)
    user.close()
    assert performed.bytes == point.bytes
    assert "5002 rows" in performed.sentence
    assert good == content(postgres)
    assert damaged == content(postgres, NAMES.damaged)
    facts = (
        "SELECT pg_get_userbyid(datdba), a.* FROM pg_database, aclexplode(datacl) a WHERE datname = '{}' "
        "ORDER BY a.grantee, a.privilege_type"
    )
    assert postgres.run(facts.format(NAMES.damaged)) == postgres.run(facts.format("shop"))
    assert [("7MB",)] == postgres.run("SHOW work_mem", "shop")
    assert postgres.run("SHOW search_path", NAMES.damaged) == postgres.run("SHOW search_path", "shop")
    assert [("clerk",)] == postgres.run("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'", "shop")
    assert not list(Path(host.host.state_dir).glob("pgpass*"))
    assert not list((Path(host.host.state_dir) / "staging").iterdir())


def test_undo_brings_the_damaged_one_back_and_keeps_the_restored(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    good = content(postgres)
    point = back_up(host, asset, local, secrets)
    postgres.run("DELETE FROM orders WHERE id > 10", "shop")
    before = content(postgres)
    assert "not replaced" in undo(host, asset, secrets, point).sentence
    restore(host, asset, local, secrets, point)
    assert "again what it was" in undo(host, asset, secrets, point).sentence
    assert before == content(postgres)
    assert good == content(postgres, NAMES.undone)
    assert "not replaced" in undo(host, asset, secrets, point).sentence
    assert before == content(postgres)
    assert {"postgres", "shop", NAMES.undone} == databases(postgres)


def test_second_run_changes_nothing(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    """G2: by the same name or by another attempt."""
    point = back_up(host, asset, local, secrets)
    for prefix in (f"{PREFIX}-701", f"{PREFIX}-701", f"{PREFIX}-702"):
        restore(host, asset, local, secrets, point, prefix)
        postgres.run("INSERT INTO orders VALUES (-1, 'after') ON CONFLICT DO NOTHING", "shop")
    assert [(5001,)] == postgres.run("SELECT count(*) FROM orders", "shop")
    assert {"postgres", "shop", NAMES.damaged} == databases(postgres)
    restore_database.forget(host, asset, secrets, action_for(point), job_prefix=f"{PREFIX}-703", token=1)
    assert {"postgres", "shop"} == databases(postgres)


def test_attempt_that_died_in_the_middle_is_finished_by_the_next(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    point = back_up(host, asset, local, secrets)
    good = content(postgres)
    postgres.run(f"CREATE DATABASE {NAMES.fresh}")  # an attempt that died while it loaded
    restore(host, asset, local, secrets, point)
    assert good == content(postgres)
    undo(host, asset, secrets, point)
    postgres.run(f"DROP DATABASE {NAMES.undone}")
    postgres.run(f"CREATE DATABASE {NAMES.fresh} TEMPLATE shop")
    postgres.run(
        f"ALTER DATABASE shop RENAME TO {NAMES.damaged}"
    )  # half of a swap, as it cannot happen by us
    restore(host, asset, local, secrets, point)
    assert good == content(postgres)
    assert {"postgres", "shop", NAMES.damaged} == databases(postgres)


def test_dropped_database_comes_back_and_its_undo_is_its_absence(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    good = content(postgres)
    point = back_up(host, asset, local, secrets)
    postgres.run("DROP DATABASE shop")
    restore(host, asset, local, secrets, point)
    assert good == content(postgres)
    undo(host, asset, secrets, point)
    assert {"postgres", NAMES.undone} == databases(postgres)


@pytest.mark.parametrize("kind", ["directory", "s3"])
@pytest.mark.parametrize("what", ["flipped", "truncated", "deleted", "empty", "manifest"])
def test_damaged_dump_is_found_before_the_swap(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, secrets: Secrets, signing: SigningKey,
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, what: str,
) -> None:  # fmt: skip
    store = (
        make_directory_store(signing, tmp_path)
        if kind == "directory"
        else make_s3_store(request.getfixturevalue("s3_endpoint"), signing, tmp_path)
    )
    point = back_up(host, asset, store, secrets)
    postgres.run("DELETE FROM orders WHERE id = 1", "shop")
    before = content(postgres)
    good = stored(store, point.key)
    offsets = range(0, len(good), len(good) // 5) if what == "flipped" else [0]
    for offset in offsets:
        bad = bytearray(good)
        bad[offset] ^= 1
        changes = {
            "flipped": bytes(bad),
            "truncated": good[:-100],
            "deleted": None,
            "empty": b"",
            "manifest": good,
        }
        overwrite(store, point.key, changes[what])
        if what == "manifest":
            overwrite(store, "db/" + point.id + "/manifest.json", b"{}")
        with pytest.raises(Damaged, match=r"db/.*/(dump|manifest\.json)"):
            restore(host, asset, store, secrets, point)
    assert before == content(postgres)
    assert {"postgres", "shop"} == databases(postgres)


def republished(store: BackupStore, point: RecoveryPoint, **changes: object) -> RecoveryPoint:
    """The same dump under a manifest that says something else, genuinely signed."""
    manifest: Manifest = store.manifest(point).model_copy(
        update={"point": "20200101T000000Z", "object_key": "db/20200101T000000Z/dump", **changes}
    )
    store.put(manifest.object_key, store.read(point.key))
    return store.publish(manifest)


def test_rows_that_are_not_the_manifests_are_found_before_the_swap(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    point = back_up(host, asset, local, secrets)
    tables = tuple(
        count.model_copy(update={"rows": 4999}) if count.table == "public.orders" else count
        for count in local.manifest(point).tables
    )
    before = content(postgres)
    for wrong, error, said in (
        (tables, Damaged, r"public\.orders"),
        ((*local.manifest(point).tables, TableCount(table="public.more", rows=1)), Damaged, r"public\.more"),
        (tuple(c for c in local.manifest(point).tables if "odd" not in c.table), Damaged, "odd"),
        ((), Refused, "holds no row"),
    ):
        bad = republished(local, point, tables=wrong)
        with pytest.raises(error, match=said):
            restore(host, asset, local, secrets, bad)
        (Path(str(local.root)) / "db/20200101T000000Z/manifest.json").unlink()  # type: ignore[attr-defined] # a directory
        assert before == content(postgres)
        assert {"postgres", "shop"} == databases(postgres)


def test_dump_of_another_host_is_refused(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    point = republished(local, back_up(host, asset, local, secrets), machine_id="f" * 32)
    with pytest.raises(Refused, match="machine ffff"):
        restore(host, asset, local, secrets, point)
    assert {"postgres", "shop"} == databases(postgres)


def test_missing_role_is_named(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    point = back_up(host, asset, local, secrets)
    postgres.run("REASSIGN OWNED BY clerk TO CURRENT_USER; DROP OWNED BY clerk", "shop")
    postgres.run("ALTER DATABASE shop OWNER TO CURRENT_USER")
    postgres.run("DROP OWNED BY clerk")
    postgres.run("DROP ROLE clerk")
    with pytest.raises(PreconditionFailed, match="role clerk"):
        restore(host, asset, local, secrets, point)
    assert {"postgres", "shop"} == databases(postgres)


def test_damaged_database_gives_no_backup(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    path = str(postgres.run("SELECT pg_relation_filepath('orders')", "shop")[0][0])
    postgres.control("stop")
    with (postgres.data / path).open("r+b") as file:
        file.seek(3 * 8192 + 100)
        file.write(os.urandom(64))
    postgres.control("start")
    with pytest.raises(Damaged, match=r"cannot be read.*invalid page") as caught:
        back_up(host, asset, local, secrets)
    assert PASSWORD not in str(caught.value)
    assert [] == local.points("db")


def test_database_that_lost_everything_gives_no_backup(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    """G11: an empty backup must not become the newest recovery point."""
    point = back_up(host, asset, local, secrets)
    time.sleep(1.1)  # the id of a recovery point is its second
    postgres.run('TRUNCATE orders, "odd ""name"."line\nbreak"', "shop")
    with pytest.raises(Damaged, match="5002"):
        back_up(host, asset, local, secrets)
    postgres.run('DROP TABLE orders CASCADE; DROP TABLE empty; DROP SCHEMA "odd ""name" CASCADE', "shop")
    with pytest.raises(PreconditionFailed, match="no tables"):
        back_up(host, asset, local, secrets)
    assert [point] == local.points("db")


def test_wrong_password_and_stopped_server_are_preconditions_without_the_secret(
    host: SSHConnection, asset: PostgresAsset, local: BackupStore, secrets: Secrets, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("canary-wrong")
    for wrong in (asset, asset.model_copy(update={"port": 9})):
        with pytest.raises(ReinstateError) as caught:
            back_up(host, wrong, local, secrets)
        assert isinstance(caught.value, PreconditionFailed)
        assert "canary" not in str(caught.value)


def test_password_is_never_in_argv_nor_kept(
    host: SSHConnection, postgres: Postgres, asset: PostgresAsset, local: BackupStore, secrets: Secrets
) -> None:
    """G9."""
    assert postgres.port == asset.port
    restore(host, asset, local, secrets, back_up(host, asset, local, secrets))
    for file in Path(host.host.state_dir).rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes()


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((18, 7), True), ((18, 6), False), ((17, 12), True), ((17, 11), False), ((16, 16), True), ((16, 15), False),
        ((15, 20), True), ((15, 19), False), ((14, 25), True), ((14, 24), False), ((13, 99), False), ((19, 0), True),
    ],
)  # fmt: skip
def test_client_below_the_safe_version_reads_only_our_dumps(version: tuple[int, int], safe: bool) -> None:
    assert safe == restore_database.client_is_safe(version, ours=False)
    assert restore_database.client_is_safe(version, ours=True)
