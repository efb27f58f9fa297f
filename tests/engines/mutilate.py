"""Mutilating a backup where it lies: on the host's disk, or on the disk of the S3 server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from model.errors import Damaged, PreconditionFailed, ReinstateError
from model.manifest import RecoveryPoint
from tests.engines.clusters import ClusterWorld
from tests.engines.databases import DUMPS, DatabaseWorld
from tests.engines.directories import DirectoryWorld
from tests.engines.worlds import ARCHIVES, EngineWorld, make_repository
from tests.support.shares import mine

Sick = EngineWorld | DatabaseWorld | ClusterWorld | DirectoryWorld
PLAIN = (*ARCHIVES, *DUMPS, "mariabackup")
"""Kept in our own archive."""

POSITIONS = int(os.environ.get("REINSTATE_POSITIONS", "1"))
"""Places of each mutilation; 20 in a full run."""
PLACES = mine(range(POSITIONS))


@dataclass(frozen=True)
class Mutation:
    """One way to spoil a backup; see mutations.yaml."""

    name: str
    part: str
    do: str


def load() -> list[Mutation]:
    """The corpus."""
    data = YAML(typ="safe", pure=True).load(Path(__file__).with_name("mutations.yaml"))
    return [Mutation(**one) for one in data]


def applies(kind: str, mutation: Mutation) -> bool:
    """Whether a store of this kind has that part: archives have neither an index nor a record of their own."""
    return kind not in PLAIN or mutation.part in {"data", "manifest", "repository"}


@dataclass
class Patient:
    """A world with two recovery points of which the newer is restored, and a way to make its backup whole again.

    Attributes:
        old: the older point.
        new: the newer one.
        pristine: what the live tree has to be after a restore.
        disk: folder of the S3 server's objects.
    """

    world: Sick
    old: RecoveryPoint
    new: RecoveryPoint
    pristine: dict[str, tuple[object, ...]]
    disk: Path | None

    def __post_init__(self) -> None:
        """Keep the repository as it is."""
        self._before: dict[Path, tuple[bytes, dict[str, bytes]]] = {}
        if self.world.repository:
            self._copy(self._repository, self._kept)

    @property
    def _repository(self) -> Path:
        return self.world.host.inside(self.world.repository)

    @property
    def _kept(self) -> Path:
        return self._repository.with_name(self._repository.name + ".kept")

    def heal(self) -> None:
        """The backup as it was, and the live tree damaged so that everything has to be restored."""
        self.world.damage()  # first: a cluster archives while it stops
        if self.world.repository:
            self._copy(self._kept, self._repository)
        missing: list[Path] = []
        for _ in range(
            20
        ):  # Swift sets a spoilt object's folder aside after it has answered, also while we write
            missing = [path for path, kept in self._before.items() if not _is_as(path, *kept)]
            for path in missing:
                with contextlib.suppress(FileNotFoundError):
                    _put_back(path, *self._before[path])
            if not missing:
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"the S3 server keeps taking away {missing[0]}")
        self._before.clear()

    def spoil(self, mutation: Mutation, position: int) -> None:
        """Do it, at one of the positions."""
        if mutation.part == "repository":
            self._repository_itself(mutation.do)
            return
        objects = self._objects(mutation.part)
        assert objects, f"{self.world.kind} has no {mutation.part}"
        victim, other = objects[position % len(objects)], objects[(position + 1) % len(objects)]
        for path in {victim, other}:
            self._before.setdefault(path, (path.read_bytes(), _attributes(path)))
        if mutation.part == "manifest" and mutation.do == "older":
            victim.write_bytes(self._manifest(self.old).read_bytes())
            return
        share = (position // max(1, min(len(objects), POSITIONS)) + 0.5) / max(
            1, -(-POSITIONS // len(objects))
        )
        _DEEDS[mutation.do](victim, other, int(victim.stat().st_size * min(share, 0.99)))

    def _objects(self, on: str) -> list[Path]:
        """Files that hold one part of the backup, the largest first."""
        world, manifest = self.world, self.world.manifest(self.new)
        if on == "manifest":
            return [self._manifest(self.new)]
        if world.kind in PLAIN:
            return [self._archive(self.new), self._archive(self.old)]
        if world.kind == "s3-tree":
            return self._on_disk(on)
        patterns = {
            "restic": {"data": "data/*/*", "index": "index/*", "snapshot": f"snapshots/{manifest.snapshot}"},
            "borg": {"data": "data/0/*", "index": "index.*", "snapshot": "data/0/*"},
            "tree": {
                "data": f"{manifest.snapshot}/**/*", "index": f"{manifest.snapshot}/deep/*",
                "snapshot": f"{manifest.snapshot}/*",
            },
            "pgbackrest": {
                "data": f"backup/ledger/{manifest.snapshot}/*/*", "index": "backup/ledger/backup.info*",
                "snapshot": f"backup/ledger/{manifest.snapshot}/backup.manifest*",
            },
        }[world.kind]  # fmt: skip
        found = [
            path for path in self._repository.glob(patterns[on]) if path.is_file() and not path.is_symlink()
        ]
        if (
            world.kind == "borg" and on == "snapshot"
        ):  # the manifest of archives is in the newest segment that is not tiny
            return [
                max((path for path in found if path.stat().st_size > 100), key=lambda path: int(path.name))
            ]
        return sorted((p for p in found if p.stat().st_size > 100), key=lambda p: (-p.stat().st_size, p.name))

    def _on_disk(self, on: str) -> list[Path]:
        assert self.disk is not None
        manifest = self.world.manifest(self.new)
        wanted = {e.sha256 for e in manifest.entries if e.size > 100} if on == "data" else {manifest.snapshot}
        return self._holding(wanted)

    def _holding(self, wanted: set[str]) -> list[Path]:
        """Files on the disk of the S3 server whose content has one of these hashes."""
        assert self.disk is not None
        found = [p for p in self.disk.rglob("*.data") if hashlib.sha256(p.read_bytes()).hexdigest() in wanted]
        return sorted(found, key=lambda path: (-path.stat().st_size, path.name))

    def _archive(self, point: RecoveryPoint) -> Path:
        if self.world.kind != "s3":
            return self.world.folder / "store" / point.key
        return self._holding({point.sha256})[0]

    def _manifest(self, point: RecoveryPoint) -> Path:
        """Our own, in the catalogue."""
        if self.world.kind == "s3":
            signed = b"".join(self.world.store.read(f"site/{point.id}/manifest.json"))
            return self._holding({hashlib.sha256(signed).hexdigest()})[0]
        if self.world.kind in PLAIN:
            return self._archive(point).parent / "manifest.json"
        return (
            self.world.folder / "home" / "manifests" / "plan" / "kept" / "site" / point.id / "manifest.json"
        )

    def _repository_itself(self, do: str) -> None:
        world, manifest = self.world, self.world.manifest(self.new)
        if world.kind in PLAIN:
            gone = (self.new,) if do == "older" else (self.new, self.old)
            for path in [path for point in gone for path in (self._archive(point), self._manifest(point))]:
                self._before.setdefault(path, (path.read_bytes(), _attributes(path)))
                path.unlink()
            return
        if world.kind == "s3-tree":
            for path in self._on_disk("index"):
                self._before.setdefault(path, (path.read_bytes(), _attributes(path)))
                path.unlink()
            return
        if do == "again":
            shutil.rmtree(self._repository)
            if world.kind == "tree":
                self._repository.mkdir()
            if isinstance(world, ClusterWorld):
                world.create_repository()
            else:
                make_repository(world.kind, world.host, world.repository)
        elif world.kind == "restic":
            next(self._repository.glob(f"snapshots/{manifest.snapshot}")).unlink()
        elif world.kind == "tree":
            shutil.rmtree(self._repository / manifest.snapshot)
        else:
            shutil.rmtree(self._repository)
            self._copy(self._repository.with_name(self._repository.name + ".older"), self._repository)

    def keep_older(self) -> None:
        """Keep the repository as it is now for `older`."""
        if self.world.repository:
            self._copy(self._repository, self._repository.with_name(self._repository.name + ".older"))

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", "--", str(source), str(target)], check=True)


def attempt(patient: Patient, mutation: Mutation | None, position: int) -> str:
    """Restore everything from a backup that was mutilated, or from a whole one.

    Returns:
        `found` or `harmless`.

    Raises:
        AssertionError: it was restored wrong, something live was touched, or a whole backup was called damaged.
    """
    world = patient.world
    patient.heal()
    restore = world.prepared(patient.new)
    if mutation is not None:
        patient.spoil(mutation, position)
    before = world.state()
    caught: ReinstateError | None = None
    try:
        restore()
    except (Damaged, PreconditionFailed) as error:
        caught = error
    if caught is not None:
        assert mutation is not None, f"false alarm: {caught}"
        assert before == world.state(), f"{caught}, but the live tree was touched"
        assert [] == world.staged()
        assert names_something(world, str(caught)), caught
        return "found"
    assert patient.pristine == world.state(), f"{mutation} at {position}: restored wrong"
    return "harmless"


def names_something(world: Sick, text: str) -> bool:
    """Whether an error says where to look: the source with its snapshot, object or file."""
    return any(name in text for name in (f"{world.store.name}:", "manifest.json", world.repository or "\0"))


def prepare(world: Sick, later: Callable[[Sick, str], RecoveryPoint], disk: Path | None) -> Patient:
    """A world with two points, its repository kept."""
    world.fill()
    old = world.back_up()
    older = Patient(world, old, old, {}, disk)
    older.keep_older()
    world.change()
    new = later(world, old.id)
    pristine = world.state()
    world.damage()
    return Patient(world, old, new, pristine, disk)


def _attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}


def _is_as(path: Path, data: bytes, attributes: dict[str, bytes]) -> bool:
    try:
        return path.read_bytes() == data and _attributes(path) == attributes
    except FileNotFoundError:
        return False


def _put_back(path: Path, data: bytes, attributes: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    for name, value in attributes.items():
        os.setxattr(path, name, value)


def _written(path: Path, data: bytes) -> None:
    """New content in the same inode's place, its attributes kept: an object server keeps its facts there."""
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data)


def _flip(victim: Path, _other: Path, at: int) -> None:
    data = bytearray(victim.read_bytes())
    data[at] ^= 1 << (at % 8)
    _written(victim, bytes(data))


def _swap(victim: Path, other: Path, _at: int) -> None:
    first, second = victim.read_bytes(), other.read_bytes()
    _written(victim, second)
    _written(other, first)


def _zero(victim: Path, _other: Path, at: int) -> None:
    data = bytearray(victim.read_bytes())
    data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    _written(victim, bytes(data))


_DEEDS: dict[str, Callable[[Path, Path, int], None]] = {
    "flip": _flip,
    "truncate": lambda victim, _other, _at: _written(
        victim, victim.read_bytes()[: victim.stat().st_size // 2]
    ),
    "cut": lambda victim, _other, _at: _written(victim, victim.read_bytes()[:-1]),
    "delete": lambda victim, _other, _at: victim.unlink(),
    "zero": _zero,
    "append": lambda victim, _other, at: _written(victim, victim.read_bytes() + os.urandom(at % 5000 + 1)),
    "swap": _swap,
    "older": lambda victim, other, _at: _written(victim, other.read_bytes()),
    "empty": lambda victim, _other, _at: _written(victim, b""),
}
