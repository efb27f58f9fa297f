"""How recoveries end when they do not succeed: on a real host, without Prefect, judged from outside (must show 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.backups.s3client import open_client
from model.outcome import RunVerdict, Stage
from model.signoff import Decision
from tasks import fetch
from tasks.work import Work
from tests.e2e.conftest import MakeWorld
from tests.lab import damage
from tests.lab.damage import Damage
from tests.support import tamper
from tests.support.labworld import LabWorld, break_it
from tests.support.locally import back_up_locally, recover_locally
from tests.support.s3server import ACCESS_KEY, SECRET_KEY
from tests.support.witness import Seen, bad_pages, changes, dpkg_complains, look, trace

pytestmark = [pytest.mark.lab, pytest.mark.slow]

APT_CACHE = "/var/cache/apt/pkgcache.bin"
"""apt's own index of its lists, made anew whenever apt installs something."""


def databases(world: LabWorld) -> dict[str, str]:
    """The databases by their number, and what a full read of the readable tables answers.

    A restored database that was undone is kept aside: people may have written to it.
    """
    select = "SELECT oid, datname FROM pg_database WHERE datname !~ '_restored_[0-9a-f]+$' ORDER BY oid"
    said = {"databases": world.shop.sql(select)}
    for table in ("customers", "products"):
        said[table] = world.shop.sql(f"SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {table} AS t")
    return said


def ended(work: Work) -> tuple[RunVerdict, str]:
    """Verdict and sentence from the journal."""
    state = work.state()
    assert state.ended is not None
    return state.ended.verdict, state.ended.sentence


def without_times(seen: dict[str, Seen]) -> dict[str, Seen]:
    """Contents, types, modes and owners alone, without apt's own cache."""
    return {path: Seen(one.facts, 0) for path, one in seen.items() if path != APT_CACHE}


def assert_as_before(world: LabWorld, work: Work, before: dict[str, Seen], damaged: list[Damage]) -> None:
    """N1: every path of the host is what it was, and those of the proposal also in their times."""
    after = look(world.host)
    assert [] == changes(without_times(before), without_times(after))
    proposal = work.state().proposal
    assert proposal is not None
    touched = {path for action in proposal.actions for path in action.touches} & before.keys()
    assert touched
    assert [] == changes(
        {path: before[path] for path in touched}, {path: after[path] for path in touched if path in after}
    )
    for one in damaged:
        if not one.path.startswith("/var/lib/postgresql"):
            assert (one.after is None) == (one.path not in after), one.sentence


def test_denied_at_acceptance_everything_is_as_before_the_recovery(
    lab_world: LabWorld, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-RESP-7, N1: a result nobody accepts is rolled back bit for bit, the database included."""
    # The host itself pulls from the object store; no bulk data may pass through this process.
    monkeypatch.setattr(fetch, "_stream", None)
    back_up_locally(lab_world)
    damaged = break_it(lab_world.host)
    before, tables = look(lab_world.host), databases(lab_world)
    work = recover_locally(lab_world, accept=Decision.DENY)
    verdict, sentence = ended(work)
    assert RunVerdict.ROLLED_BACK == verdict, sentence
    assert "ines" in sentence
    assert_as_before(lab_world, work, before, damaged)
    assert tables == databases(lab_world)
    page = next(one.path for one in damaged if one.path.startswith("/var/lib/postgresql"))
    assert [page.rsplit("/", 1)[1]] == [Path(bad).name for bad in bad_pages(lab_world.host)]
    assert 0 == lab_world.shop.fetch()[0]
    assert sorted(one.path for one in damaged if one.package) == dpkg_complains(lab_world.host)
    assert [] == tamper.unnoticed(home, work.incident.id, tmp_path / "altered")


def test_a_probe_that_stays_red_is_rolled_back_without_asking(
    make_lab_world: MakeWorld, home: Path, tmp_path: Path
) -> None:
    """R-RESP-7: nobody is asked to accept what does not work."""
    world = make_lab_world(
        {
            "checks": {
                "probes": [{"name": "page", "url": "http://127.0.0.1/missing", "from_host": "shop-host"}]
            }
        }
    )
    back_up_locally(world)
    damaged = [damage.replace_binary(world.host), damage.truncate_file(world.host)]
    before = look(world.host)
    work = recover_locally(world)
    verdict, sentence = ended(work)
    assert RunVerdict.ROLLED_BACK == verdict, sentence
    state = work.state()
    assert state.gates.keys() == {"decide"}
    assert_as_before(world, work, before, damaged)
    assert [] == tamper.unnoticed(home, work.incident.id, tmp_path / "altered")


@pytest.mark.parametrize("asset", ["files", "orders"])
def test_a_corrupt_backup_stops_the_recovery_before_it_touches_the_host(
    lab_world: LabWorld, home: Path, tmp_path: Path, asset: str
) -> None:
    """G4, rule 5: the object is named, the host is untouched, down to the trace it keeps itself."""
    back_up_locally(lab_world)
    host = lab_world.host
    (damage.truncate_file if asset == "files" else damage.corrupt_table_page)(host)
    damage.replace_binary(host)
    key = corrupt_newest(lab_world, asset)
    before, tables = look(host), databases(lab_world)
    work = recover_locally(lab_world)
    verdict, sentence = ended(work)
    assert RunVerdict.STOPPED_SAFE == verdict, sentence
    assert key in sentence
    assert work.state().ended_stages[Stage.PRESERVE].code == "DAMAGED"
    assert [] == trace(host)
    assert [] == changes(before, look(host))
    assert tables == databases(lab_world)
    assert [] == tamper.unnoticed(home, work.incident.id, tmp_path / "altered")


def corrupt_newest(world: LabWorld, asset: str) -> str:
    """Flip every bit of one byte inside the data of the asset's newest backup object; returns its key."""
    client = open_client(world.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
    listed = client.list_objects_v2(Bucket=world.bucket, Prefix=f"{asset}/")["Contents"]
    key = max((item["Key"] for item in listed if not item["Key"].endswith(".json")), key=str)
    data = bytearray(client.get_object(Bucket=world.bucket, Key=key)["Body"].read())
    where = data.find(_middle_of_archive(world)) if asset == "files" else len(data) // 2
    assert where > 0
    data[where] ^= 0xFF
    client.put_object(Bucket=world.bucket, Key=key, Body=bytes(data))
    return key


def _middle_of_archive(world: LabWorld) -> bytes:
    """Bytes of the cut file that its archive must hold: those that are left of it."""
    return world.host.inside("/srv/www/files/invoices/archive.bin").read_bytes()[1000:1100]
