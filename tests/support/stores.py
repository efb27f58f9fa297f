"""Fixtures shared by the tests of backups and restores: a signing key, backup stores, an S3 server per session."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.backups import open_backup_store
from blocks.backups.base import BackupStore
from blocks.backups.s3client import open_client
from blocks.keys import SigningKey
from model.backup_sources import DirectorySource, S3Source
from model.manifest import Manifest, RecoveryPoint
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, start_s3

_NUMBERS = itertools.count(1)


class FixedSecrets:
    """Resolves the references of the tests' plans."""

    def resolve(self, ref: str) -> str:
        return {"env:S3_ACCESS": ACCESS_KEY, "env:S3_SECRET": SECRET_KEY}.get(ref, "canary-pässword 'x'")


@pytest.fixture(scope="session")
def signing(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.load_or_create(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the S3 server of the tests (Swift) needs Linux")
    server = start_s3(tmp_path_factory.mktemp("s3"))
    open_client(server.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True).create_bucket(
        Bucket="backups"
    )
    yield server.endpoint
    server.stop()


def s3_source(endpoint: str, bucket: str = "backups", pull: str = "auto") -> S3Source:
    return S3Source.model_validate(
        {
            "kind": "s3",
            "bucket": bucket,
            "prefix": f"t{next(_NUMBERS)}",
            "endpoint": endpoint,
            "access_key": "env:S3_ACCESS",
            "secret_key": "env:S3_SECRET",
            "pull": pull,
        }
    )


def make_s3_store(endpoint: str, signing: SigningKey, base: Path, pull: str = "auto") -> BackupStore:
    """A store in a fresh prefix of the session's server."""
    source = s3_source(endpoint, pull=pull)
    return open_backup_store("offsite", source, FixedSecrets(), signing, base)


def make_directory_store(signing: SigningKey, base: Path) -> BackupStore:
    return open_backup_store(
        "local", DirectorySource(kind="directory", path="store"), FixedSecrets(), signing, base
    )


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, signing: SigningKey, tmp_path: Path) -> BackupStore:
    """Each kind of store, fresh."""
    if request.param == "directory":
        return make_directory_store(signing, tmp_path)
    return make_s3_store(request.getfixturevalue("s3_endpoint"), signing, tmp_path)


def overwrite(store: BackupStore, key: str, data: bytes | None) -> None:
    """Change or delete (None) a stored object behind the store's back."""
    from blocks.backups.directory import DirectoryBackup
    from blocks.backups.s3 import S3Store

    if isinstance(store, DirectoryBackup):
        path = store.root / key
        path.unlink() if data is None else path.write_bytes(data)
        return
    assert isinstance(store, S3Store)
    full = store._full(key)
    if data is None:
        store._client.delete_object(Bucket=store._bucket, Key=full)
    else:
        store._client.put_object(Bucket=store._bucket, Key=full, Body=data)


def stored(store: BackupStore, key: str) -> bytes:
    """An object's bytes."""
    return b"".join(store.read(key))


def publish_altered(store: BackupStore, manifest: Manifest, data: bytes, **changes: object) -> RecoveryPoint:
    """A later recovery point with other bytes, and a manifest that says so and whatever else is given."""
    later = manifest.taken_at + timedelta(seconds=next(_NUMBERS))
    name = f"{later:%Y%m%dT%H%M%SZ}"
    key = f"db/{name}/dump"
    sha256, count = store.put(key, [data])
    update = {
        "object_key": key, "object_sha256": sha256, "object_bytes": count, "point": name, "taken_at": later,
    }  # fmt: skip
    return store.publish(manifest.model_copy(update={**update, **changes}))
