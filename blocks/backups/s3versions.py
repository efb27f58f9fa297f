"""A versioned bucket as a tree of files: which versions there are, our indexes of them, and the bucket's own id."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import ValidationError

from blocks.backups.engine import Snapshot
from blocks.backups.s3client import is_missing, status_of, translated
from blocks.backups.s3objects import CHUNK, Resolver, client_of
from model.backup_sources import S3TreeSource
from model.canonical import HostText, Value, canonical_json
from model.command import printable
from model.errors import Damaged, PreconditionFailed
from model.manifest import Manifest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OURS = ".reinstate/"
"""Below the prefix: our indexes, and the repository's own id."""
REMEDY = "use another recovery point; keep this one for the investigation"
_INDEX = re.compile(rf"{re.escape(OURS)}([0-9a-f]{{64}})\.json")


class Kept(Value):
    """A file of an index: the version that holds it."""

    path: HostText
    version: str
    size: int
    sha256: str


class Index(Value):
    """What a point of ours is made of."""

    asset: str
    point: str
    root: HostText
    files: tuple[Kept, ...]


class VersionedBucket:
    """A versioned bucket below a prefix.

    Args:
        name: of the source in the plan.
        source: its settings.
        secrets: resolver of the plan's secret references; followed at the first call.
    """

    def __init__(self, name: str, source: S3TreeSource, secrets: Resolver) -> None:
        self.name = name
        self.bucket = source.bucket
        self.prefix = f"{source.prefix.strip('/')}/" if source.prefix.strip("/") else ""
        self._source = source
        self._secrets = secrets
        self._opened: S3Client | None = None

    @property
    def client(self) -> S3Client:
        """The client, opened when it is first needed."""
        if self._opened is None:
            self._opened = client_of(self._source, self._secrets)
        return self._opened

    def where(self, path: str = "") -> str:
        """An object, for people."""
        return f"{self.name}:{self.bucket}/{self.prefix}{printable(path)}"

    def put_index(self, index: Index) -> str:
        """Store an index and return its id, the hash of what was stored."""
        data = canonical_json(index)
        ident = hashlib.sha256(data).hexdigest()
        with translated(self.where(ident)):
            self.client.put_object(Bucket=self.bucket, Key=self.index_key(ident), Body=data)
        return ident

    def snapshots(self) -> list[Snapshot]:
        """Our indexes, and the moment of the last change; newest first."""
        found: list[Snapshot] = []
        changes: list[datetime] = []
        with translated(self.where()):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key, when = item["Key"].removeprefix(self.prefix), item["LastModified"]
                    if ours := _INDEX.fullmatch(key):
                        found.append(Snapshot(id=ours[1], taken_at=when))
                    elif not key.startswith(OURS):
                        changes.append(when)
        if changes:
            last = max(changes)
            found.append(Snapshot(id=f"at-{last.astimezone(UTC):%Y%m%dT%H%M%SZ}", taken_at=last))
        return sorted(found, key=lambda one: one.taken_at, reverse=True)

    def index(self, manifest: Manifest) -> Index:
        """The index of a point.

        Raises:
            Damaged: it is gone or altered, or the bucket is another.
        """
        key, where = self.index_key(manifest.snapshot), self.where(f"{OURS}{manifest.snapshot[:8]}")
        with translated(where):
            try:
                data = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if not is_missing(error):
                    raise
                data = b""
        if not data:
            if manifest.repository and self.identity() != manifest.repository:
                raise Damaged(
                    "another bucket stands where this one was: it was replaced or made again.", where,
                    "find out who did that; use another backup source",
                )  # fmt: skip
            raise Damaged("the recovery point's index is gone from the bucket.", where, REMEDY)
        if hashlib.sha256(data).hexdigest() != manifest.snapshot:
            raise Damaged("the recovery point's index was altered.", where, REMEDY)
        return _parsed(data, where)

    def newest_index(self, root: str) -> tuple[Kept, ...]:
        """The files of the newest point.

        Raises:
            PreconditionFailed: they are those of another folder.
        """
        for key in self._indexes():
            where = self.where(key)
            with translated(where):
                data = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
            if f"{OURS}{hashlib.sha256(data).hexdigest()}.json" != key:
                continue
            index = _parsed(data, where)
            if index.root != root:
                raise PreconditionFailed(
                    f"this source holds {printable(index.root)} already.", self.where(),
                    "give each file set its own `prefix`",
                )  # fmt: skip
            return index.files
        return ()

    def _indexes(self) -> list[str]:
        """Keys of our indexes below the prefix, newest first."""
        found = []
        with translated(self.where()):
            for page in self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + OURS
            ):
                found += [
                    (item["LastModified"], item["Key"])
                    for item in page.get("Contents", ())
                    if item["Key"].endswith(".json")
                ]
        return [key.removeprefix(self.prefix) for _, key in sorted(found, reverse=True)]

    def current(self, until: datetime | None = None) -> dict[str, tuple[str, int]]:
        """Path → version and size of what is there, now or at a moment."""
        newest: dict[str, tuple[datetime, bool, str, int]] = {}
        limit = until + timedelta(seconds=1) if until else None
        with translated(self.where()):
            for page in self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self.prefix
            ):
                for one in page.get("Versions", ()):
                    if limit is None and one.get("IsLatest"):
                        newest[one["Key"]] = (one["LastModified"], True, one["VersionId"], one["Size"])
                    elif limit and one["LastModified"] < limit:
                        known = newest.get(one["Key"])
                        if known is None or one["LastModified"] > known[0]:
                            newest[one["Key"]] = (one["LastModified"], True, one["VersionId"], one["Size"])
                for gone in page.get("DeleteMarkers", ()):
                    known = newest.get(gone["Key"])
                    if (
                        limit
                        and gone["LastModified"] < limit
                        and (known is None or gone["LastModified"] >= known[0])
                    ):
                        newest[gone["Key"]] = (gone["LastModified"], False, "", 0)
        return {
            key.removeprefix(self.prefix): (version, size)
            for key, (_, there, version, size) in newest.items()
            if there and not key.startswith(self.prefix + OURS)
        }

    def read(self, path: str, version: str) -> Iterator[bytes]:
        """A version's bytes."""
        with translated(f"{self.where(path)}@{version}"):
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + path, VersionId=version)[
                "Body"
            ]
            with body:
                while chunk := body.read(CHUNK):
                    yield chunk

    def require_versions(self) -> None:
        """Require that older versions are kept.

        Raises:
            PreconditionFailed: they are not.
        """
        with translated(self.where()):
            status = self.client.get_bucket_versioning(Bucket=self.bucket).get("Status", "")
        if status != "Enabled":
            raise PreconditionFailed(
                "this bucket keeps no older versions.", self.where(), "switch versioning on for the bucket"
            )

    def identity(self) -> str:
        """What our object in the bucket says; of a bucket without one, its name."""
        with translated(self.where()):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}{OURS}repository")
                return answer["Body"].read(64).decode("ascii", "replace").strip()
            except ClientError as error:
                if is_missing(error):
                    return f"bucket-{self.bucket}"
                raise

    def identify(self) -> None:
        """Give the bucket its id, once."""
        if not self.identity().startswith("bucket-"):
            return
        key, data = f"{self.prefix}{OURS}repository", secrets.token_hex(16).encode()
        with translated(self.where()):
            try:
                self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) not in {409, 412}:
                    raise

    def index_key(self, snapshot: str) -> str:
        """Where the index of a point of ours is."""
        return f"{self.prefix}{OURS}{snapshot}.json"


def _parsed(data: bytes, where: str) -> Index:
    try:
        return Index.model_validate_json(data)
    except ValidationError:
        raise Damaged("the recovery point's index cannot be read.", where, REMEDY) from None
