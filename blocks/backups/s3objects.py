"""Objects of an S3 bucket below a prefix: reading with resumption, presigned URLs, creation that never overwrites."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

from blocks.backups import signed
from blocks.backups.s3client import is_missing, open_client, status_of, translated
from model.backup_sources import S3Source
from model.errors import Damaged, Transient

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1 << 20
RESUMES = 3
"""How often a download that broke off goes on from where it was."""


class Resolver(Protocol):
    """Turns a secret reference into the secret (`blocks.secrets`)."""

    def resolve(self, ref: str) -> str:
        """The secret's value."""
        ...


def client_of(source: S3Source, secrets: Resolver) -> S3Client:
    """A client with the keys of a source of the plan."""
    return open_client(
        source.endpoint,
        source.region,
        secrets.resolve(source.access_key),
        secrets.resolve(source.secret_key),
        source.compatible,
    )


class S3Objects:
    """Objects below the prefix of a source.

    Args:
        name: of the source in the plan.
        source: bucket, prefix, endpoint and manner.
        client: see `client_of`.
    """

    def __init__(self, name: str, source: S3Source, client: S3Client) -> None:
        self.name = name
        self._bucket = source.bucket
        self._prefix = f"{source.prefix.strip('/')}/" if source.prefix.strip("/") else ""
        self._pull = source.pull
        self._client = client

    def check_key(self, key: str) -> str:
        """The key, when it stays below the prefix.

        Raises:
            BadInput: it does not, or has odd characters.
        """
        return signed.check_key(key)

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

    def _full(self, key: str) -> str:
        return self._prefix + self.check_key(key)

    def _where(self, key: str) -> str:
        return f"{self.name}:{self._bucket}/{self._prefix}{key}"
