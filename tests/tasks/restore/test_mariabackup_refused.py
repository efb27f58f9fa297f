"""What mariabackup gives and is no backup, and backups that are none any more: refused by name, nothing touched."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial

import pytest

from model.errors import Damaged, PreconditionFailed, Refused, Unsupported
from model.manifest import RecoveryPoint
from tasks.mariabackup_tool import place_for
from tasks.mbstream import StreamReader
from tests.support.mariabackup import ASSET, DATA, NUMBER, World
from tests.support.stores import overwrite, publish_altered, stored

pytestmark = pytest.mark.lab


@pytest.fixture
def world(mariabackup_world: World) -> World:
    return mariabackup_world


def chunk(path: bytes, data: bytes, kind: bytes = b"P", offset: int = 0, flags: int = 0) -> bytes:
    head = struct.pack("<8sBBI", b"XBSTCK01", flags, kind[0], len(path)) + path
    return head + (struct.pack("<QQI", len(data), offset, zlib.crc32(data)) if kind == b"P" else b"") + data


def a_file(path: bytes, data: bytes = b"x") -> bytes:
    return chunk(path, data) + chunk(path, b"", b"E")


def renamed(path: bytes, new: bytes) -> bytes:
    return chunk(path, b"", b"R") + struct.pack("<I", len(new)) + new


HOSTILE = {
    "above": (a_file(b"../escaped"), "no file of a data directory"),
    "absolute": (a_file(b"/root/pwned"), "no file of a data directory"),
    "inside and out": (a_file(b"shop/../../escaped"), "no file of a data directory"),
    "newline": (a_file(b"shop/a\nb"), "no file of a data directory"),
    "ours": (a_file(b"reinstate-was-absent"), "no file of a data directory"),
    "other place": (a_file(b"shop/far.isl"), "no file of a data directory"),
    "twice": (a_file(b"ibdata1"), "stands in it twice"),
    "unknown": (chunk(b"ibdata1", b"", b"X"), "which is not known"),
    "renamed out": (a_file(b"x") + renamed(b"x", b"../escaped"), "no file of a data directory"),
    "removed outside": (chunk(b"../../root/.profile", b"", b"D"), "no file of a data directory"),
    "removed": (chunk(b"ibdata1", b"", b"D"), "it holds no ibdata1"),
    "renamed while open": (chunk(b"x", b"x") + renamed(b"x", b"y"), "while it is written"),
    "written anew": (chunk(b"backup-my.cnf", b"x", flags=2), "backup-my.cnf is written anew"),
    "open": (chunk(b"shop/late.ibd", b"x"), "ends in the middle of shop/late.ibd"),
    "hole": (chunk(b"shop/hole.ibd", b"x", offset=1 << 40), "not the next one"),
    "below a file": (a_file(b"ibdata1/below"), "did not unpack ibdata1/below whole"),
    "torn": (a_file(b"shop/torn.ibd", b"\1" * 16384 * 4), "shop/torn.ibd: innochecksum"),
}


def test_backups_that_are_none_are_refused_by_name_and_nothing_is_touched(world: World) -> None:
    """Issue 4, must show 5: empty, shrunk, cut, flipped, another host's, hostile."""
    point = world.back_up()
    whole = stored(world.store, point.key)
    manifest = world.store.manifest(point)
    before = world.sums()

    publish = partial(publish_altered, world.store, manifest)
    few = tuple(c.model_copy(update={"rows": c.rows // 20, "checksum": ""}) for c in manifest.tables)
    none = tuple(c.model_copy(update={"rows": 0, "checksum": ""}) for c in manifest.tables)
    other = tuple(c.model_copy(update={"rows": c.rows + 1}) for c in manifest.tables)
    options = whole.replace(b"innodb_page_size=16384", b"init_file=/root/sql.sql"[:22], 1)
    cases: list[tuple[RecoveryPoint, type[Exception], str]] = [
        (publish(whole, tables=few), Refused, r"holds 172 rows, the 1 before it 3442 \(median\)"),
        (publish(whole, tables=none), Refused, "holds no row"),
        (publish(whole, machine_id="f" * 32), Refused, "taken from machine"),
        (publish(whole, format="mariadb-dump"), Refused, "no backup by mariabackup"),
        (publish(whole, version="11.4.2-MariaDB"), Refused, "10.11, and the data is of MariaDB 11.4.2"),
        (publish(whole, tables=other), Damaged, "audit has 40 rows in it, the manifest says 41"),
        (publish(b""), Damaged, "it holds no"),
        (publish(whole[: len(whole) // 2]), Damaged, "ends in the middle"),
        (publish(whole[: whole.rindex(b"XBSTCK01")]), Damaged, "ends in the middle of xtrabackup_info"),
        (publish(options), Damaged, "backup-my.cnf is altered"),
    ]
    cases += [(publish(whole + more), Damaged, says) for more, says in HOSTILE.values()]
    for bad, error, says in cases:
        with pytest.raises(error, match=says):
            world.restore(bad)
        world.incident = f"inc-20261125-000000-{next(NUMBER):04}"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    overwrite(world.store, point.key, bytes(flipped))
    with pytest.raises(Damaged, match=r"local:.*/dump"):
        world.restore(point)
    assert before == world.sums()
    assert {"mysql"} == world.beside()
    assert world.active("till")
    assert "" == world.lab.must(["find", "/root", "/var/lib", "-name", "pwned", "-o", "-name", "escaped"])


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_stream_is_listed_as_mbstream_unpacks_it(world: World, step: int) -> None:
    """Tables that are dropped, renamed or written anew meanwhile; cut anywhere on the way."""
    options = b"[mysqld]\ninnodb_page_size=16384\n"
    stream = b"".join(
        (
            a_file(b"ibdata1", b"old" * 9), a_file(b"xtrabackup_info", b"x = y\n"), a_file(b"backup-my.cnf", options),
            a_file(b"xtrabackup_checkpoints", b"backup_type = full-backuped\n"),
            a_file(b"a", b"gone"), chunk(b"a", b"", b"D"), chunk(b"never", b"", b"D"), renamed(b"never", b"nor"),
            a_file(b"b", b"12345"), renamed(b"b", b"c"), a_file(b"d", b"1"), a_file(b"e", b"22"), renamed(b"d", b"e"),
            chunk(b"f", b"hello"), chunk(b"f", struct.pack("<Q", 2), b"S"), chunk(b"f", b"LL", offset=2),
            chunk(b"f", b"", b"E"), chunk(b"ibdata1", b"new", flags=2), chunk(b"ibdata1", b"", b"E"),
        )
    )  # fmt: skip
    reader = StreamReader("here")
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
    folder = "/srv/unpacked"
    world.lab.must(["sh", "-c", f"rm -rf {folder} && mkdir {folder}"])
    world.lab.inside("/srv/stream").write_bytes(stream)
    world.lab.must(["sh", "-c", f"mbstream -x -C {folder} </srv/stream"])
    there = {path.name: path.stat().st_size for path in world.lab.inside(folder).iterdir()}
    assert there == reader.finish()
    assert {"ibdata1": 3, "c": 5, "e": 1, "f": 5} == {
        name: there[name] for name in ("ibdata1", "c", "e", "f")
    }


def stands_in(world: World, program: str, script: str) -> Callable[[], object]:
    """Another program in the place of one; returns what puts it back."""
    real = world.lab.inside(f"/usr/bin/{program}", follow=False)
    moved = real.rename(real.with_suffix(".real"))
    real.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    real.chmod(0o755)
    return lambda: moved.replace(real)


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("echo mariabackup based on MariaDB server 10.5.29-MariaDB >&2", Refused, r"10\.5 is below 10\.6"),
        ("echo mariabackup based on MariaDB server 11.4.9-MariaDB >&2", Refused, "is of series 11.4"),
        ("exit 1", PreconditionFailed, "mariabackup is not there, or does not run"),
        (
            'case "$*" in *--backup*) echo all well >&2 ;; *) exec mariadb-backup.real "$@" ;; esac', Damaged,
            "ended without the words `completed OK!`",
        ),
        (
            'case "$*" in *--backup*) echo completed OK! >&2 ;; *) exec mariadb-backup.real "$@" ;; esac', Damaged,
            "it holds no xtrabackup_info",
        ),
        (
            'case "$*" in *--backup*) mariadb-backup.real "$@" | head -c 9000000; echo completed OK! >&2 ;; '
            '*) exec mariadb-backup.real "$@" ;; esac', Damaged, "ends in the middle",
        ),
    ],
    ids=["old", "other series", "broken", "no last words", "empty", "short"],
)  # fmt: skip
def test_tool_that_is_not_to_be_believed_makes_no_recovery_point(
    world: World, script: str, error: type[Exception], says: str
) -> None:
    """R-PREV-1: neither status 0 nor its last words are enough."""
    back = stands_in(world, "mariadb-backup", script)
    try:
        with pytest.raises(error, match=says):
            world.back_up()
    finally:
        back()
    assert [] == world.store.points("db")


def test_backup_of_a_damaged_emptied_or_unknown_server_is_not_made(world: World) -> None:
    """R-PREV-1, G11; what lies elsewhere would be lost at the exchange."""
    point = world.back_up()
    world.asset = ASSET.model_copy(update={"data_directory": "/srv/mysql"})
    with pytest.raises(
        PreconditionFailed, match="data directory is /var/lib/mysql, the plan says /srv/mysql"
    ):
        world.back_up()
    world.asset = ASSET.model_copy(update={"user": "little", "password": None, "os_user": "root"})
    world.sql("CREATE OR REPLACE USER little@localhost; GRANT SELECT ON *.* TO little@localhost")
    with pytest.raises(PreconditionFailed, match="little may not back the server up"):
        world.back_up()
    world.asset = ASSET
    world.sql("SET foreign_key_checks = 0; USE shop; DELETE FROM orders; DELETE FROM customers; DELETE FROM audit; "
              "DELETE FROM old; DELETE FROM `odd ``na'me`")  # fmt: skip
    with pytest.raises(Damaged, match="no table has a row any more"):
        world.back_up()
    world.fresh()
    world.damage_page()
    with pytest.raises(Damaged, match="orders cannot be read to its end"):
        world.back_up()
    world.fresh()
    world.sql(
        "CREATE DATABASE other; USE other; CREATE TABLE t SELECT seq, SHA2(seq, 512) AS s FROM seq_1_to_3000"
    )
    world.stopped("dd", "if=/dev/urandom", f"of={DATA}/other/t.ibd", "bs=16384", "seek=9", "count=1", "conv=notrunc",
                  "status=none")  # fmt: skip
    with pytest.raises(Damaged, match=r"mariabackup did not finish.*other/t\.ibd"):
        world.back_up()
    world.sql("DROP DATABASE other")
    assert [point.id] == [one.id for one in world.store.points("db")]


def test_data_that_cannot_be_exchanged_is_refused_before_anything_moves(world: World) -> None:
    """Links to other disks, and no room: said by name, nothing laid."""
    point = world.back_up()
    link = world.lab.inside(DATA) / "far"
    link.symlink_to("/srv")
    with pytest.raises(Unsupported, match="tables of it lie in other places"):
        world.restore(point)
    link.unlink()
    manifest = world.store.manifest(point)
    with pytest.raises(PreconditionFailed, match=r"MiB beside the data directory, \d+ MiB are free"):
        place_for(world.connection, DATA, 1 << 50)
    assert {"mysql"} == world.beside()
    assert manifest.object_bytes < place_for(world.connection, DATA, manifest.object_bytes).free
