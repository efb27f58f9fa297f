"""A MariaDB server's data directory, kept in S3 by mariabackup: backed up, proven, restored, put back, as users do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.backups.s3client import open_client
from flows.verify_backups import try_points
from model.outcome import RunVerdict
from model.proposal import RestoreCluster
from model.signoff import Decision
from tests.engines.directories import DATA, UNIT
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.support.labworld import World, plan_head, write_people, write_secret
from tests.support.locally import back_up_locally, recover_locally
from tests.support.s3server import ACCESS_KEY, SECRET_KEY

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@dataclass(frozen=True)
class ShopServer(World):
    """A server with one database of the plan and one that nobody told us of.

    Attributes:
        there: the host.
        endpoint: the S3 server.
    """

    there: LabHost
    endpoint: str

    @property
    def host(self) -> LabHost:
        """The host, damaged and watched from outside."""
        return self.there

    def sql(self, text: str) -> str:
        """Run it, and return the rows."""
        return self.host.must(["mariadb", "--no-defaults", "-N", "-r"], text=text)

    def prepare(self) -> None:
        """Databases, secrets and the plan."""
        self.host.inside("/etc/mysql/mariadb.conf.d/99-lab.cnf").write_text("[mysqld]\nlog_bin\n")
        self.host.must(["systemctl", "start", UNIT])
        self.sql(
            "CREATE DATABASE shop; CREATE DATABASE other; USE other;"
            "CREATE TABLE notes (id INT PRIMARY KEY, text TEXT);"
            "INSERT INTO notes SELECT seq, MD5(seq) FROM seq_1_to_50; USE shop;"
            "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT);"
            "INSERT INTO orders SELECT seq, REPEAT(MD5(seq), 4) FROM seq_1_to_2000"
        )
        write_people(self)
        for name, value in (("s3-access", ACCESS_KEY), ("s3-secret", SECRET_KEY)):
            write_secret(self.folder, name, value)
        keys = {"access_key": "file:secrets/s3-access", "secret_key": "file:secrets/s3-secret"}
        plan = plan_head(self, "directory", "data") | {
            "backups": {"kept": {"kind": "s3", "bucket": "directory", "endpoint": self.endpoint, **keys}},
            "assets": {
                "shop": {
                    "kind": "mariadb", "host": "data", "database": "shop", "os_user": "root", "backup": "kept",
                    "method": "mariabackup", "data_directory": DATA, "service": "mariadb",
                },
                "mariadb": {"kind": "service", "host": "data", "unit": UNIT},
            },
            "checks": {
                "soak": 0.1, "interval": 0.1,
                "tables": [{"database": "shop", "table": "orders", "recorded": ["rows", "checksum"]}],
            },
        }  # fmt: skip
        self.plan_file.write_text(json.dumps(plan, indent=1))

    def state(self) -> str:
        """All rows of both databases."""
        return self.sql("CHECKSUM TABLE shop.orders, other.notes; SELECT COUNT(*) FROM shop.orders")


@pytest.fixture
def shop(
    make_data_host: MakeLabHost, engine_s3: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ShopServer:
    """The server, backed up."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "plan").mkdir()
    world = ShopServer(tmp_path / "plan", make_data_host("shop"), engine_s3())
    client = open_client(world.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
    client.create_bucket(Bucket="directory")
    world.prepare()
    back_up_locally(world)
    return world


def test_damaged_and_destroyed_data_comes_back_and_goes_back_when_nobody_accepts(shop: ShopServer) -> None:
    """R-PREV-1, R-RESP-4, R-RESP-6, R-RESP-7: proven, proposed with its loss, restored, rolled back."""
    good = shop.state()
    trials = asyncio.run(try_points(str(shop.plan_file), [], "")).trials
    assert [("whole", True)] == [(trial.outcome, trial.control) for trial in trials], trials
    shop.sql("INSERT INTO shop.orders VALUES (2001, 'later'); INSERT INTO other.notes VALUES (51, 'later')")
    shop.host.must(["systemctl", "stop", UNIT])
    shop.host.must(["dd", "if=/dev/urandom", f"of={DATA}/shop/orders.ibd", "bs=16384", "seek=6", "count=1",
                    "conv=notrunc", "status=none"])  # fmt: skip
    shop.host.must(["systemctl", "start", UNIT])
    state = recover_locally(shop).state()
    assert state.proposal is not None
    (action,) = state.proposal.actions
    assert isinstance(action, RestoreCluster)
    (loss,) = state.proposal.losses
    assert "any database of the server of shop" in loss.sentence
    assert f"binary logs from {DATA}/mysqld-bin." in loss.sentence
    assert state.ended is not None
    assert RunVerdict.RECOVERED == state.ended.verdict, state.ended.sentence
    assert (state.ended.rpo or 0) > 0, "the time since the backup is lost, and said to be"
    assert good == shop.state()

    shop.host.must(["systemctl", "stop", UNIT])
    shop.host.must(["rm", "-rf", DATA])
    state = recover_locally(shop, accept=Decision.DENY).state()
    assert state.ended is not None
    assert RunVerdict.ROLLED_BACK == state.ended.verdict, state.ended.sentence
    assert not shop.host.inside(DATA).exists()
    ended = recover_locally(shop).state().ended
    assert ended is not None
    assert RunVerdict.RECOVERED == ended.verdict, ended.sentence
    assert good == shop.state()
