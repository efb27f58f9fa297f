"""A PostgreSQL cluster that pgBackRest keeps, under the same mutilations as everything else."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blocks.backups import open_backup_stores
from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.assets import PostgresAsset, ServiceAsset
from model.backup_sources import PgBackRestSource
from model.manifest import Manifest, RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreCluster, Rung
from tasks import restore_cluster
from tasks.backup_cluster import back_up_cluster
from tests.lab.base import Base, LabError
from tests.lab.host import LabHost
from tests.lab.ledger import DATA, STANZA, UNIT, Ledger, prepare_ledger
from tests.lab.network import LabSession
from tests.tasks.localhost import quiet
from tests.tasks.test_lab_repairs import plan_host

ASSET = PostgresAsset(
    kind="postgresql", host="web", database="ledger", server="/var/run/postgresql", os_user="postgres", backup="kept",
    service="postgresql", data_directory=DATA,
)  # fmt: skip
SERVICES = {"postgresql": ServiceAsset(kind="service", host="web", unit=UNIT)}
_NUMBERS = itertools.count(1)


@dataclass
class ClusterWorld:
    """The ledger, with the repository on its own host.

    Attributes:
        ledger: the cluster.
        connection: to its host.
        store: under test, in `folder`.
        repository: on the host.
    """

    ledger: Ledger
    connection: Connection
    store: PgBackRestStore
    folder: Path
    kind: str = "pgbackrest"
    repository: str = f"/var/lib/pgbackrest/{STANZA}"

    @property
    def host(self) -> LabHost:
        """Where it runs."""
        return self.ledger.host

    @property
    def _live(self) -> Path:
        return self.host.inside(DATA)

    def create_repository(self) -> None:
        """As an operator makes it."""
        self.host.must(["install", "-d", "-o", "postgres", self.repository])
        self.ledger.backrest("stanza-create")

    def fill(self) -> None:
        """Some payments."""
        self.ledger.pay(20, "before the first backup")

    def change(self) -> None:
        """Between two backups."""
        self.ledger.pay(20, "between the backups")

    def back_up(self) -> RecoveryPoint:
        """A new set."""
        return back_up_cluster(self.connection, "site", ASSET, "web", self.store, Secrets(self.folder), quiet)

    def damage(self) -> None:
        """The cluster as it was at first, with a page spoilt; nothing of earlier restores is left."""
        kept = self._live.with_name("kept")
        if not kept.exists():
            self.ledger.damage_page()
            self.host.must(["systemctl", "stop", UNIT])
            _copy(self._live, kept)
        else:
            self.host.must(["systemctl", "stop", UNIT])
            for beside in self._beside():
                shutil.rmtree(beside)
            shutil.rmtree(self._live)
            _copy(kept, self._live)
        self.host.must(["systemctl", "start", UNIT])

    def _beside(self) -> list[Path]:
        return [path for path in self._live.parent.iterdir() if ".reinstate-" in path.name]

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """What the store says of a point."""
        return self.store.manifest(point)

    def prepared(self, point: RecoveryPoint) -> Callable[[], object]:
        """The restore of the cluster, proposed now; each in an incident of its own."""
        action = RestoreCluster(
            id="a01", host="web", asset="site", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u",
            point=point, database="ledger", data_directory=DATA,
        )  # fmt: skip
        return partial(
            restore_cluster.perform, self.connection, ASSET, Secrets(self.folder), action, self.store, SERVICES,
            job_prefix=f"inc-20261101-000000-{next(_NUMBERS):04}-a01-1", token=1, progress=quiet,
        )  # fmt: skip

    def state(self) -> dict[str, tuple[object, ...]]:
        """All rows; where the damage makes them unreadable, the file that holds them."""
        try:
            return {"rows": self.ledger.state()}
        except LabError:
            place = self.ledger.sql("SELECT pg_relation_filepath('accounts')")
            return {place: (hashlib.sha256((self._live / place).read_bytes()).hexdigest(),)}

    def staged(self) -> list[str]:
        """What a refused restore left beside the cluster."""
        return [path.name for path in self._beside()]


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--", str(source), str(target)], check=True)


@contextmanager
def cluster_world(
    base: Base, session: LabSession, signing: SigningKey, folder: Path
) -> Iterator[ClusterWorld]:
    """On a host of its own."""
    with LabHost(base, session, "cluster") as host:
        host.must(["install", "-d", "-o", "postgres", ClusterWorld.repository])
        ledger = prepare_ledger(host, f"repo1-path={ClusterWorld.repository}")
        secrets = Secrets(folder)
        sources = {"kept": PgBackRestSource(kind="pgbackrest", stanza=STANZA)}
        store = open_backup_stores("plan", sources, secrets, signing, folder, folder / "home")["kept"]
        assert isinstance(store, PgBackRestStore)
        plan = plan_host(host)
        with SSHHost.from_plan("web", plan, Secrets(host.key_path.parent)).connect() as connection:
            yield ClusterWorld(ledger, connection, store, folder)
