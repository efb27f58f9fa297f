"""A MariaDB server whose whole data directory mariabackup keeps, under the same mutilations as everything else."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.assets import MariadbAsset, ServiceAsset
from model.manifest import Manifest, RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreCluster, Rung
from tasks import restore_mariabackup
from tasks.backup_mariabackup import back_up_mariabackup
from tests.lab.base import Base, LabError
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.datahost import connect
from tests.support.stores import make_directory_store
from tests.tasks.localhost import quiet

DATA = "/var/lib/mysql"
UNIT = "mariadb.service"
ASSET = MariadbAsset(
    kind="mariadb", host="web", database="shop", os_user="root", backup="local", method="mariabackup",
    data_directory=DATA, service="mariadb",
)  # fmt: skip
SERVICES = {"mariadb": ServiceAsset(kind="service", host="web", unit=UNIT)}
_NUMBERS = itertools.count(1)
_PAGE, _NONSENSE = 6, b"\xde\xad\xbe\xef" * 4096


@dataclass
class DirectoryWorld:
    """The server, on a host of its own.

    Attributes:
        host: where it runs.
        connection: to it.
        store: under test, in `folder`.
    """

    host: LabHost
    connection: Connection
    store: BackupStore
    folder: Path
    kind: str = "mariabackup"
    repository: str = ""

    @property
    def _table(self) -> Path:
        return self.host.inside(f"{DATA}/shop/orders.ibd")

    def sql(self, text: str) -> str:
        """Run it in the database, and return the rows."""
        return self.host.must(["mariadb", "--no-defaults", "-N", "-r", "shop"], text=text)

    def fill(self) -> None:
        """Make the database."""
        self.host.must(["mariadb", "--no-defaults", "-e", "CREATE DATABASE shop"])
        self.sql("CREATE TABLE orders (id INT PRIMARY KEY, note TEXT);"
                 "INSERT INTO orders SELECT seq, REPEAT(MD5(seq), 4) FROM seq_1_to_2000")  # fmt: skip

    def change(self) -> None:
        """Between two backups."""
        self.sql("UPDATE orders SET note = 'changed' WHERE id <= 7")

    def back_up(self) -> RecoveryPoint:
        """A new point."""
        return back_up_mariabackup(
            self.connection, "site", ASSET, "web", self.store, Secrets(self.folder), quiet
        )

    def damage(self) -> None:
        """A page is spoilt; nothing of earlier restores is left."""
        with self._table.open("rb") as file:
            file.seek(_PAGE * 16384)
            if file.read(len(_NONSENSE)) == _NONSENSE and not self.staged():
                return
        self.host.must(["systemctl", "stop", UNIT])
        for beside in self._beside():
            shutil.rmtree(beside)
        with self._table.open("r+b") as file:
            file.seek(_PAGE * 16384)
            file.write(_NONSENSE)
        self.host.must(["systemctl", "start", UNIT])

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """What the store says of a point."""
        return self.store.manifest(point)

    def prepared(self, point: RecoveryPoint) -> Callable[[], object]:
        """The restore of the data directory, proposed now; each in an incident of its own."""
        action = RestoreCluster(
            id="a01", host="web", asset="site", stage=Stage.RESTORE, rung=Rung.DATABASE, reason="r", undo="u",
            point=point, database="shop", data_directory=DATA, replays=False,
        )  # fmt: skip
        return partial(
            restore_mariabackup.perform, self.connection, ASSET, Secrets(self.folder), action, self.store, SERVICES,
            job_prefix=f"inc-20261101-000000-{next(_NUMBERS):04}-a01-1", token=1, progress=quiet,
        )  # fmt: skip

    def state(self) -> dict[str, tuple[object, ...]]:
        """All rows; where the damage makes them unreadable, the file that holds them."""
        try:
            rows = self.sql("SELECT * FROM orders ORDER BY id")
        except LabError:
            return {"file": (hashlib.sha256(self._table.read_bytes()).hexdigest(),)}
        return {"rows": (hashlib.sha256(rows.encode()).hexdigest(),)}

    def staged(self) -> list[str]:
        """What a refused restore left beside the data directory."""
        return [path.name for path in self._beside()]

    def _beside(self) -> list[Path]:
        return [path for path in self.host.inside(DATA).parent.iterdir() if ".reinstate-" in path.name]


@contextmanager
def directory_world(
    base: Base, session: LabSession, signing: SigningKey, folder: Path
) -> Iterator[DirectoryWorld]:
    """On a host of its own: the whole server is exchanged."""
    with LabHost(base, session, "directory") as host, connect(host) as connection:
        host.must(["systemctl", "start", UNIT])
        yield DirectoryWorld(host, connection, make_directory_store(signing, folder), folder)
