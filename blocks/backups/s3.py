"""Backups in an S3 bucket: AWS, or any server that speaks S3."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

from blocks.backups import multipart, signed
from blocks.backups.s3client import is_missing, open_client, status_of, translated
from blocks.keys import SigningKey
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Manifest, RecoveryPoint
from model.plan import S3Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1 << 20
RESUMES = 3
"""How often a download that broke off goes on from where it was."""

_LOG = logging.getLogger("reinstate.backups")


class Resolver(Protocol):
    """Turns a secret reference into the secret (`blocks.secrets`)."""

    def resolve(self, ref: str) -> str:
        """The secret's value."""
        ...


class S3Store:
    """A BackupStore in a bucket, below a prefix.

    Args:
        name: of the source in the plan.
        source: bucket, prefix, endpoint and manner.
        client: see `s3client.open_client`.
        signing: key that signs and verifies manifests.
    """

    def __init__(self, name: str, source: S3Source, client: S3Client, signing: SigningKey) -> None:
        self.name = name
        self._bucket = source.bucket
        self._prefix = f"{source.prefix.strip('/')}/" if source.prefix.strip("/") else ""
        self._pull = source.pull
        self._client = client
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
        client = open_client(
            source.endpoint,
            source.region,
            secrets.resolve(source.access_key),
            secrets.resolve(source.secret_key),
            source.compatible,
        )
        return cls(name, source, client, signing)

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
        return signed.point_of(manifest, self.name)

    def presign(self, key: str, seconds: int) -> str | None:
        """A URL from which a host can GET the object with ranges; None when the plan says `pull: stream`."""
        if self._pull == "stream":
            return None
        with translated(self._where(key)):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": self._full(key)}, ExpiresIn=seconds
            )

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes; a download that breaks off goes on where it was, of the same version of the object.

        Raises:
            Damaged: the object is missing, shorter than asked for, or was replaced meanwhile.
        """
        done, etag, resumes = 0, "", 0
        while length is None or done < length:
            try:
                with translated(self._where(key)):
                    for chunk, tag in self._get(key, offset + done, length and length - done, etag):
                        etag, done = tag, done + len(chunk)
                        yield chunk
            except Transient:
                resumes += 1
                if resumes > RESUMES or not etag:
                    raise
                continue
            if length is not None and done < length:
                raise Damaged(
                    "the object is shorter than its manifest says.",
                    where=self._where(key),
                    remedy="use another recovery point",
                )
            return

    def _get(self, key: str, offset: int, length: int | None, etag: str) -> Iterator[tuple[bytes, str]]:
        request = {"Bucket": self._bucket, "Key": self._full(key)}
        if offset or length is not None:
            request["Range"] = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        if etag:
            request["IfMatch"] = etag
        try:
            answer = self._client.get_object(**request)  # type: ignore[arg-type] # the stubs want one literal dict
        except ClientError as error:
            if status_of(error) == 412:
                raise Damaged(
                    "the object was replaced while it was read.",
                    where=self._where(key),
                    remedy="find out who writes to the bucket; use another recovery point",
                ) from None
            raise
        with answer["Body"] as body:
            while chunk := body.read(CHUNK):
                yield chunk, answer["ETag"]

    def _exists(self, key: str) -> bool:
        with translated(self._where(key)):
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._full(key))
            except ClientError as error:
                if is_missing(error):
                    return False
                raise
            return True

    def _create(self, key: str, data: bytes) -> bool:
        """Store a new object; False when another writer was first."""
        with translated(self._where(key)):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) in {409, 412}:
                    return False
                if status_of(error) != 501:
                    raise
                self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=data)
            return True

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

    def _manifest(self, key: str) -> Manifest:
        data = bytearray()
        for chunk in self.read(key):
            data += chunk
            if len(data) > signed.MANIFEST_LIMIT:
                raise Damaged(
                    "the manifest is endless.", where=self._where(key), remedy="use another recovery point"
                )
        return signed.unseal(bytes(data), key, self._signing, self._where(key))

    def _full(self, key: str) -> str:
        return self._prefix + signed.check_key(key)

    def _where(self, key: str) -> str:
        return f"{self.name}:{self._bucket}/{self._prefix}{key}"


def _published(where: str) -> PreconditionFailed:
    return PreconditionFailed(
        "this recovery point exists already and is never overwritten.",
        where=where,
        remedy="take a new backup",
    )
