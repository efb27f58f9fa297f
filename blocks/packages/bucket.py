"""The files of a package store in an S3 bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blocks.backups import multipart
from blocks.backups.s3client import translated
from blocks.backups.s3objects import Resolver, S3Objects, client_of
from blocks.packages.objects import MISSING, checked
from model.errors import Damaged
from model.plan import S3Packages


class BucketObjects(S3Objects):
    """Files below a prefix of a bucket."""

    @classmethod
    def from_plan(cls, name: str, source: S3Packages, secrets: Resolver) -> BucketObjects:
        """Open a store of the plan; nothing is contacted yet."""
        return cls(name, source, client_of(source, secrets))

    def check_key(self, key: str) -> str:
        """The name, when it stays inside the store."""
        return checked(key, self.name)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A file's bytes."""
        try:
            yield from super().read(key, offset, length)
        except Damaged as error:
            raise Damaged(error.what.replace("object", "package file"), error.where, MISSING) from None

    def exists(self, filename: str) -> bool:
        """Whether there is such a file."""
        return self._exists(filename)

    def put(self, filename: str, chunks: Iterable[bytes]) -> None:
        """Store a file."""
        with translated(self._where(filename)):
            multipart.send(self._client, self._bucket, self._full(filename), iter(chunks))

    def where(self, filename: str = "") -> str:
        """The file, for people."""
        return self._where(filename)
