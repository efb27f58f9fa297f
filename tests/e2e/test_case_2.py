"""Case 2, the database half: a person deletes rows without a WHERE; they come back, and all newer rows stay."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyotp
import pytest

from model.finding import Code
from model.mistake import Mistake
from model.outcome import Gate, RunVerdict
from model.proposal import RestoreRows
from model.signoff import Decision
from tests.lab.fixtures import MakeLabHost
from tests.lab.ledger import ACCOUNTS, DATA, OPENING, UNIT, Ledger, prepare_ledger
from tests.support.examples import keep_example
from tests.support.labworld import HOST, merged, plan_head, write_people, write_secret
from tests.support.ledgerworld import LedgerWorld
from tests.support.locally import back_up_locally, recover_locally

pytestmark = [pytest.mark.lab, pytest.mark.slow]

SIGNERS = {Gate.DECIDE: "lena", Gate.ACCEPT: "ines"}
OTHERS = {Gate.DECIDE: "marc", Gate.ACCEPT: "omar"}
"""A code is good for one signature: every recovery within half a minute has signers of its own."""
FIRST = {Gate.DECIDE: "zoe"}


@pytest.fixture
def payments(make_data_host: MakeLabHost, home: Path, tmp_path: Path) -> LedgerWorld:
    """The ledger with a repository on the host itself, backed up."""
    host = make_data_host("db-2")
    host.must(["install", "-d", "-o", "postgres", "/var/lib/pgbackrest/ledger"])
    ledger = prepare_ledger(host, "repo1-path=/var/lib/pgbackrest/ledger")
    folder = tmp_path / "case-2"
    folder.mkdir()
    world = LedgerWorld(folder, ledger)
    write_people(world)
    plan = {
        **plan_head(world, "lab-ledger", HOST),
        "backups": {"wal": {"kind": "pgbackrest", "stanza": "ledger"}},
        "assets": {
            "postgresql": {"kind": "service", "host": HOST, "unit": UNIT},
            "ledger": {
                "kind": "postgresql", "host": HOST, "database": "ledger", "server": "/var/run/postgresql",
                "os_user": "postgres", "backup": "wal", "service": "postgresql", "data_directory": DATA,
                "depends_on": ["postgresql"],
            },
        },
        "checks": {"soak": 0.2, "interval": 0.1},
    }  # fmt: skip
    more: dict[str, Any] = {
        "people": {},
        "roles": {"leading_group": ["lena", "marc", "zoe"], "working_group": ["ines", "omar"]},
    }
    for person in ("omar", "zoe"):
        write_secret(folder, f"totp-{person}", pyotp.random_base32())
        more["people"][person] = {"name": person, "totp": f"file:secrets/totp-{person}"}
    world.plan_file.write_text(json.dumps(merged(plan, more), indent=1))
    ledger.pay(50, "before the backup")
    back_up_locally(world)
    return world


def mistaken(ledger: Ledger) -> datetime:
    """Payments, then the mistake, then payments that nobody may lose; returns the last good moment."""
    ledger.sql(
        "CREATE TABLE labels (id int PRIMARY KEY, code text UNIQUE); INSERT INTO labels VALUES (1, 'a'), (2, 'b');"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'closed'; END $$;"
        "CREATE TRIGGER closed BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION refuse();"
    )
    ledger.pay(50, "after the backup")
    moment = datetime.fromisoformat(ledger.sql("SELECT clock_timestamp()").replace(" ", "T"))
    ledger.sql("DELETE FROM bookings")  # without WHERE
    ledger.sql("DELETE FROM accounts WHERE id > 100; DELETE FROM labels")
    ledger.sql("INSERT INTO bookings (debit, credit, amount, note) VALUES (1, 2, 7, 'after the mistake')")
    ledger.sql("INSERT INTO labels VALUES (3, 'a'); UPDATE accounts SET balance = balance + 1 WHERE id = 1")
    return moment.astimezone(UTC)


def test_case_2_rows_deleted_without_where_come_back_and_all_that_was_written_since_stays(
    payments: LedgerWorld,
) -> None:
    """R-SCOPE-2 case 2, R-RESP-4/6: the difference is shown before sign-off; undo takes exactly the rows out again."""
    ledger = payments.ledger
    moment = mistaken(ledger)
    after = ledger.state()
    mistake = Mistake(asset="ledger", at=moment)

    alone = Mistake(asset="ledger", at=moment, tables=("public.bookings",))
    work = recover_locally(payments, signers=FIRST, mistakes=[alone])
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.ROLLED_BACK == state.ended.verdict, state.ended.sentence
    assert "refer to rows of public.accounts" in state.effects["a01"].sentence, "all or nothing"
    assert after == ledger.state()

    work = recover_locally(payments, Decision.DENY, SIGNERS, [mistake])
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.ROLLED_BACK == state.ended.verdict, state.ended.sentence
    assert after == ledger.state()
    assert state.confirmed is not None
    assert [Code.OPERATOR_MISTAKE] == [f.code for r in state.confirmed.results for f in r.findings]
    assert state.proposal is not None
    (action,) = state.proposal.actions
    assert isinstance(action, RestoreRows)
    assert {
        "public.accounts": (ACCOUNTS, ACCOUNTS - 100, 1, 0),
        "public.bookings": (100, 100, 0, 1),
        "public.labels": (2, 2, 0, 1),
    } == {one.table: (one.before, one.missing, one.changed, one.newer) for one in action.tables}
    assert "100 of 100 rows are gone" in action.reason

    work = recover_locally(payments, signers=OTHERS, mistakes=[mistake])
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED == state.ended.verdict, state.ended.sentence
    assert ACCOUNTS * OPENING + 1 == ledger.total(), (
        "all accounts are back, and the later change of one stays"
    )
    assert "101" == ledger.sql("SELECT count(*) FROM bookings")
    assert "after the mistake" == ledger.sql("SELECT note FROM bookings ORDER BY id DESC LIMIT 1")
    assert "2|b\n3|a" == ledger.sql("SELECT * FROM labels ORDER BY id"), "the newer row has the unique value"
    keep_example("case-2", work)
    sentence = state.effects["a01"].sentence
    assert "public.labels: 1 rows came back, 1 did not" in sentence
    folders = [path.name for path in payments.host.inside(DATA).parent.iterdir()]
    assert ["main"] == folders, "nothing is left beside the cluster"
