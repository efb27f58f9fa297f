"""The stores under test: each with a tree on the laboratory's host, and a way to its repository behind its back."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from blocks.backups import open_backup_store, open_backup_stores
from blocks.backups.base import BackupStore
from blocks.backups.engine import EngineStore, FileEngine
from blocks.backups.s3client import open_client
from blocks.hosts.base import Connection
from blocks.keys import SigningKey
from model.assets import FilesAsset
from model.backup_sources import BackupSource, DirectorySource, S3Source
from model.manifest import Manifest, RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreFiles, Rung
from tasks import restore_files
from tasks.backup_files import back_up_files
from tasks.performed import Performed
from tests.lab.host import LabHost
from tests.support.s3server import ACCESS_KEY, SECRET_KEY
from tests.tasks.localhost import fingerprint, quiet

PASSWORD = "canary-pässword 'x' $(id) \\ \"q"
ENGINES = ("restic", "borg", "tree", "s3-tree")
ARCHIVES = ("directory", "s3")
STORES = (*ARCHIVES, *ENGINES)
Plain = Annotated[S3Source | DirectorySource, Field(discriminator="kind")]
_NUMBERS = itertools.count(1)

ODD_NAMES = (
    "-rf", "a b ", " lead", "back\\slash", "quote'\"", "ünï", "st*r", "q?", "br[a]c", "{b}", "$(id)", ".hidden",
    "#hash", "%41", "!not", "~", ";x", "x" * 200,
)  # fmt: skip
WILD_NAMES = (b"line\nbreak", b"tab\there", b"not-utf8-\xff", b"not-utf8-\xfe")
"""Names no object of S3 can have."""


class Secrets:
    """Resolves the references of the tests' sources; `password` may be changed."""

    def __init__(self) -> None:
        self.password = PASSWORD

    def resolve(self, ref: str) -> str:
        return {"env:S3_ACCESS": ACCESS_KEY, "env:S3_SECRET": SECRET_KEY}.get(ref, self.password)


