"""Backup-restore verification over every kind of backup: what is not whole is told, and nothing else (R-PREV-1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from blocks.backups.directory import DirectoryBackup
from blocks.backups.s3client import open_client
from blocks.home import open_store
from checks import files
from flows.verify_backups import try_points, verify_backups
from model.errors import ReinstateError
from model.finding import CheckResult, Verdict
from model.readiness import Lack, Qualification
from model.verification import Verified
from tasks.readiness import assess
from tasks.recovery_points import ledger_of, survey
from tasks.verifying import trials_of
from tasks.work import load_plan
from tests.engines.test_recovery import ToolWorld
from tests.engines.worlds import PASSWORD
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.lab.servers import psql
from tests.support.labworld import merged
from tests.support.locally import back_up_locally
from tests.support.points import clone
from tests.support.s3server import ACCESS_KEY, SECRET_KEY

pytestmark = [pytest.mark.lab, pytest.mark.slow]

SQLITE = (
    "import sqlite3; file = sqlite3.connect('/srv/notes.db'); "
    "file.executescript('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT); "
    "INSERT INTO notes (text) VALUES (1), (2), (3), (4)')"
)


def add_databases(world: ToolWorld, changes: dict[str, Any]) -> None:
    """Three databases more, dumped into our own store."""
    host = world.host
    host.must(["systemctl", "start", "mariadb.service", "postgresql@15-main.service"])
    host.must(
        ["mariadb", "--no-defaults"],
        text="CREATE DATABASE clerk; USE clerk; CREATE TABLE bills (id INT PRIMARY KEY, note TEXT); "
        "INSERT INTO bills SELECT seq, MD5(seq) FROM seq_1_to_50",
    )
    psql(host, "CREATE DATABASE shop", "postgres")
    psql(host, "CREATE TABLE orders (id int PRIMARY KEY, note text); "
         "INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 60) n", "shop")  # fmt: skip
    host.must(["python3", "-c", SQLITE])
    more = {
        "assets": {
            "clerk": {"kind": "mariadb", "host": "data", "database": "clerk", "os_user": "root", "backup": "plain"},
            "shop": {
                "kind": "postgresql", "host": "data", "database": "shop", "server": "/var/run/postgresql",
                "os_user": "postgres", "backup": "plain",
            },
            "notes": {"kind": "sqlite", "host": "data", "path": "/srv/notes.db", "os_user": "root", "backup": "plain"},
        },
    }  # fmt: skip
    plan = merged(merged(json.loads(world.plan_file.read_text()), more), changes)
    world.plan_file.write_text(json.dumps(plan, indent=1))


@pytest.fixture(scope="module")
def many(
    data_base: Base,
    lab_session: LabSession,
    engine_s3: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ToolWorld]:
    """Seven data sets kept by seven kinds of backup, all backed up."""
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch, LabHost(data_base, lab_session, "many") as host:
        patch.setenv("REINSTATE_HOME", str(folder / "home"))
        (folder / "plan").mkdir()
        world = ToolWorld(folder / "plan", host, engine_s3())
        client = open_client(world.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
        client.create_bucket(Bucket="many")
        client.put_bucket_versioning(Bucket="many", VersioningConfiguration={"Status": "Enabled"})
        world.prepare()
        add_databases(
            world, {"verification": {"schedule": "0 3 * * *"}, "backups": {"s3-tree": {"bucket": "many"}}}
        )
        back_up_locally(world)
        yield world


def verified(world: ToolWorld, *assets: str) -> Verified:
    return asyncio.run(try_points(str(world.plan_file), list(assets), ""))


def left_over(host: LabHost) -> list[str]:
    """What of ours is on the host beside what live is."""
    names = psql(host, "SELECT datname FROM pg_database WHERE datname ~ '_new_'", "postgres").split()
    names += host.must(["mariadb", "--no-defaults", "-N"], text="SHOW DATABASES LIKE '%\\_new\\_%'").split()
    for folder in ("staging", "sandbox", "set-aside"):
        place = host.inside(f"/var/lib/reinstate/{folder}")
        names += [path.name for path in place.iterdir()] if place.exists() else []
    return names


def flagged(seen: Verified) -> set[str]:
    return {said.replace(":", " ").split()[0] for said in seen.wrong}


def test_exactly_what_is_not_whole_is_told_and_nothing_is_left(many: ToolWorld) -> None:
    """Issue 6, must show 5: one silently corrupt, one stale, one vanished, one wrong host's; the others are proven."""
    live = many.state()
    first = verified(many)
    assert set() == flagged(first), first.wrong
    assert 7 == len(first.trials) == sum(trial.control is True for trial in first.trials), first
    assert [] == left_over(many.host)
    assert live == many.state()
    plan = load_plan(str(many.plan_file))
    about = {one.asset: one for one in survey(plan, open_store())}
    assert all("PROVEN" in one.judged[0].sentence for one in about.values()), about
    ready = assess(plan, open_store())
    gaps = [gap.sentence for row in ready.rows if row.asset for gap in row.gaps]
    assert 7 == len(ready.in_state(Qualification.QUALIFIED)), gaps
    assert all({"tools", "room", "recovery points"} <= set(row.checked) for row in ready.rows if row.asset)

    (kept,) = many.host.inside("/srv/kept-tree").glob("*/one")
    data = bytearray(kept.read_bytes())
    data[777] ^= 1
    kept.write_bytes(bytes(data))
    many.host.must(
        ["env", f"RESTIC_PASSWORD={PASSWORD}", "restic", "--repo", "/srv/kept-restic", "forget",
         plan.backups()["restic"].manifest(plan.backups()["restic"].points("restic")[0]).snapshot]
    )  # fmt: skip
    store, book = plan.backups()["plain"], ledger_of(plan.plan, open_store())
    assert isinstance(store, DirectoryBackup)
    (bills,) = store.points("clerk")
    manifest = store.manifest(bills)
    dump = b"".join(store.read(bills.key))
    book.begin("clerk", [])
    clone(store, book, manifest, dump, 30, asset="clerk")
    for path in (store.root / "clerk" / bills.id).iterdir():
        path.unlink()
    (shop,) = store.points("shop")
    clone(store, book, store.manifest(shop), b"".join(store.read(shop.key)), -0.01, machine_id="f" * 32)

    second = verified(many)
    assert {"tree", "restic", "clerk", "shop"} == flagged(second), second.wrong
    said = " ".join(second.wrong)
    assert "is not what the manifest says" in said
    assert "SNAPSHOT_GONE" in said
    assert "taken from machine" in said or "WRONG_HOST" in said
    outcomes = {trial.asset: trial.outcome for trial in second.trials}
    assert "damaged" == outcomes.pop("tree")
    assert {"whole"} == set(outcomes.values()), second.trials
    assert [] == left_over(many.host)
    assert live == many.state()
    with pytest.raises(ReinstateError, match=r"tree .* is not what the manifest says"):
        asyncio.run(verify_backups.fn(str(many.plan_file), ["tree"]))
    refused = {one.asset: one for one in survey(plan, open_store())}["tree"]
    assert "" == refused.chosen, "a recovery does not use what a trial found damaged"
    worse = assess(plan, open_store())
    blocked = {row.asset: {gap.lack for gap in row.gaps} for row in worse.in_state(Qualification.BLOCKED)}
    assert {"tree", "restic", "clerk"} == set(blocked), blocked
    assert all(Lack.POINT_MISSING in lacks or Lack.POINT_OVERDUE in lacks for lacks in blocked.values()), (
        blocked
    )


