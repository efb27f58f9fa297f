"""What the world looks like from outside: the values a plan file needs. Written to `world.json`; holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Argv = tuple[str, ...]


class Facts(BaseModel):
    """Base of all facts: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HostFacts(Facts):
    """How to reach the host, and what proves that it is the right one (G7).

    Attributes:
        root: the host's own directory: its home, its dpkg root, the place of its `etc`, `srv`, `var`.
        host_key: public key line of the SSH server (`ssh-ed25519 AAAA…`).
        client_key: private key that logs in (mode 600).
        known_hosts: a known_hosts file with the host key.
        role_file: marker file on the host that says its role.
        state_dir: where the product may keep its state on the host.
        confined: whether a sandbox keeps all but the demo's folder read-only.
    """

    root: Path
    address: str = "127.0.0.1"
    port: int
    user: str
    host_key: str
    client_key: Path
    known_hosts: Path
    machine_id: str
    machine_id_file: Path
    role: Literal["production", "staging"]
    role_file: Path
    state_dir: Path
    confined: bool


class ServiceFacts(Facts):
    """A service of the host and the commands that drive it (LSB exit codes: status is 0 running, 3 stopped)."""

    name: str
    start: Argv
    stop: Argv
    restart: Argv
    status: Argv
    log: Path


class ShopFacts(Facts):
    """The web shop: a pip-installed application with a configuration file.

    Attributes:
        url: where it answers; `/health` is 200 only when configuration, database, files and packages are sound.
        python: interpreter of the host's environment; `python -m pip` works in it.
        wheelhouse: the wheels it was installed from (`pip install --no-index --find-links`).
        distributions: name to version of what the shop installed.
    """

    url: str
    port: int
    config: Path
    config_dir: Path
    venv: Path
    python: Path
    site_packages: Path
    wheelhouse: Path
    distributions: dict[str, str]
    files: Path
    service: ServiceFacts


class DatabaseFacts(Facts):
    """The shop's PostgreSQL cluster and the superuser role the product logs in with.

    Attributes:
        password_file: the role's password, beside the plan; on the host `~/.pgpass` (mode 600) has it too.
        bin_dir: psql, pg_dump, pg_restore, pg_ctl, pg_checksums, pg_amcheck … ; those that refuse root work as root.
    """

    address: str = "127.0.0.1"
    port: int
    socket_dir: Path
    name: str
    user: str
    password_file: Path
    data_dir: Path
    bin_dir: Path
    service: ServiceFacts


class PackageFacts(Facts):
    """The Debian packages of the host.

    Attributes:
        dpkg: command prefix that works on the host's tree, as root and as an ordinary user.
        store: folder with the .debs; signed like any package store before the first backup.
        packages: name to version of what is installed.
    """

    dpkg: Argv
    root: Path
    store: Path
    packages: dict[str, str]


class S3Facts(Facts):
    """The object store; the keys are in files of mode 600."""

    endpoint: str
    region: str = "us-east-1"
    bucket: str
    access_key_file: Path
    secret_key_file: Path


class Person(Facts):
    """Someone of the demo's emergency organisation, and where the secret of their one-time codes is."""

    key: str
    name: str
    email: str
    roles: tuple[str, ...]
    totp_file: Path


class WorldFacts(Facts):
    """Everything of the world. `packages` is None without dpkg, `s3` None where the S3 server cannot run."""

    format: Literal[1] = 1
    id: str
    folder: Path
    host: HostFacts
    shop: ShopFacts
    database: DatabaseFacts
    packages: PackageFacts | None
    s3: S3Facts | None
    people: tuple[Person, ...]
    backups: Path
