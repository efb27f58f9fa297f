"""Case 3 as it ships: pages of the financial database are damaged, and a backup was taken of the damage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest
from ruamel.yaml import YAML

from blocks.backups.s3client import open_client
from model.errors import Damaged
from model.finding import Code
from model.outcome import Gate, RunVerdict
from model.proposal import RestoreCluster
from tasks.backing_up import dump_database
from tasks.work import load_plan
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.lab.ledger import ACCOUNTS, DATA, OPENING, PASSWORD, prepare_ledger
from tests.lab.network import LabSession
from tests.support.certificate import make_certificate
from tests.support.examples import keep_example
from tests.support.labworld import merged, write_secret
from tests.support.ledgerworld import LedgerWorld
from tests.support.locally import back_up_locally, recover_locally
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, start_s3

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PLAN = Path(__file__).parents[2] / "plans" / "case-3-database.yaml"
SIGNERS = {Gate.DECIDE: "cio", Gate.ACCEPT: "risk"}


@pytest.fixture
def s3_tls(
    lab_session: LabSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """An S3 server over TLS, and the authority that signed its certificate."""
    both, authority = make_certificate(tmp_path, "s3.lab", lab_session.gateway)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    server = start_s3(tmp_path / "s3", lab_session.gateway, both)
    open_client(server.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True).create_bucket(
        Bucket="payments-backup"
    )
    yield server.endpoint, authority
    server.stop()


@pytest.fixture
def payments(
    make_data_host: MakeLabHost, s3_tls: tuple[str, Path], home: Path, tmp_path: Path
) -> LedgerWorld:
    """The plan's host for real; of the plan only its examples are replaced: addresses, keys and how much there is."""
    endpoint, authority = s3_tls
    host = make_data_host("db-1")
    with host.inside("/etc/hosts").open("a") as hosts:
        hosts.write(f"{host.gateway} s3.lab\n")
    host.inside("/etc/ssl/s3.pem").write_bytes(authority.read_bytes())
    repository = (
        "repo1-type=s3\nrepo1-path=/pgbackrest\nrepo1-s3-bucket=payments-backup\nrepo1-s3-region=us-east-1\n"
        f"repo1-s3-endpoint=s3.lab\nrepo1-storage-port={endpoint.rpartition(':')[2]}\nrepo1-s3-uri-style=path\n"
        f"repo1-storage-ca-file=/etc/ssl/s3.pem\nrepo1-s3-key={ACCESS_KEY}\nrepo1-s3-key-secret={SECRET_KEY}"
    )
    folder = tmp_path / "case-3"
    folder.mkdir()
    world = LedgerWorld(folder, prepare_ledger(host, repository))
    write_secret(folder, "ssh-key", host.key_path.read_text())
    write_secret(folder, "ledger", PASSWORD)
    write_secret(folder, "s3-access", ACCESS_KEY)
    write_secret(folder, "s3-secret", SECRET_KEY)
    for person in ("coo", "cio", "risk", "dba"):
        write_secret(folder, f"totp-{person}", pyotp.random_base32())
    plan: dict[str, Any] = YAML(typ="safe", pure=True).load(PLAN)
    real = {
        "hosts": {
            "db-1": {
                "address": host.address, "user": "ops", "host_key": host.host_key, "machine_id": host.machine_id,
            }
        },
        "backups": {
            "archive": {
                "endpoint": endpoint, "access_key": "file:secrets/s3-access", "secret_key": "file:secrets/s3-secret",
            },
            "wal": {"full_every": 0},
        },
        "package_stores": {"debs": {"path": str(tmp_path)}},
        "checks": {"soak": 1, "interval": 0.3},
        "signoff": {"decide": {"quorum": 1}, "accept": {"quorum": 1}},
    }  # fmt: skip
    assert ACCOUNTS * OPENING == plan["checks"]["tables"][0]["expectations"][1]["kwargs"]["min_value"]
    plan["checks"]["tables"][1]["expectations"][0]["kwargs"]["min_value"] = 300
    world.plan_file.write_text(json.dumps(merged(plan, real), indent=1))
    return world


def back_up_ledger(world: LedgerWorld) -> None:
    """Back up the database alone."""
    dump_database.fn(str(world.plan_file), "ledger", "db-1")


def payments_points(world: LedgerWorld) -> list[str]:
    """Ids of the ledger's recovery points, newest first."""
    return [point.id for point in load_plan(str(world.plan_file)).backups()["wal"].points("ledger")]


@contextmanager
def checksums_unseen(host: LabHost) -> Iterator[None]:
    """PgBackRest does not look at page checksums meanwhile."""
    config = host.inside("/etc/pgbackrest.conf")
    before = config.read_text()
    config.write_text(before.replace("[global]", "[global]\nchecksum-page=n"))
    yield
    config.write_text(before)


def test_case_3_damaged_pages_come_back_to_the_last_payment_from_the_set_before_the_damage(
    payments: LedgerWorld,
) -> None:
    """R-SCOPE-2 case 3, R-RESP-6: from neither corrupt set; accounts balance, nothing is lost."""
    ledger, host = payments.ledger, payments.host
    ledger.pay(200, "before the backup")
    back_up_locally(payments)
    (good,) = payments_points(payments)
    ledger.pay(100, "after the backup")
    ledger.damage_page("accounts_by_owner", 2)
    with checksums_unseen(host):  # nobody notices: no table is touched, and the tool was told not to look
        back_up_ledger(payments)
    unseen = payments_points(payments)[0]
    ledger.damage_page()
    ledger.sql("INSERT INTO bookings (debit, credit, amount, note) VALUES (1, 2, 7, 'after the damage')")
    ledger.backrest("--type=full", "backup")  # the schedule of the host: it ends with 0
    corrupt = json.loads(ledger.backrest("--output=json", "info"))[0]["backup"][-1]
    assert corrupt["error"]
    with pytest.raises(Damaged, match=r"cannot be read|broken pages"):
        back_up_ledger(payments)

    work = recover_locally(payments, signers=SIGNERS)
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED == state.ended.verdict, state.ended.sentence
    assert state.confirmed is not None
    codes = {f.code for result in state.confirmed.results for f in result.findings}
    assert Code.DATABASE_CHECKSUM_FAILED in codes
    assert state.proposal is not None
    (action,) = [one for one in state.proposal.actions if isinstance(one, RestoreCluster)]
    assert corrupt["label"] in action.reason, "people are told why the newest set is not taken"
    assert () == state.proposal.losses
    assert (unseen, (good,)) == (action.point.id, tuple(point.id for point in action.older))
    assert f"restored from {good}" in state.effects[action.id].sentence, (
        "the newer set did not pass the checks"
    )
    assert "nothing is lost" in state.effects[action.id].sentence
    keep_example("case-3", work)
    assert ACCOUNTS * OPENING == ledger.total()
    assert "301" == ledger.sql("SELECT count(*) FROM bookings")
    assert "after the damage" == ledger.sql("SELECT note FROM bookings ORDER BY id DESC LIMIT 1")
    assert "paying" == host.must(["curl", "-s", "http://127.0.0.1:8080/health"])
    assert 2 == len(list(host.inside(DATA).parent.iterdir())), "the live one and the damaged one"
    ledger.sql("SELECT pg_switch_wal()")
    ledger.backrest("check")  # archiving goes on along the new timeline
