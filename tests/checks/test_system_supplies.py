"""What the state of a host can be brought back from: what apt still has, and what a backup really holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta

import pytest

from checks.disks import mounts
from checks.system_supplies import _mount_of, _pooled, _valid_until
from model.assets import FilesAsset
from model.canonical import now
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from model.supplies import PointSupply
from tests.checks.system_data import NOW, facts
from tests.checks.test_system_disks import MOUNTS
from tests.checks.test_system_units import certificate, pem

HASH = "0" * 64
SSL = FilesAsset(kind="files", host="web-1", path="/etc/ssl", role="configuration", backup="tree")


class Shelf:
    """A store with one object."""

    name = "tree"

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        assert "k" == key
        yield self.content[offset : None if length is None else offset + length]


def held(content: bytes, sha256: str = "") -> PointSupply:
    entry = Entry(
        path="shop.pem", type=FileType.FILE, size=len(content), offset=0,
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    point = RecoveryPoint(
        id="20250101T000000Z", asset="ssl", source="tree", taken_at=NOW, key="k", sha256=HASH, bytes=1,
        manifest_sha256=HASH,
    )  # fmt: skip
    manifest = Manifest(
        asset="ssl", point=point.id, format="tar", host="web-1", machine_id="0" * 32, root="/etc/ssl", taken_at=NOW,
        object_key="k", object_sha256=HASH, object_bytes=1, entries=(entry,),
    )  # fmt: skip
    return PointSupply(asset="ssl", point=point, manifest=manifest)


def ends(content: bytes, sha256: str = "", path: str = "/etc/ssl/shop.pem") -> str:
    return _valid_until(Shelf(content), held(content, sha256), SSL, path)  # type: ignore[arg-type]  # it reads only


def test_only_a_valid_certificate_of_a_backup_is_a_supply() -> None:
    """R-RESP-4: an older one would be restored in vain."""
    since = now() - NOW
    day = timedelta(days=1)
    valid = pem(certificate(since - day, since + 30 * day)).encode()
    assert f"{now() + 30 * day:%Y-%m-%d}" == ends(valid)
    assert "" == ends(pem(certificate(since - 9 * day, since - day)).encode())
    assert "" == ends(pem(certificate(since + day, since + 9 * day)).encode())
    assert "" == ends(b"no certificate")
    assert "" == ends(valid, path="/etc/ssl/other.pem")
    assert "" == ends(valid, sha256="1" * 64), "bytes that are not those of the manifest are none"


@pytest.mark.parametrize(
    ("cached", "pool"),
    [
        ("a_1.0-1_amd64.deb", "a_1.0-1_amd64.deb"),
        ("a_1%3a2.0_all.deb", "a_2.0_all.deb"),
        ("a_2.0%3a1_all.deb", "a_2.0%3a1_all.deb"),
    ],
)
def test_cached_package_is_looked_for_under_its_name_in_the_pool(cached: str, pool: str) -> None:
    assert pool == _pooled(cached)


def test_file_belongs_to_the_innermost_mount() -> None:
    mounted = {mount.place: mount for mount in mounts(facts({"mounts": MOUNTS}))}
    assert "/srv/my data" == _mount_of("/srv/my data/x", mounted)
    assert "/" == _mount_of("/srv/my datax", mounted)
