"""A MariaDB server's whole data directory, backed up by mariabackup, comes back; what was there can come back, too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest

from blocks.hosts.connection import SSHConnection
from checks import data_directory, database, mariadb_tables
from model.assets import MariadbAsset
from model.command import Command, Result
from model.errors import Damaged
from model.finding import Code, Verdict
from tasks.exchange import Layout
from tasks.sandbox import sandboxed
from tests.support.mariabackup import ASSET, DATA, NUMBER, World
from tests.support.stores import overwrite, stored
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab


@pytest.fixture
def world(mariabackup_world: World) -> World:
    return mariabackup_world


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
            world.incident = f"inc-20261125-000000-{next(NUMBER):04}"
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
