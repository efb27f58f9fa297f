"""A MariaDB server's whole data directory, backed up by mariabackup, comes back; what was there can come back, too."""

from __future__ import annotations

import hashlib
import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import data_directory, database, mariadb_tables
from model.assets import MariadbAsset, ServiceAsset
from model.command import Command, Result
from model.errors import Damaged, PreconditionFailed, Refused, Unsupported
from model.finding import CheckResult, Code, Verdict
from model.manifest import RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreCluster, Rung
from tasks import restore_mariabackup
from tasks.backup_mariabackup import back_up_mariabackup
from tasks.exchange import Layout
from tasks.mariabackup_tool import place_for
from tasks.mbstream import StreamReader
from tasks.performed import Performed
from tasks.sandbox import sandboxed
from tasks.staging import Progress
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.datahost import connect, data_host
from tests.support.stores import make_directory_store, overwrite, stored
from tests.tasks.localhost import quiet
from tests.tasks.restore.test_mariadb import PASSWORD, SCHEMA

pytestmark = pytest.mark.lab

_NUMBER = itertools.count(1)
DATA = "/var/lib/mysql"
SERVICES = {
    "mariadb": ServiceAsset(kind="service", host="data", unit="mariadb.service"),
    "till": ServiceAsset(kind="service", host="data", unit="till.service"),
}
ASSET = MariadbAsset(
    kind="mariadb", host="data", database="shop", server="127.0.0.1", user="clerk", password="file:password",
    backup="local", method="mariabackup", data_directory=DATA, service="mariadb", services=("till",),
)  # fmt: skip


class World:
    """The host, its server and everything that acts on them."""

    def __init__(self, lab: LabHost, connection: SSHConnection, signing: SigningKey, folder: Path) -> None:
        self.lab, self.connection, self.secrets = lab, connection, Secrets(folder)
        self.store = make_directory_store(signing, folder)
        self.asset = ASSET
        self.incident = f"inc-20261125-000000-{next(_NUMBER):04}"
        self.layout = Layout.of(DATA, f"{self.incident}/a01")

    def sql(self, text: str) -> str:
        return self.lab.must(["mariadb", "--no-defaults", "-N", "-r"], text=text)

    def fresh(self) -> None:
        """The database as it was made, and nothing of ours."""
        self.lab.must(["sh", "-c", f"rm -rf {DATA}.reinstate-* /tmp/reinstate-*"])
        self.lab.must(["systemctl", "start", "mariadb", "till"])
        self.sql("DROP DATABASE IF EXISTS shop;" + SCHEMA)

    def stopped(self, *words: str) -> None:
        """Damage files while the server is down."""
        self.lab.must(["systemctl", "stop", "mariadb"])
        self.lab.must(list(words))
        self.lab.must(["systemctl", "start", "mariadb"])

    def damage_page(self, number: int = 6) -> None:
        """Nonsense over a page of `orders`."""
        self.stopped(
            "dd", "if=/dev/urandom", f"of={DATA}/shop/orders.ibd", "bs=16384", f"seek={number}", "count=1",
            "conv=notrunc", "status=none",
        )  # fmt: skip

    def back_up(self) -> RecoveryPoint:
        return back_up_mariabackup(self.connection, "db", self.asset, "data", self.store, self.secrets, quiet)

    def check(self) -> CheckResult:
        return database.judge(
            "db", self.asset, mariadb_tables.collect(self.connection, self.asset, self.secrets), None
        )

    def restore(self, point: RecoveryPoint, progress: Progress = quiet) -> Performed:
        return restore_mariabackup.perform(
            self.connection, self.asset, self.secrets, action_for(point), self.store, SERVICES,
            job_prefix=f"{self.incident}-a01-1", token=1, progress=progress,
        )  # fmt: skip

    def undo(self, point: RecoveryPoint) -> Performed:
        return restore_mariabackup.undo(
            self.connection, self.asset, self.secrets, action_for(point), SERVICES,
            job_prefix=f"{self.incident}-undo-a01-1", token=1, progress=quiet,
        )  # fmt: skip

    def sums(self) -> str:
        tables = ("customers", "orders", "audit", "old", "odd ``na'me")
        return self.sql("".join(f"CHECKSUM TABLE shop.`{t}`;" for t in tables))

    def beside(self) -> set[str]:
        """What lies beside the data directory."""
        folder = self.lab.inside(DATA).parent
        return {path.name for path in folder.iterdir() if path.name.startswith("mysql")}

    def content(self, folder: str) -> dict[str, str]:
        """Hash of every file below a folder."""
        root = self.lab.inside(folder)
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def active(self, unit: str) -> bool:
        return self.lab.shell(["systemctl", "is-active", unit]).stdout.strip() == "active"


