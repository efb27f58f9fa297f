"""Signed package stores for tests: in a folder, with a key and a memory of their own."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from blocks.keys import SigningKey
from blocks.packages import PackageStore
from blocks.packages.objects import FolderObjects
from blocks.packages.store import INDEX, seal
from model.canonical import now
from model.shelf import SUFFIX, PackageFile, StoreIndex
from tasks.package_index import describe


class DictMemory:
    """Remembers documents until the test ends."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, path: str, data: bytes) -> str:
        self.kept[path] = data
        return hashlib.sha256(data).hexdigest()

    def get(self, path: str) -> bytes | None:
        return self.kept.get(path)


def key(name: str = "ours") -> SigningKey:
    """A signing key of the test session, by name."""
    return _key(name)


def public_pem(name: str = "ours") -> bytes:
    """Its public half, as a plan names it under `keys`."""
    return (_folder(name) / "public" / f"{key(name).key_id}.pem").read_bytes()


@cache
def _folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"reinstate-key-{name}-"))


@cache
def _key(name: str) -> SigningKey:
    return SigningKey.load_or_create(_folder(name))


def shelf(
    folder: Path,
    name: str = "pool",
    *,
    packages: Sequence[PackageFile] | None = None,
    signer: SigningKey | None = None,
    trusted: SigningKey | None = None,
    serial: int = 1,
    memory: DictMemory | None = None,
    sign: bool = True,
) -> PackageStore:
    """A store in a folder, its index signed over what lies there (or over `packages`)."""
    if sign:
        suffixes = set(SUFFIX.values())
        if packages is None:
            packages = [describe(path, path.name) for path in folder.iterdir() if path.suffix in suffixes]
        listed = sorted(packages, key=lambda p: p.filename)
        index = StoreIndex(serial=serial, made_at=now(), packages=tuple(listed))
        (folder / INDEX).write_bytes(seal(index, signer or key()))
    verifier = (trusted or key()).verifier
    return PackageStore(
        name,
        FolderObjects(name, folder),
        [verifier],
        memory or DictMemory(),
        f"package-stores/test/{name}.json",
    )


def unindexed(folder: Path, name: str = "pool") -> PackageStore:
    """A store whose index is not read: what a signed proposal names is proven by its hash alone."""
    return shelf(folder, name, sign=False)
