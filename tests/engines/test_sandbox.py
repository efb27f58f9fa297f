"""Sandboxes elsewhere: a cluster beside its live one, and data restored on another host than the one they are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.assets import Asset
from model.errors import Damaged, Refused
from model.manifest import RecoveryPoint
from tasks.sandbox import sandboxed
from tests.engines.clusters import ASSET, cluster_world
from tests.engines.conftest import MakeWorld
from tests.engines.databases import PostgresWorld
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.ledger import DATA
from tests.lab.network import LabSession
from tests.lab.servers import psql
from tests.support.datahost import connect
from tests.tasks.localhost import fingerprint, quiet

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def elsewhere(data_base: Base, lab_session: LabSession) -> Iterator[LabHost]:
    """A staging host with a database server of its own."""
    with LabHost(data_base, lab_session, "sandbox") as host:
        host.must(["systemctl", "start", "postgresql@15-main.service"])
        yield host


def try_there(
    host: LabHost, asset: Asset, store: BackupStore, point: RecoveryPoint, secrets: Secrets, machine: str
) -> bool:  # fmt: skip
    """Restore, check, spoil, check again; whether the damage was seen."""
    with connect(host) as connection, sandboxed(
        connection, point.asset, asset, store, point, secrets, machine, quiet
    ) as copy:  # fmt: skip
        copy.require()
        assert copy.spoil is not None
        copy.spoil()
        try:
            copy.require()
        except Damaged:
            return True
        return False


def remains(host: LabHost) -> list[str]:
    """What a sandbox left."""
    left = psql(host, "SELECT datname FROM pg_database WHERE datname LIKE 'shop%'", "postgres").split()
    for folder in ("staging", "sandbox"):
        place = host.inside(f"/var/lib/reinstate/{folder}")
        left += [path.name for path in place.iterdir()] if place.exists() else []
    return left


def test_files_and_a_database_are_proven_on_another_host(
    elsewhere: LabHost, engine_host: LabHost, engine_connection: Connection, session_make: MakeWorld,
    signing: SigningKey, tmp_path: Path,
) -> None:  # fmt: skip
    """R-USE-5: a segregated sandbox; a backup of another machine than the asset's own is refused there, too."""
    world, secrets = session_make("s3"), Secrets(tmp_path)
    world.fill()
    point, before = world.back_up(), fingerprint(world.live)
    assert try_there(elsewhere, world.asset, world.store, point, secrets, engine_host.machine_id)
    assert before == fingerprint(world.live)
    with pytest.raises(Refused, match="taken from machine"):
        try_there(elsewhere, world.asset, world.store, point, secrets, elsewhere.machine_id)
    shop = PostgresWorld(engine_host, engine_connection, signing, tmp_path)
    shop.fill()
    assert try_there(elsewhere, shop.asset, shop.store, shop.back_up(), secrets, engine_host.machine_id)
    assert [] == remains(elsewhere)
    assert {shop.name} == shop.names()


def test_cluster_is_proven_beside_the_live_one(
    data_base: Base, lab_session: LabSession, signing: SigningKey, tmp_path: Path
) -> None:
    """The set itself is restored and read to its last row, while the live cluster serves and is not touched."""
    with cluster_world(data_base, lab_session, signing, tmp_path) as world:
        world.fill()
        point = world.back_up()
        world.change()
        before = world.state()
        args = (
            world.connection,
            "site",
            ASSET,
            world.store,
            point,
            Secrets(tmp_path),
            world.host.machine_id,
            quiet,
        )
        with sandboxed(*args) as copy:
            assert ["main"] != [path.name for path in world.host.inside(DATA).parent.iterdir()]
            copy.require()
            assert copy.spoil is None
        assert before == world.state()
        assert ["main"] == [path.name for path in world.host.inside(DATA).parent.iterdir()]
        bundle = next(
            world.host.inside(world.repository).glob(
                f"backup/ledger/{world.manifest(point).snapshot}/bundle/*"
            )
        )
        bundle.write_bytes(bundle.read_bytes()[:100])
        with pytest.raises(Damaged), sandboxed(*args) as copy:
            copy.require()
        assert before == world.state()
        assert ["main"] == [path.name for path in world.host.inside(DATA).parent.iterdir()]