def action_for(point: RecoveryPoint) -> RestoreCluster:
    return RestoreCluster(
        id="a01", host="data", asset="db", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u", point=point,
        database="shop", data_directory=DATA, replays=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(data_base: Base, lab_session: LabSession) -> Iterator[LabHost]:
    with data_host(data_base, lab_session, "mariabackup") as host:
        host.inside("/etc/systemd/system/till.service").write_text(
            "[Service]\nExecStart=/bin/sleep infinity\n", encoding="utf-8"
        )
        host.inside("/etc/mysql/mariadb.conf.d/99-lab.cnf").write_text(
            "[mysqld]\nlog_bin\n", encoding="utf-8"
        )
        host.must(["systemctl", "daemon-reload"])
        host.must(["systemctl", "start", "mariadb", "till"])
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
        made = World(lab, connection, signing, tmp_path)
        made.fresh()
        yield made


def test_data_directory_comes_back_whole_and_undo_is_bit_for_bit(world: World) -> None:
    """R-RESP-6, N1: damaged pages, everything as it was backed up; then what was there, unchanged."""
    good = world.sums()
    point = world.back_up()
    manifest = world.store.manifest(point)
    counts = {count.table: (count.rows, bool(count.checksum)) for count in manifest.tables}
    assert counts == {
        "customers": (300, True), "orders": (3000, True), "audit": (40, True), "old": (100, True),
        "odd `na'me": (2, True),
    }  # fmt: skip
    assert ("mariabackup", DATA) == (manifest.format, manifest.root)
    assert re.fullmatch(rf"lsn \d+ binlog {DATA}/mysqld-bin\.\d+ \d+", manifest.position)
    world.sql("INSERT INTO shop.customers (name) VALUES ('later')")
    world.damage_page()
    assert {(Code.DATABASE_CHECKSUM_FAILED, "orders")} == {
        (f.code, f.subject) for f in world.check().findings
    }
    performed = world.restore(point)
    assert "5 tables of shop with 3442 rows compared" in performed.sentence
    assert good == world.sums()
    assert Verdict.PASSED is world.check().verdict
    assert {"mysql", Path(world.layout.aside).name} <= world.beside()
    assert world.active("till")
    assert "mysql mysql 755" == world.lab.must(["stat", "-c", "%U %G %a", DATA]).strip()
    assert "" == world.lab.must(["find", DATA, "-name", "reinstate-*"])
    damaged = world.content(world.layout.aside)
    assert "was restored" in world.restore(point).sentence
    assert "again the data directory it was before" in world.undo(point).sentence
    assert {(Code.DATABASE_CHECKSUM_FAILED, "orders")} == {
        (f.code, f.subject) for f in world.check().findings
    }
    world.lab.must(["systemctl", "stop", "mariadb"])
    after = world.content(DATA)
    assert damaged["shop/orders.ibd"] == after["shop/orders.ibd"]
    assert damaged.keys() <= after.keys()
    assert world.lab.inside(world.layout.undone).is_dir()
    assert "" == world.lab.must(["find", "/var/lib/reinstate", "-name", "my-*.cnf"])


class Cut(Exception):
    """The orchestrator is killed here."""


class CutAfter:
    """A connection whose owner is killed right after a step was begun."""

    def __init__(self, real: SSHConnection, step: str, *, before: bool = False) -> None:
        self._real, self._step, self._before = real, step, before

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def job(self, name: str, command: Command, token: int, on_wait: object = None) -> Result:
        """As the connection does; then the end."""
        ours = name.endswith(self._step)
        if ours and self._before:
            raise Cut
        result = self._real.job(name, command, token)
        if ours:
            raise Cut
        return result


def test_restore_that_is_cut_everywhere_goes_on_and_its_undo_brings_every_byte_back(world: World) -> None:
    """G2, N1, N2: however often the orchestrator dies, each step is done once; the damaged directory is untouched."""
    good, point = world.sums(), world.back_up()
    world.damage_page()

    def progress(_done: int, _total: int) -> None:
        raise Cut

    with pytest.raises(Cut):
        world.restore(point, progress)
    real = world.connection
    damaged: dict[str, str] = {}
    for step in ("-lay", "-stop-1-0", "-swap", "-start-server-0", "-start-0-0"):
        world.connection = cast(SSHConnection, CutAfter(real, step))
        with pytest.raises(Cut):
            world.restore(point)
        if step == "-stop-1-0":
            damaged = world.content(DATA)
    world.connection = real
    assert "was restored" in world.restore(point).sentence
    assert good == world.sums()
    assert damaged == world.content(world.layout.aside)
    assert world.active("till")
    trace = world.lab.inside("/var/lib/reinstate/trace").read_text().splitlines()
    names = [name for name in (line.split()[2] for line in trace) if name.startswith(world.incident)]
    assert len(names) == len(set(names)), "no job was started twice"
    assert {"mysql", Path(world.layout.aside).name} == world.beside()
    world.connection = cast(SSHConnection, CutAfter(real, "-start-server-0", before=True))
    with pytest.raises(Cut):
        world.undo(point)
    assert damaged == world.content(DATA)
    world.connection = real
    assert "not replaced" in world.undo(point).sentence


def test_restore_that_is_cut_between_its_renames_is_finished_or_put_back(world: World) -> None:
    """N2: a host that was reset between the two renames has no data directory; both ways lead on from there."""
    point = world.back_up()
    world.damage_page()
    for finish in (True, False):
        world.connection, real = (
            cast(SSHConnection, CutAfter(world.connection, "-stop-1-0")),
            world.connection,
        )
        with pytest.raises(Cut):
            world.restore(point)
        world.connection = real
        damaged = world.content(DATA)
        world.lab.must(["mv", "-T", DATA, world.layout.aside])
        if finish:
            assert "was restored" in world.restore(point).sentence
            assert Verdict.PASSED is world.check().verdict
            world.lab.must(["rm", "-rf", world.layout.aside])
            world.damage_page()
            world.incident = f"inc-20261125-000000-{next(_NUMBER):04}"
            world.layout = Layout.of(DATA, f"{world.incident}/a01")
        else:
            assert "again the data directory it was before" in world.undo(point).sentence
            world.lab.must(["systemctl", "stop", "mariadb"])
            assert damaged["shop/orders.ibd"] == world.content(DATA)["shop/orders.ibd"]


@pytest.mark.parametrize("gone", [DATA, f"{DATA}/ibdata1", f"{DATA}/mysql"])
def test_destroyed_data_directory_is_seen_and_comes_back(world: World, gone: str) -> None:
    """R-RESP-2, R-RESP-6: the server is silent, and the reason is named; an undo leaves it as destroyed as it was."""
    good, point = world.sums(), world.back_up()
    world.lab.must(["systemctl", "stop", "mariadb"])
    world.lab.must(["rm", "-rf", gone])
    seen = {(f.code, f.subject, f.actual) for f in world.check().findings}
    name = gone.rpartition("/")[2]
    what = "the data directory is gone" if gone == DATA else f"{name} of the data directory is gone"
    assert (Code.DATABASE_TABLE_UNREADABLE, DATA, what) in seen
    assert Code.DATABASE_UNREACHABLE in {code for code, _, _ in seen}
    world.restore(point)
    assert good == world.sums()
    assert Verdict.PASSED is world.check().verdict
    assert "does not answer, as before the recovery" in world.undo(point).sentence
    assert not world.lab.inside(gone).exists()
    world.lab.must(["rm", "-rf", DATA])
    world.lab.must(["mv", world.layout.undone, DATA])


def test_pages_that_keep_the_server_from_starting_are_seen(world: World) -> None:
    """R-RESP-2: a silent server is no reason to restore, damaged pages below it are; the doublewrite buffer is none."""
    point = world.back_up()
    world.lab.must(["systemctl", "stop", "mariadb"])
    assert {Code.DATABASE_UNREACHABLE} == {finding.code for finding in world.check().findings}
    file = world.lab.inside(f"{DATA}/ibdata1")
    with file.open("r+b") as handle:
        handle.seek(6 * 16384)
        handle.write(b"\xde\xad\xbe\xef" * 4096)
    (torn,) = (f for f in world.check().findings if f.code is Code.DATABASE_CHECKSUM_FAILED)
    assert DATA == torn.subject
    assert "damaged pages in ibdata1: Fail: page::6 invalid" in torn.actual
    world.restore(point)
    assert Verdict.PASSED is world.check().verdict


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

    def publish(data: bytes, **changes: object) -> RecoveryPoint:
        later = manifest.taken_at + timedelta(seconds=next(_NUMBER))
        name = f"{later:%Y%m%dT%H%M%SZ}"
        key = f"db/{name}/dump"
        sha256, count = world.store.put(key, [data])
        update = {
            "object_key": key,
            "object_sha256": sha256,
            "object_bytes": count,
            "point": name,
            "taken_at": later,
        }
        return world.store.publish(manifest.model_copy(update={**update, **changes}))

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
        world.incident = f"inc-20261125-000000-{next(_NUMBER):04}"
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


def test_backup_is_proven_in_a_sandbox_that_leaves_nothing(world: World) -> None:
    """R-PREV-1: restored beside, checked, damage done on purpose seen; the live server is not touched."""
    point, before = world.back_up(), world.sums()
    args = (world.connection, "db", ASSET, world.store, point, world.secrets, world.lab.machine_id, quiet)
    with sandboxed(*args) as copy:
        assert 2 == len(world.beside())
        copy.require()
        assert isinstance(copy.asset, MariadbAsset)
        assert Verdict.PASSED is database.judge(
            "db", copy.asset, mariadb_tables.collect(world.connection, copy.asset, world.secrets), None
        ).verdict  # fmt: skip
        assert copy.spoil is not None
        copy.spoil()
        with pytest.raises(Damaged, match="39 rows in it, the manifest says 40"):
            copy.require()
    assert before == world.sums()
    assert {"mysql"} == world.beside()
    assert "" == world.lab.must(["find", "/tmp", "-name", "reinstate-*"])
    data = bytearray(stored(world.store, point.key))
    data[len(data) // 2] ^= 4
    overwrite(world.store, point.key, bytes(data))
    with pytest.raises(Damaged), sandboxed(*args):
        pass
    assert {"mysql"} == world.beside()


def test_binary_logs_that_are_whole_are_named_for_replay_by_hand(world: World) -> None:
    """What the restore gives up is there to be had, as long as no log since the backup is missing or altered."""
    position = world.store.manifest(world.back_up()).position
    assert "binlog" in position
    first = position.split()[3]
    world.sql("INSERT INTO shop.customers (name) VALUES ('later'); FLUSH BINARY LOGS")
    world.sql("INSERT INTO shop.customers (name) VALUES ('last'); FLUSH BINARY LOGS")
    said = data_directory.replayable(world.connection, position)
    assert f"from {first}, position {position.split()[4]}, to {DATA}/mysqld-bin." in said
    file = world.lab.inside(first)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"later", b"l4ter", 1))
    assert data != file.read_bytes()
    assert "" == data_directory.replayable(world.connection, position)
    file.write_bytes(data)
    file.rename(file.with_suffix(".kept"))
    assert "" == data_directory.replayable(world.connection, position)
    file.with_suffix(".kept").rename(file)
    assert "" == data_directory.replayable(world.connection, "lsn 7")
