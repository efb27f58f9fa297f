"""The three acceptance cases as the drills that ship with their plans: unattended, on laboratory hosts, scored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pyotp
import pytest
from ruamel.yaml import YAML

from blocks.home import open_store
from flows.drill import drill
from model.scorecard import Scorecard
from tasks.scorecard import card_of
from tests.e2e import test_case_1, test_case_3
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.lab.ledger import DATABASE, UNIT, Ledger, prepare_ledger
from tests.lab.network import LabSession
from tests.lab.servers import Shop
from tests.support.labworld import LabWorld, merged, write_secret
from tests.support.ledgerworld import LedgerWorld
from tests.support.locally import back_up_locally

pytestmark = [pytest.mark.lab, pytest.mark.slow]

intranet, payments, s3_tls = test_case_1.intranet, test_case_3.payments, test_case_3.s3_tls
PLAN = Path(__file__).parents[2] / "plans" / "case-2-operator-mistake.yaml"
PHRASE = "a good pass phrase"


def stand_in(host: LabHost, folder: Path, key: str) -> dict[str, Any]:
    """Make a host say that it is staging; returns how a plan describes it."""
    host.inside("/var/lib").joinpath("reinstate").mkdir(mode=0o700, exist_ok=True)
    host.inside("/var/lib/reinstate").joinpath("role").write_text("staging\n")
    write_secret(folder, key, host.key_path.read_text())
    return {
        "address": host.address, "port": host.port, "user": "ops", "sudo": True, "key": f"file:secrets/{key}",
        "host_key": host.host_key, "machine_id": host.machine_id,
    }  # fmt: skip


def with_stand_ins(plan: Path, hosts: Mapping[str, Mapping[str, Any]]) -> None:
    """Put real stand-ins into a plan, in place of its examples."""
    text = json.loads(plan.read_text())
    plan.write_text(json.dumps(merged(text, {"drill": {"staging": hosts}}), indent=1))


def exercised(plan: Path, seed: int) -> Scorecard:
    """The score of one drill that nobody attends."""
    asyncio.run(drill.fn(plan=str(plan), seed=seed, sign_off="simulated"))
    store = open_store()
    return card_of(store, store.drills()[-1])


def require_passed(card: Scorecard, kinds: set[str], declared: Collection[str] = ()) -> None:
    """Found, repaired (or declared, for the kinds that may be), nothing else found, nothing left, and scored."""
    said = card.model_dump_json(indent=1)
    assert kinds == {fault.kind for fault in card.faults}, said
    for fault in card.faults:
        assert fault.mended in {"repaired", *(("declared",) if fault.kind in declared else ())}, said
    assert {fault.seen for fault in card.faults} <= {"found", "reported"}, said
    assert ((), ()) == (card.unexplained, card.left_behind), said
    assert "RECOVERED" == card.result, said
    assert "PASSED" == card.verdict, said


def test_case_1_drill_runs_unattended_and_scores(
    intranet: LabWorld, make_lab_shop: Callable[[str], Shop]
) -> None:
    """R-SCOPE-2 case 1, R-DRILL-1: two ways in which server software is damaged."""
    back_up_locally(intranet)
    host = make_lab_shop("intranet-staging").host
    with_stand_ins(
        intranet.plan_file, {"intranet": stand_in(host, intranet.folder, "ssh-key-staging")}
    )  # fmt: skip
    card = exercised(intranet.plan_file, 1)
    assert 2 == len(card.faults)
    require_passed(card, {fault.kind for fault in card.faults})


def clone(host: LabHost, name: str, session: LabSession, make: MakeLabHost) -> LabHost:
    """Production goes off the network and comes back as a host of another identity with the same content."""
    layer = session.directory / f"layer-{name}"
    host.freeze(layer)
    session.take_address()  # the old host's, which a new one would get; in the plan it stays production's
    again = make(name, (layer,))
    again.wait_running()
    return again


def test_case_3_drill_runs_unattended_and_scores(
    payments: LedgerWorld, make_data_host: MakeLabHost, lab_session: LabSession
) -> None:
    """R-SCOPE-2 case 3, R-DRILL-1: pages of the ledger; its stand-in reads production's repository."""
    payments.ledger.pay(200, "before the backup")
    back_up_locally(payments)
    payments.ledger.pay(100, "after the backup")
    payments.ledger.sql("SELECT pg_switch_wal()")
    gateway = payments.host.gateway
    before = payments.ledger.state()
    host = clone(payments.host, "db-1-staging", lab_session, make_data_host)
    with host.inside("/etc/hosts").open("a") as hosts:
        hosts.write(f"{gateway} s3.lab\n")
    host.must(["systemctl", "start", UNIT, "payments.service"])
    with_stand_ins(payments.plan_file, {"db-1": stand_in(host, payments.folder, "ssh-key-staging")})
    card = exercised(payments.plan_file, 1)
    require_passed(card, {"database-pages"})
    assert before == Ledger(host).state()


