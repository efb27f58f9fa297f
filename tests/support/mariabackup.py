"""A laboratory host whose MariaDB server is backed up as a whole by mariabackup, and everything that acts on it."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import database, mariadb_tables
from model.assets import MariadbAsset, ServiceAsset
from model.finding import CheckResult
from model.manifest import RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreCluster, Rung
from tasks import restore_mariabackup
from tasks.backup_mariabackup import back_up_mariabackup
from tasks.exchange import Layout
from tasks.performed import Performed
from tasks.staging import Progress
from tests.lab.host import LabHost
from tests.support.stores import make_directory_store
from tests.tasks.localhost import quiet
from tests.tasks.restore.test_mariadb import PASSWORD, SCHEMA

NUMBER = itertools.count(1)
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
        (folder / "password").touch(mode=0o600)
        (folder / "password").write_text(PASSWORD + "\n")
        self.store = make_directory_store(signing, folder)
        self.asset = ASSET
        self.incident = f"inc-20261125-000000-{next(NUMBER):04}"
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


def prepare(host: LabHost) -> None:
    """A server with a binary log, a user with a password, and a service that uses it."""
    host.inside("/etc/systemd/system/till.service").write_text(
        "[Service]\nExecStart=/bin/sleep infinity\n", encoding="utf-8"
    )
    host.inside("/etc/mysql/mariadb.conf.d/99-lab.cnf").write_text("[mysqld]\nlog_bin\n", encoding="utf-8")
    host.must(["systemctl", "daemon-reload"])
    host.must(["systemctl", "start", "mariadb", "till"])
    text = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    host.must(
        ["mariadb"],
        text=f"CREATE USER clerk@localhost IDENTIFIED BY '{text}'; GRANT ALL ON *.* TO clerk@localhost",
    )
