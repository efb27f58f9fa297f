"""The contract of the stores in S3, once more on Ceph's gateway (R-RESP-6, R-PREV-1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import ClientError

from blocks.backups import protection
from blocks.backups.s3client import open_client
from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from tests.engines import test_contract as contract
from tests.engines.conftest import MakeWorld, worlds_of
from tests.engines.test_contract import made, world
from tests.engines.worlds import EngineWorld
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.radosgw import radosgw
from tests.support.s3server import ACCESS_KEY, SECRET_KEY

__all__ = ["made", "world"]
pytestmark = pytest.mark.lab

Case = Callable[[EngineWorld, str], None]
EVERY: tuple[Case, ...] = (contract.test_tree_comes_back_whole_and_only_the_damaged_part_moves,)
OF_TREES: tuple[Case, ...] = (
    contract.test_fetch_brings_a_selection_under_our_names,
    contract.test_supplies_are_proven_on_the_host_before_anything_changes,
    contract.test_snapshot_that_vanished_is_damaged_by_name,
    contract.test_repository_made_again_is_noticed,
    contract.test_snapshots_are_listed_described_and_verified,
)


@pytest.fixture(scope="module")
def engine_s3(lab_session: LabSession) -> Iterator[Callable[[], str]]:
    """Ceph's gateway instead of Swift."""
    with radosgw(lab_session) as endpoint:
        yield lambda: endpoint


@pytest.fixture(scope="module")
def session_make(
    engine_host: LabHost, engine_connection: Connection, engine_s3: Callable[[], str], signing: SigningKey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MakeWorld]:  # fmt: skip
    """Worlds on that gateway."""
    yield from worlds_of(engine_host, engine_connection, engine_s3, signing, tmp_path_factory)


@pytest.mark.parametrize(
    ("kind", "case"),
    [*(("s3", case) for case in EVERY), *(("s3-tree", case) for case in (*EVERY, *OF_TREES))],
    ids=lambda value: value if isinstance(value, str) else value.__name__.removeprefix("test_"),
)
def test_contract_holds_on_ceph(world: EngineWorld, kind: str, case: Case) -> None:
    case(world, kind)


@pytest.mark.parametrize("kind", ["s3", "s3-tree"])
def test_lock_of_the_bucket_is_told_and_keeps_the_point(
    kind: str, session_make: MakeWorld, engine_s3: Callable[[], str]
) -> None:
    """Object Lock: who has the keys cannot remove a version before its time."""
    world = session_make(kind)
    client = open_client(engine_s3(), "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
    bucket = f"locked-{kind}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )  # fmt: skip
    world.source["bucket"] = bucket
    world.store = world.reopened()
    world.fill()
    world.back_up()
    (point,) = world.points
    before = world.state()
    assert protection(world.store, point).startswith("locked (COMPLIANCE) until 20")

    versions = client.list_object_versions(Bucket=bucket)["Versions"]
    for version in versions:
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    (world.live / "large").write_bytes(b"damaged")
    world.restore(world.action(point, "large"))
    assert before == world.state()