@dataclass
class EngineWorld:
    """A store of one kind with a tree to back up.

    Attributes:
        kind: of the store.
        host: the laboratory's host.
        connection: to it.
        store: under test.
        root: of the tree, as the host knows it.
        repository: of the tool on the host; empty where there is none.
        source: as in a plan.
        restored: how the jobs of its restores are called.
    """

    kind: str
    host: LabHost
    connection: Connection
    store: BackupStore
    root: str
    repository: str
    source: dict[str, Any]
    secrets: Secrets
    signing: SigningKey
    folder: Path
    points: list[RecoveryPoint] = field(default_factory=list)
    restored: set[str] = field(default_factory=set)

    @property
    def live(self) -> Path:
        """The tree, from outside."""
        return self.host.inside(self.root)

    @property
    def asset(self) -> FilesAsset:
        return FilesAsset(kind="files", host="web", path=self.root, backup="kept", exclude=("cache", "*.tmp"))

    @property
    def engine(self) -> FileEngine:
        assert isinstance(self.store, EngineStore)
        return self.store.engine

    def fill(self, *, wild: bool = True) -> None:
        """A tree with every kind of trouble a real one has."""
        root = self.live
        (root / "deep" / "er").mkdir(parents=True)
        for name in ODD_NAMES:
            (root / "deep" / name).write_bytes(os.urandom(700) + name.encode())
        if wild and self.kind != "s3-tree":
            for raw in WILD_NAMES:
                (root / os.fsdecode(raw)).write_bytes(raw * 3)
        (root / "empty").write_bytes(b"")
        (root / "large").write_bytes(os.urandom((1 << 20) + 17))
        (root / "deep" / "second").write_bytes(os.urandom(300_000))
        (root / "deep" / "er" / ("long" * 50)).write_bytes(b"a long path")
        (root / "tool").write_bytes(b"#!/bin/sh\n")
        (root / "tool").chmod(0o4755)
        os.chown(root / "deep" / "-rf", 1234, 4321)
        (root / "deep" / "er").chmod(0o700)
        (root / "link").symlink_to("deep/a b")
        (root / "dangling").symlink_to("/nowhere/at all")
        os.utime(root / "large", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
        (root / "cache").mkdir()
        (root / "cache" / "x").write_text("left out")
        (root / "deep" / "y.tmp").write_text("left out")
        os.mkfifo(root / "pipe")

    def change(self) -> None:
        """Other content in two files, of the same size."""
        for name in ("large", "deep/-rf"):
            (self.live / name).write_bytes(os.urandom((self.live / name).stat().st_size))

    def damage(self) -> None:
        """Everything has to be restored."""
        for path in sorted(self.live.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                path.write_bytes(b"")

    def back_up(self) -> RecoveryPoint:
        point = back_up_files(self.connection, "site", self.asset, "web", self.store, quiet)
        self.points.append(point)
        return point

    def manifest(self, point: RecoveryPoint) -> Manifest:
        return self.store.manifest(point)

    def action(self, point: RecoveryPoint, *paths: str) -> RestoreFiles:
        """What the ladder proposes: damaged paths and the directories above them."""
        manifest = self.manifest(point)
        wanted = {*paths} or {entry.path for entry in manifest.entries}
        above = {str(parent) for path in wanted for parent in Path(path).parents if str(parent) != "."}
        return RestoreFiles(
            id="a01", host="web", asset="site", stage=Stage.RESTORE, rung=Rung.DATA_SET, reason="r", undo="u",
            point=point, root=self.root, files=tuple(e for e in manifest.entries if e.path in wanted | above),
        )  # fmt: skip

    def restore(self, action: RestoreFiles) -> Performed:
        prefix = f"inc-20261101-000000-a01-{next(_NUMBERS)}"
        self.restored.add(prefix)
        return restore_files.perform(
            self.connection, self.asset, action, self.store, job_prefix=prefix, token=1, progress=quiet
        )

    def prepared(self, point: RecoveryPoint) -> Callable[[], object]:
        """The restore of everything, proposed now."""
        return partial(self.restore, self.action(point))

    def state(self) -> dict[str, tuple[object, ...]]:
        """Everything of the tree that must come back."""
        return {
            path: facts[:3] + ((facts[3],) if not _is_folder(facts) else ()) + facts[4:6]
            for path, facts in fingerprint(self.live).items()
            if "cache" not in path and "pipe" not in path and ".tmp" not in path
        }

    def staged(self) -> list[str]:
        """What restores of this world left in the staging folder; a refused one leaves what it would resume."""
        staging = self.host.inside("/var/lib/reinstate/staging")
        left = [path.name for path in staging.iterdir()] if staging.exists() else []
        return [name for name in left if name.startswith(tuple(f"{prefix}-" for prefix in self.restored))]

    def reopened(self, **changes: Any) -> BackupStore:  # noqa: ANN401 - plain data
        """The store with another source."""
        source = TypeAdapter(BackupSource).validate_python(self.source | changes)
        return open_backup_stores(
            "plan", {"kept": source}, self.secrets, self.signing, self.folder, self.folder / "home"
        )["kept"]


def _is_folder(facts: tuple[object, ...]) -> bool:
    assert isinstance(facts[0], int)
    return stat.S_ISDIR(facts[0])


def make_world(
    kind: str, host: LabHost, connection: Connection, signing: SigningKey, folder: Path, endpoint: Callable[[], str]
) -> EngineWorld:  # fmt: skip
    """A store of one kind, new, with an empty tree."""
    number = next(_NUMBERS)
    root, repository = f"/srv/live-{number}", f"/srv/repo-{number}"
    host.inside(root).mkdir(parents=True)
    secrets = Secrets()
    keys = {"access_key": "env:S3_ACCESS", "secret_key": "env:S3_SECRET"}
    source: dict[str, Any] = {
        "directory": {"kind": "directory", "path": "store"},
        "restic": {"kind": "restic", "repository": repository, "password": "env:PASSWORD"},
        "borg": {"kind": "borg", "repository": repository, "passphrase": "env:PASSWORD"},
        "tree": {"kind": "tree", "path": repository},
    }.get(kind, {})
    if not source:
        bucket = f"lab-{number}"
        source = {"kind": kind, "bucket": bucket, "prefix": "site", "endpoint": endpoint(), **keys}
        client = open_client(endpoint(), "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    if kind == "tree":
        host.inside(repository).mkdir()
    make_repository(kind, host, repository)
    world = EngineWorld(
        kind, host, connection, None, root, repository if kind in ENGINES and kind != "s3-tree" else "", source,  # type: ignore[arg-type] # opened below
        secrets, signing, folder,
    )  # fmt: skip
    if kind in ARCHIVES:
        plain: S3Source | DirectorySource = TypeAdapter(Plain).validate_python(source)
        world.store = open_backup_store("kept", plain, secrets, signing, folder)
    else:
        world.store = world.reopened()
    return world


def make_repository(kind: str, host: LabHost, repository: str) -> None:
    """As an operator makes it."""
    if kind == "restic":
        host.must(["env", f"RESTIC_PASSWORD={PASSWORD}", "restic", "--repo", repository, "init"])
    if kind == "borg":
        host.must(["env", f"BORG_PASSPHRASE={PASSWORD}", "borg", "init", "-e", "repokey-blake2", repository])


def forget(world: EngineWorld) -> None:
    """Give the space back."""
    for path in (world.root, world.repository):
        if path:
            shutil.rmtree(world.host.inside(path), ignore_errors=True)
