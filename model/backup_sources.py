"""Where backups lie, as the plan says it: stores of our own archives, and repositories of the tools people have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model.assets import HostPath, Name, Seconds, SecretRef
from model.canonical import Value


class S3Source(Value):
    """Backups in an S3 bucket. `compatible` sends no checksum headers that only AWS understands."""

    kind: Literal["s3"]
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._/-]*$")
    endpoint: str = Field(default="", pattern=r"^$|^https?://")
    region: str = "us-east-1"
    access_key: SecretRef
    secret_key: SecretRef
    compatible: bool = True
    pull: Literal["auto", "stream"] = "auto"


class DirectorySource(Value):
    """Backups in a directory of the orchestrator (an NFS mount, a test bed). A relative path is beside the plan."""

    kind: Literal["directory"]
    path: str = Field(min_length=1)


class EngineSource(Value):
    """What all repositories of backup tools have: the tool runs on the host, our manifests are kept apart from it.

    Attributes:
        manifests: source of kind `s3` or `directory` that keeps our signed manifests; default: this installation.
    """

    manifests: Name | None = None


class ResticSource(EngineSource):
    """A restic repository, as its host reaches it.

    Attributes:
        repository: as restic's `--repo` takes it: a path on the host, `s3:https://…`, `rest:https://…`, `sftp:…`.
        password: of the repository.
        access_key: for a repository in S3.
        secret_key: for a repository in S3.
        ca_file: on the host, the authority that signed the repository's certificate.
    """

    kind: Literal["restic"]
    repository: str = Field(pattern=r"^[A-Za-z0-9/][^\x00\n]*$")
    password: SecretRef
    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None
    ca_file: HostPath | None = None


class BorgSource(EngineSource):
    """A borg repository, as its host reaches it: a path, or `ssh://…`.

    Attributes:
        passphrase: of the repository's key; none for a repository without encryption.
    """

    kind: Literal["borg"]
    repository: str = Field(pattern=r"^(/|ssh://)[^\x00\n]+$")
    passphrase: SecretRef | None = None


class TreeSource(EngineSource):
    """Plain trees in a folder of the host (a mounted share), one folder per recovery point, as rsync makes them."""

    kind: Literal["tree"]
    path: HostPath


class S3TreeSource(EngineSource, S3Source):
    """Files as single objects of a versioned S3 bucket, as `aws s3 sync` makes them; older versions are kept."""

    kind: Literal["s3-tree"]  # type: ignore[assignment]


class PgBackRestSource(EngineSource):
    """A pgBackRest stanza, configured on the host.

    Attributes:
        stanza: its name.
        config: pgBackRest's own configuration file.
        full_every: age of the newest full backup at which the next one is full again; between them they are
            incremental.
    """

    kind: Literal["pgbackrest"]
    stanza: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$")
    config: HostPath = "/etc/pgbackrest.conf"
    full_every: Seconds = 7 * 86400.0


ToolSource = ResticSource | BorgSource | TreeSource | S3TreeSource | PgBackRestSource

BackupSource = Annotated[
    S3Source | DirectorySource | ResticSource | BorgSource | TreeSource | S3TreeSource | PgBackRestSource,
    Field(discriminator="kind"),
]