def test_blind_check_is_told_and_proves_nothing(many: ToolWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6, must show 5: the negative control catches a verifier that passes everything."""
    judge = files.judge

    def blind(name: str, asset: Any, data: Any, manifest: Any) -> CheckResult:  # noqa: ANN401
        result = judge(name, asset, data, manifest)
        return result.model_copy(update={"findings": (), "verdict": Verdict.PASSED})

    book = ledger_of(many.plan(), open_store())
    before = book.verdicts("borg").proofs
    monkeypatch.setattr("tasks.sandbox.files.judge", blind)
    seen = verified(many, "borg")
    assert ["blind"] == [trial.outcome for trial in seen.trials]
    assert {"borg"} == flagged(seen)
    assert before == book.verdicts("borg").proofs
    assert [] == left_over(many.host)


def test_expectation_that_cannot_be_asked_says_nothing_of_the_backup(many: ToolWorld) -> None:
    """A check that could not run refutes no recovery point: this database is reached by a socket only."""
    book, text = ledger_of(many.plan(), open_store()), many.plan_file.read_text()
    before = book.verdicts("shop").proofs
    expected = [{"database": "shop", "table": "orders", "recorded": ["rows"]}]
    try:
        many.plan_file.write_text(
            json.dumps(merged(json.loads(text), {"checks": {"tables": expected}}), indent=1)
        )
        seen = verified(many, "shop")
    finally:
        many.plan_file.write_text(text)
    assert ["not tried"] == [trial.outcome for trial in seen.trials]
    assert "could not be asked" in seen.trials[0].sentence
    assert before == book.verdicts("shop").proofs
    assert [] == left_over(many.host)


def test_run_that_was_killed_is_cleaned_up_by_the_next(
    many: ToolWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox is always removed; what a worker that died left there does not stand in the way."""

    class Killed(BaseException):
        """As if by `kill -9`: nothing is tidied."""

    def die(*_args: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr("tasks.sandbox._clear", lambda *_args: None)
        dying.setattr("tasks.sandbox.files.judge", die)
        with pytest.raises(Killed):
            verified(many, "borg")
    assert ["verify-borg"] == left_over(many.host)
    assert set() == flagged(verified(many, "borg"))
    assert [] == left_over(many.host)
    assert "whole" == trials_of(open_store(), "tools").of("borg")[-1].outcome
