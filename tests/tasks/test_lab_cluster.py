"""A cluster from pgBackRest on a real host: exactly once, refused by name, put back bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from blocks.backups import open_backup_stores
from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import cluster_supplies
from model.assets import PostgresAsset, ServiceAsset
from model.backup_sources import PgBackRestSource
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError, Unsupported
from model.manifest import RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreCluster, Rung
from tasks import restore_cluster
from tasks.backup_cluster import back_up_cluster
from tasks.exchange import Layout
from tasks.performed import Performed
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.ledger import ACCOUNTS, DATA, OPENING, STANZA, UNIT, Ledger, prepare_ledger
from tests.lab.network import LabSession
from tests.tasks.localhost import quiet
from tests.tasks.test_lab_repairs import plan_host

pytestmark = pytest.mark.lab

SERVER = ServiceAsset(kind="service", host="db-1", unit=UNIT)
PAYMENTS = ServiceAsset(kind="service", host="db-1", unit="payments.service")
SERVICES = {"postgresql": SERVER, "payments": PAYMENTS}
ASSET = PostgresAsset(
    kind="postgresql", host="db-1", database="ledger", server="/var/run/postgresql", os_user="postgres", backup="wal",
    service="postgresql", services=("payments",), data_directory=DATA,
)  # fmt: skip
REPOSITORY = "/var/lib/pgbackrest/ledger"
BROKEN = "/usr/bin/pgbackrest"


class Cut(Exception):
    """The orchestrator is killed here."""


@pytest.fixture(scope="module")
def ledger(data_base: Base, lab_session: LabSession) -> Iterator[Ledger]:
    with LabHost(data_base, lab_session, "cluster") as host:
        host.must(["install", "-d", "-o", "postgres", REPOSITORY])
        yield prepare_ledger(host, f"repo1-path={REPOSITORY}")


@pytest.fixture(scope="module")
def connection(ledger: Ledger) -> Iterator[Connection]:
    host = ledger.host
    with SSHHost.from_plan("db-1", plan_host(host), Secrets(host.key_path.parent)).connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    return Secrets(tmp_path_factory.mktemp("secrets"))


@pytest.fixture(scope="module")
def store(secrets: Secrets, tmp_path_factory: pytest.TempPathFactory) -> PgBackRestStore:
    folder = tmp_path_factory.mktemp("wal")
    key = SigningKey.load_or_create(folder / "keys")
    sources = {"wal": PgBackRestSource(kind="pgbackrest", stanza=STANZA)}
    opened = open_backup_stores("lab", sources, secrets, key, folder, folder)["wal"]
    assert isinstance(opened, PgBackRestStore)
    return opened


@pytest.fixture(scope="module")
def point(ledger: Ledger, connection: Connection, store: PgBackRestStore, secrets: Secrets) -> RecoveryPoint:
    """A recovery point, with payments before and after it."""
    ledger.pay(20, "before the backup")
    taken = back_up_cluster(connection, "ledger", ASSET, "db-1", store, secrets, quiet)
    ledger.pay(20, "after the backup")
    return taken


def action_of(point: RecoveryPoint, ident: str = "a01") -> RestoreCluster:
    return RestoreCluster(
        id=ident, host="db-1", asset="ledger", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u",
        point=point, database="ledger", data_directory=DATA,
    )  # fmt: skip


def content(ledger: Ledger, folder: str) -> dict[str, str]:
    """Hash of every file of a cluster that stands still."""
    root = ledger.host.inside(folder)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_point_names_its_set_its_cluster_and_its_rows(
    ledger: Ledger, connection: Connection, store: PgBackRestStore, point: RecoveryPoint
) -> None:
    """R-PREV-1: what the tool keeps, described by us; listed, verified, chosen by time."""
    manifest = store.manifest(point)
    stanza = store.tool.stanza(connection, "postgres")
    kept = stanza.find(manifest.snapshot)
    assert kept is not None
    assert (False, "full", point.taken_at) == (kept.error, kept.kind, kept.taken_at)
    assert {"public.accounts": ACCOUNTS, "public.bookings": 20} == {c.table: c.rows for c in manifest.tables}
    assert manifest.repository == f"{STANZA}/{stanza.system_id}"
    assert "files read" in store.tool.verify(connection, "postgres", manifest.snapshot)
    assert kept == stanza.newest(point.taken_at)
    assert stanza.newest(point.taken_at.replace(year=2020)) is None
    with pytest.raises(Damaged, match="does not know the set"):
        store.tool.verify(connection, "postgres", "20200101-000000F")
    found, refused = cluster_supplies.gather("ledger", ASSET, connection, store)
    assert ([manifest.snapshot], []) == ([one.manifest.snapshot for one in found], refused)


def test_restore_that_is_cut_everywhere_goes_on_and_its_undo_is_bit_for_bit(
    ledger: Ledger, connection: Connection, store: PgBackRestStore, secrets: Secrets, point: RecoveryPoint
) -> None:
    """G2, N1, N2: every step is done once, however often the orchestrator dies; the damaged cluster is untouched."""
    ledger.damage_page()
    before, prefix = ledger.digest("bookings"), "inc-20261125-000000-0001-a01-1"
    layout = Layout.of(DATA, "inc-20261125-000000-0001/a01")

    def restore(cut_at: int) -> Performed:
        def progress(done: int, _total: int) -> None:
            if done == cut_at:
                raise Cut

        return restore_cluster.perform(
            connection, ASSET, secrets, action_of(point), store, SERVICES, job_prefix=prefix, token=1, progress=progress
        )  # fmt: skip

    for cut_at in (1, 2):
        with pytest.raises(Cut):
            restore(cut_at)
    damaged = content(ledger, DATA)
    with pytest.raises(Cut):
        restore(3)
    performed = restore(0)
    assert "damaged cluster is kept" in performed.sentence
    names = [
        line.split()[2] for line in ledger.host.inside("/var/lib/reinstate/trace").read_text().splitlines()
    ]
    assert len(names) == len(set(names)), "no job was started twice"
    assert damaged == content(ledger, layout.aside)
    assert ACCOUNTS * OPENING == ledger.total()
    assert before == ledger.digest("bookings")
    undone = restore_cluster.undo(
        connection, ASSET, secrets, action_of(point), SERVICES, job_prefix="inc-20261125-000000-0001-undo-a01-1",
        token=1, progress=quiet,
    )  # fmt: skip
    assert "again the cluster it was before" in undone.sentence
    ledger.host.must(["systemctl", "stop", UNIT])
    after = content(ledger, DATA)
    changing = (
        "pg_wal/",
        "pg_logical/",
        "pg_stat",
        "global/pg_control",
        "pg_xact/",
        "postmaster",
        "global/pg_internal",
    )
    data = {
        path for path in damaged if not path.startswith(changing) and not path.endswith("pg_internal.init")
    }
    assert {path: damaged[path] for path in data} == {path: after.get(path) for path in data}
    ledger.host.must(["systemctl", "start", UNIT])
    assert ledger.host.inside(layout.undone).is_dir(), "what was restored is kept as well"
    again = restore_cluster.perform(
        connection, ASSET, secrets, action_of(point, "a02"), store, SERVICES,
        job_prefix="inc-20261125-000000-0002-a02-1", token=1, progress=quiet,
    )  # fmt: skip
    assert "nothing is lost" in again.sentence
    assert ACCOUNTS * OPENING == ledger.total()


@pytest.mark.parametrize(
    ("what", "error", "match"),
    [
        ("vanished", Damaged, "is gone from the repository"),
        ("other cluster", Refused, "this server is cluster"),
        ("other machine", Refused, "taken from machine"),
        ("old client", Refused, "pgBackRest 2.42 is below 2.43"),
        ("tablespace", Unsupported, "tablespaces in other places"),
        ("foreign folder", PreconditionFailed, "not writable for the cluster's owner"),
        ("corrupt repository", Damaged, "no recovery point gave a whole cluster"),
    ],
)
def test_cluster_is_not_touched_when_it_cannot_be_restored(
    ledger: Ledger, connection: Connection, store: PgBackRestStore, secrets: Secrets, point: RecoveryPoint, what: str,
    error: type[ReinstateError], match: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Refused by name, target untouched, and what stopped runs again."""
    host, before = ledger.host, ledger.state()
    back: list[Callable[[], object]] = []
    manifest = store.manifest(point)
    config = host.inside("/etc/pgbackrest.conf")
    text = config.read_text()
    back.append(lambda: config.write_text(text))
    match_in_error = match
    if what == "vanished":
        changed = manifest.model_copy(update={"snapshot": "20200101-000000F"})
        monkeypatch.setattr(store, "manifest", lambda _point: changed)
    elif what == "other cluster":
        changed = manifest.model_copy(update={"repository": f"{STANZA}/77"})
        monkeypatch.setattr(store, "manifest", lambda _point: changed)
        match_in_error = "this server is cluster 77"
    elif what == "other machine":
        changed = manifest.model_copy(update={"machine_id": "f" * 32})
        monkeypatch.setattr(store, "manifest", lambda _point: changed)
    elif what == "old client":
        real = host.inside(BROKEN)
        moved = real.rename(real.with_suffix(".real"))
        real.write_text("#!/bin/sh\necho pgBackRest 2.42\n")
        real.chmod(0o755)
        back.append(partial(moved.replace, real))
    elif what == "tablespace":
        link = host.inside(f"{DATA}/pg_tblspc") / "777"
        link.symlink_to("/srv")
        back.append(link.unlink)
    elif what == "foreign folder":
        folder = host.inside(DATA).parent
        host.must(["chown", "root:root", str(Path(DATA).parent)])
        back.append(lambda: host.must(["chown", "postgres:postgres", str(Path(DATA).parent)]))
        assert folder.is_dir()
    else:
        bundle = next(host.inside(f"{REPOSITORY}/backup/{STANZA}/{manifest.snapshot}/bundle").iterdir())
        good = bundle.read_bytes()
        back.append(partial(bundle.write_bytes, good))
        bundle.write_bytes(good[:100] + bytes(1 for _ in good[100:]))
    prefix = f"inc-20261125-000000-{hashlib.sha256(what.encode()).hexdigest()[:4]}-a03-1"
    try:
        with pytest.raises(error, match=match_in_error):
            restore_cluster.perform(
                connection, ASSET, secrets, action_of(point, "a03"), store, SERVICES, job_prefix=prefix, token=1,
                progress=quiet,
            )  # fmt: skip
    finally:
        for undo in reversed(back):
            undo()
    assert before == ledger.state()
    assert not list(host.inside(DATA).parent.glob("*new*"))
    assert host.shell(["systemctl", "is-active", "payments"]).stdout.strip() == "active"


