"""Backups in an S3 bucket: AWS, or any server that speaks S3."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from blocks.backups import multipart, signed
from blocks.backups.s3client import protection, translated
from blocks.backups.s3objects import Resolver, S3Objects, client_of
from blocks.keys import SigningKey
from model.backup_sources import S3Source
from model.errors import Damaged, PreconditionFailed
from model.manifest import Manifest, RecoveryPoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOG = logging.getLogger("reinstate.backups")


class S3Store(S3Objects):
    """A BackupStore in a bucket, below a prefix.

    Args:
        name: of the source in the plan.
        source: bucket, prefix, endpoint and manner.
        client: see `s3client.open_client`.
        signing: key that signs and verifies manifests.
    """

    def __init__(self, name: str, source: S3Source, client: S3Client, signing: SigningKey) -> None:
        super().__init__(name, source, client)
        self._signing = signing
        self._known: dict[str, tuple[str, RecoveryPoint]] = {}

    @classmethod
    def from_plan(cls, name: str, source: S3Source, secrets: Resolver, signing: SigningKey) -> S3Store:
        """Open a source of the plan.

        Args:
            name: of the source.
            source: its settings.
            secrets: resolver of the plan's secret references.
            signing: key that signs and verifies manifests.
        """
        return cls(name, source, client_of(source, secrets), signing)

    def points(self, asset: str) -> list[RecoveryPoint]:
        """Recovery points of an asset, newest first; a point that does not verify is logged and left out."""
        found: dict[str, str] = {}
        with translated(self._where(asset)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{signed.check_key(asset)}/"
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    if signed.is_manifest_of(asset, key):
                        found[key] = item.get("ETag", "")
        points = []
        for key in sorted(found, reverse=True):
            point = self._point(key, found[key])
            if point is not None:
                points.append(point)
        return points

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """The verified manifest of a point."""
        key = signed.manifest_key(point.key)
        return signed.same_as_named(self._manifest(key), point, self._where(key))

    def protection(self, point: RecoveryPoint) -> str:
        """How the bucket protects the point's archive; see `s3client.protection`."""
        return protection(self._client, self._bucket, self._full(point.key), self._where(point.key))

    def put(
        self, key: str, chunks: Iterable[bytes], progress: Callable[[int], None] | None = None
    ) -> tuple[str, int]:
        """Store an object from chunks, hashing what is sent; then read it back and compare."""
        where = self._where(key)
        if self._exists(signed.manifest_key(key)):
            raise _published(where)
        hashing = signed.Hashing()

        def passing() -> Iterator[bytes]:
            for chunk in chunks:
                yield hashing.update(chunk)
                if progress is not None:
                    progress(hashing.bytes)

        with translated(where):
            multipart.send(self._client, self._bucket, self._full(key), passing())
        stored = signed.Hashing()
        for chunk in self.read(key):
            stored.update(chunk)
        return signed.read_back(hashing.result, stored.result, where)

    def publish(self, manifest: Manifest) -> RecoveryPoint:
        """Sign and store the manifest; a published point is never overwritten."""
        data = signed.seal(manifest, self._signing)
        key = signed.manifest_key(manifest.object_key)
        if not self._exists(manifest.object_key):
            raise PreconditionFailed(
                "the object of this manifest is not stored.",
                where=self._where(manifest.object_key),
                remedy="take the backup again",
            )
        if self._exists(key) or not self._create(key, data):
            if b"".join(self.read(key)) != data:
                raise _published(self._where(key))
        elif b"".join(self.read(key)) != data:
            raise Damaged(
                "the manifest was not stored as sent.", where=self._where(key), remedy="look at the store"
            )
        return signed.published(manifest, self.name)

    def _point(self, key: str, etag: str) -> RecoveryPoint | None:
        known = self._known.get(key)
        if known is not None and etag and known[0] == etag:
            return known[1]
        try:
            point = signed.point_of(self._manifest(key), self.name)
        except Damaged as error:
            _LOG.warning("Recovery point left out: %s", error)
            return None
        self._known[key] = (etag, point)
        return point

    def _manifest(self, key: str) -> signed.Opened:
        data = bytearray()
        for chunk in self.read(key):
            data += chunk
            if len(data) > signed.MANIFEST_LIMIT:
                raise Damaged(
                    "the manifest is endless.", where=self._where(key), remedy="use another recovery point"
                )
        return signed.unseal(bytes(data), key, self._signing, self._where(key))


def _published(where: str) -> PreconditionFailed:
    return PreconditionFailed(
        "this recovery point exists already and is never overwritten.",
        where=where,
        remedy="take a new backup",
    )