def claims(files: LabHost, ledger: Ledger, folder: Path) -> Path:
    """The plan of case 2 for two real hosts."""
    write_secret(folder, "restic", PHRASE)
    for name, host in (("files-1", files), ("db-2", ledger.host)):
        write_secret(folder, f"{name}-key", host.key_path.read_text())
    for person in ("head", "coo", "ops", "desk"):
        write_secret(folder, f"totp-{person}", pyotp.random_base32())
    plan: dict[str, Any] = YAML(typ="safe", pure=True).load(PLAN)
    real = {
        "hosts": {
            name: {
                "address": host.address, "user": "ops", "host_key": host.host_key, "machine_id": host.machine_id,
                "key": f"file:secrets/{name}-key",
            }
            for name, host in (("files-1", files), ("db-2", ledger.host))
        },
        "backups": {"wal": {"stanza": "ledger"}},
        "assets": {"postgresql": {"unit": UNIT}, "claims": {"database": DATABASE}},
        "checks": {
            "probes": [],
            "tables": [],  # the server is a socket directory, which no tunnel reaches
            "soak": 0.2, "interval": 0.1,
        },
    }  # fmt: skip
    path = folder / "plan.yaml"
    path.write_text(json.dumps(merged(plan, real), indent=1))
    return path


@pytest.mark.timeout(1800)
def test_case_2_drill_runs_unattended_and_scores(
    make_data_host: MakeLabHost, home: Path, lab_session: LabSession, tmp_path: Path
) -> None:
    """R-SCOPE-2 case 2, R-DRILL-1: documents by restic, rows by pgBackRest; a person's mistake each time."""
    folder = tmp_path / "case-2"
    folder.mkdir()
    files, host = make_data_host("files-1"), make_data_host("db-2")
    host.must(["install", "-d", "-o", "postgres", "/var/lib/pgbackrest/ledger"])
    ledger = prepare_ledger(host, "repo1-path=/var/lib/pgbackrest/ledger")
    ledger.pay(200, "before the backup")
    files.must(
        ["sh", "-c", f"mkdir /backup && RESTIC_PASSWORD='{PHRASE}' restic --quiet init -r /backup/restic"]
    )
    for number in range(40):
        place = files.inside("/srv").joinpath("documents", "contracts" if number < 20 else "letters")
        place.mkdir(parents=True, exist_ok=True)
        place.joinpath(f"{number:02d}.txt").write_bytes(b"Contract %d\n" % number * (number + 1))
    plan = claims(files, ledger, folder)
    back_up_locally(LedgerWorld(folder, ledger))
    ledger.sql("SELECT pg_switch_wal()")
    clones = {
        name: clone(old, f"{name}-staging", lab_session, make_data_host)
        for name, old in (("files-1", files), ("db-2", host))
    }
    clones["db-2"].must(["systemctl", "start", UNIT])
    with_stand_ins(plan, {name: stand_in(again, folder, name) for name, again in clones.items()})
    seen: set[str] = set()
    for seed in range(4):  # seeds that follow each other go round the kinds
        card = exercised(plan, seed)
        # That a table is gone is damage as well, and a mistake is dealt with once there is none: it is said so.
        require_passed(card, {fault.kind for fault in card.faults}, declared={"dropped-table"})
        seen |= {fault.kind for fault in card.faults}
    assert {"overwritten-documents", "deleted-directory", "dropped-table"} == seen
