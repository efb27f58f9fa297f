"""The Prefect block of an S3 backup source: what an operator sees and edits in the UI."""

from __future__ import annotations

from typing import Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.backups.s3 import S3Store
from blocks.backups.s3client import open_client
from blocks.backups.s3objects import Resolver
from blocks.keys import SigningKey
from model.backup_sources import S3Source


class S3Backup(Block):
    """Backups in an S3 bucket: AWS, or any server that speaks S3.

    Attributes:
        compatible: on for every server that is not AWS: sends checksum headers only where they are required.
        pull: `auto`: hosts fetch with a presigned URL; `stream`: bytes pass through the orchestrator.
    """

    _block_type_name = "Reinstate S3 backup"
    _block_type_slug = "reinstate-s3-backup"

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = ""
    endpoint: str = Field(default="", description="URL of the server; empty: AWS")
    region: str = "us-east-1"
    access_key: SecretStr
    secret_key: SecretStr
    compatible: bool = True
    pull: Literal["auto", "stream"] = "auto"

    @classmethod
    def from_plan(cls, source: S3Source, secrets: Resolver) -> Self:
        """The block of a plan's source, its secrets resolved."""
        return cls(
            bucket=source.bucket,
            prefix=source.prefix,
            endpoint=source.endpoint,
            region=source.region,
            access_key=SecretStr(secrets.resolve(source.access_key)),
            secret_key=SecretStr(secrets.resolve(source.secret_key)),
            compatible=source.compatible,
            pull=source.pull,
        )

    def store(self, name: str, signing: SigningKey) -> S3Store:
        """The backup store behind this block, under the source's name in the plan."""
        source = S3Source(
            kind="s3",
            bucket=self.bucket,
            prefix=self.prefix,
            endpoint=self.endpoint,
            region=self.region,
            access_key="block:reinstate-s3-backup/access-key",
            secret_key="block:reinstate-s3-backup/secret-key",  # noqa: S106 - a reference
            compatible=self.compatible,
            pull=self.pull,
        )
        client = open_client(
            self.endpoint,
            self.region,
            self.access_key.get_secret_value(),
            self.secret_key.get_secret_value(),
            self.compatible,
        )
        return S3Store(name, source, client, signing)