def test_broken_pages_and_silent_archiving_make_no_recovery_point(
    ledger: Ledger, connection: Connection, store: PgBackRestStore, secrets: Secrets, point: RecoveryPoint
) -> None:
    """An exit code of 0 is not believed; points stay as they are."""
    ledger.damage_page("accounts_by_owner", 2)
    with pytest.raises(Damaged, match=r"broken pages \(base/"):
        back_up_cluster(connection, "ledger", ASSET, "db-1", store, secrets, quiet)
    assert [point.id] == [one.id for one in store.points("ledger")]
    found, refused = cluster_supplies.gather("ledger", ASSET, connection, store)
    assert [point.id] == [one.point.id for one in found]
    assert "holds broken pages" in refused[0].sentence
    ledger.sql("ALTER SYSTEM SET archive_command = 'false'")
    ledger.sql("SELECT pg_reload_conf()")
    ledger.sql("CREATE TABLE noise AS SELECT 1; SELECT pg_switch_wal()")
    ledger.sql(
        "DO $$ BEGIN FOR n IN 1..100 LOOP PERFORM pg_stat_clear_snapshot(); "
        "EXIT WHEN EXISTS (SELECT FROM pg_stat_archiver WHERE last_failed_time > last_archived_time); "
        "PERFORM pg_sleep(0.1); END LOOP; END $$"
    )
    with pytest.raises(PreconditionFailed, match="archiving of WAL fails"):
        back_up_cluster(connection, "ledger", ASSET, "db-1", store, secrets, quiet)
