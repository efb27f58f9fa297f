"""What every backup store promises, run against each: a directory, and a real S3 server."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.keys import SigningKey
from model.canonical import canonical_json, digest, now
from model.errors import BadInput, Damaged, PreconditionFailed, Transient
from model.manifest import Manifest, RecoveryPoint
from tests.support.stores import overwrite, stored

DATA = os.urandom(3 << 20)


def make_manifest(
    point: str = "20261101T120000Z", data: bytes = DATA, asset: str = "site", machine_id: str = "a" * 32
) -> Manifest:
    return Manifest(
        asset=asset, point=point, format="tar", host="web", machine_id=machine_id, root="/srv", taken_at=now(),
        object_key=f"{asset}/{point}/archive.tar", object_sha256=hashlib.sha256(data).hexdigest(),
        object_bytes=len(data),
    )  # fmt: skip


def published(store: BackupStore, point: str = "20261101T120000Z") -> RecoveryPoint:
    manifest = make_manifest(point)
    store.put(manifest.object_key, [DATA])
    return store.publish(manifest)


def test_put_then_read_gives_the_same_bytes_and_hash(store: BackupStore) -> None:
    told: list[int] = []
    chunks = [DATA[n : n + 300_000] for n in range(0, len(DATA), 300_000)]
    assert (hashlib.sha256(DATA).hexdigest(), len(DATA)) == store.put(
        "site/20261101T120000Z/archive.tar", chunks, told.append
    )
    assert DATA == stored(store, "site/20261101T120000Z/archive.tar")
    assert told[-1] == len(DATA)


@pytest.mark.parametrize("size", [0, 1, 16 << 20, (16 << 20) + 1, (40 << 20) + 7])
def test_put_streams_any_size(store: BackupStore, size: int) -> None:
    data = os.urandom(min(size, 1 << 20))
    chunks = [data] * (size >> 20) + [data[: size & 0xFFFFF]] if size else []
    hashed, count = store.put("site/20261101T120000Z/dump", chunks)
    assert (size, hashlib.sha256(b"".join(chunks)).hexdigest()) == (count, hashed)
    assert size == sum(map(len, store.read("site/20261101T120000Z/dump")))


@pytest.mark.parametrize("length", [1, 70_000, 1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("offset", [0, 1, 1_000_000])
def test_read_of_a_range_gives_that_range(store: BackupStore, offset: int, length: int) -> None:
    published(store)
    chunks = list(store.read("site/20261101T120000Z/archive.tar", offset, length))
    assert DATA[offset : offset + length] == b"".join(chunks)
    assert max(map(len, chunks)) <= 1 << 20


def test_read_beyond_the_end_is_damaged_and_names_the_object(store: BackupStore) -> None:
    published(store)
    for offset in (len(DATA) - 5, len(DATA) + 5):
        with pytest.raises(Damaged, match=r"archive.tar.*shorter"):
            list(store.read("site/20261101T120000Z/archive.tar", offset, 10))


def test_read_of_a_missing_object_is_damaged_and_names_it(store: BackupStore) -> None:
    with pytest.raises(Damaged, match=r"gone/dump.*missing"):
        list(store.read("site/gone/dump"))


def test_put_whose_source_fails_leaves_nothing(store: BackupStore) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(40 << 20)
        raise Transient("the line broke.")

    with pytest.raises(Transient, match="the line broke"):
        store.put("site/20261101T120000Z/archive.tar", failing())
    with pytest.raises(Damaged):
        list(store.read("site/20261101T120000Z/archive.tar"))


def test_points_are_listed_newest_first_and_only_of_the_asset(store: BackupStore) -> None:
    old, new = published(store, "20261101T120000Z"), published(store, "20261102T120000Z")
    assert [new, old] == store.points("site")
    assert [new, old] == store.points("site")
    assert [] == store.points("sit")


def test_manifest_of_a_point_verifies(store: BackupStore) -> None:
    point = published(store)
    assert point.manifest_sha256 == digest(store.manifest(point))


def test_publish_without_its_object_is_refused(store: BackupStore) -> None:
    with pytest.raises(PreconditionFailed, match="not stored"):
        store.publish(make_manifest())


def test_publish_twice_of_the_same_is_fine_of_another_refused(store: BackupStore) -> None:
    manifest = make_manifest()
    store.put(manifest.object_key, [DATA])
    assert store.publish(manifest) == store.publish(manifest)
    with pytest.raises(PreconditionFailed, match="never overwritten"):
        store.publish(manifest.model_copy(update={"host": "other"}))
    with pytest.raises(PreconditionFailed, match="never overwritten"):
        store.put(manifest.object_key, [b"x"])


def test_flipped_bit_anywhere_in_a_manifest_is_found(
    store: BackupStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Backups are hostile input: damage at any place of the manifest (guarantees, bars)."""
    point = published(store)
    key = "site/20261101T120000Z/manifest.json"
    good = stored(store, key)
    for offset in range(0, len(good), max(1, len(good) // 25)):
        bad = bytearray(good)
        bad[offset] ^= 1
        overwrite(store, key, bytes(bad))
        with pytest.raises(Damaged, match=r"manifest\.json"):
            store.manifest(point)
    with caplog.at_level(logging.WARNING):
        assert [] == store.points("site")
    assert "left out" in caplog.text
    overwrite(store, key, good)
    assert [point] == store.points("site")


@pytest.mark.parametrize("what", ["truncated", "empty", "deleted"])
def test_broken_manifest_is_found(store: BackupStore, what: str) -> None:
    point = published(store)
    key = "site/20261101T120000Z/manifest.json"
    good = stored(store, key)
    overwrite(store, key, {"truncated": good[:-20], "empty": b"", "deleted": None}[what])
    with pytest.raises(Damaged, match=r"manifest\.json"):
        store.manifest(point)
    assert [] == store.points("site")


def test_manifest_of_another_place_or_key_is_found(store: BackupStore, tmp_path: Path) -> None:
    old, new = published(store, "20261101T120000Z"), published(store, "20261102T120000Z")
    overwrite(
        store, "site/20261102T120000Z/manifest.json", stored(store, "site/20261101T120000Z/manifest.json")
    )
    with pytest.raises(Damaged, match="another place"):
        store.manifest(new)
    assert [old] == store.points("site")
    stranger = SigningKey.load_or_create(tmp_path / "stranger")
    from blocks.backups import signed

    overwrite(
        store, "site/20261102T120000Z/manifest.json", signed.seal(make_manifest("20261102T120000Z"), stranger)
    )
    with pytest.raises(Damaged, match="signature"):
        store.manifest(new)


def test_manifest_replaced_by_another_genuine_one_is_not_what_was_signed_off(store: BackupStore) -> None:
    """G6: the point in the proposal names the manifest's hash."""
    point = published(store)
    with pytest.raises(Damaged, match="replaced"):
        store.manifest(point.model_copy(update={"manifest_sha256": "0" * 64}))


@pytest.mark.parametrize("key", ["../x", "/etc/x", "site//x", "site/../../x", "-x/y", "site/a b", ""])
def test_key_that_leaves_the_store_is_refused(store: BackupStore, key: str) -> None:
    with pytest.raises(BadInput):
        store.put(key, [b"x"])


def test_presigned_url_serves_ranges_to_curl(store: BackupStore) -> None:
    published(store)
    url = store.presign("site/20261101T120000Z/archive.tar", 60)
    if url is None:
        assert store.name == "local"
        return
    done = subprocess.run(["curl", "-sf", "-r", "100-299", url], capture_output=True, check=True)
    assert DATA[100:300] == done.stdout


def test_canonical_form_only(store: BackupStore) -> None:
    point = published(store)
    key = "site/20261101T120000Z/manifest.json"
    overwrite(store, key, stored(store, key) + b"\n")
    with pytest.raises(Damaged, match="form we write"):
        store.manifest(point)
    assert canonical_json(point) != b""
