"""Backups in a directory of the orchestrator: an NFS mount, a disk, a test bed."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from blocks import durable
from blocks.backups import signed
from blocks.keys import SigningKey
from model.errors import Damaged, PreconditionFailed
from model.manifest import Manifest, RecoveryPoint

CHUNK = 1 << 20
SPOOL = ".spool"
_LOG = logging.getLogger("reinstate.backups")


class DirectoryBackup:
    """A BackupStore in a directory; objects appear whole and flushed, or not at all.

    Args:
        name: of the source in the plan.
        root: the directory; made when missing.
        signing: key that signs and verifies manifests.
    """

    def __init__(self, name: str, root: Path, signing: SigningKey) -> None:
        self.name = name
        self.root = root
        self._signing = signing

    def points(self, asset: str) -> list[RecoveryPoint]:
        """Recovery points of an asset, newest first; a point that does not verify is logged and left out."""
        points = []
        folder = self._path(asset)
        with durable.explained(folder):
            found = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
        for place in found:
            key = f"{asset}/{place.name}/{signed.MANIFEST_NAME}"
            if not signed.is_manifest_of(asset, key) or not self._path(key).is_file():
                continue
            try:
                points.append(signed.point_of(self._manifest(key), self.name))
            except Damaged as error:
                _LOG.warning("Recovery point left out: %s", error)
        return points

    def manifest(self, point: RecoveryPoint) -> Manifest:
        """The verified manifest of a point."""
        key = signed.manifest_key(point.key)
        return signed.same_as_named(self._manifest(key), point, self._where(key))

    def put(
        self, key: str, chunks: Iterable[bytes], progress: Callable[[int], None] | None = None
    ) -> tuple[str, int]:
        """Store an object; it appears under its key once it is complete, flushed and read back."""
        path = self._path(key)
        if self._path(signed.manifest_key(key)).exists():
            raise _published(self._where(key))
        durable.make_folder(path.parent)
        temporary = durable.make_folder(self.root / SPOOL) / secrets.token_hex(12)
        hashing = signed.Hashing()
        try:
            with durable.explained(path):
                self._write(temporary, chunks, hashing, progress)
                stored = signed.Hashing()
                for chunk in _chunks(temporary, 0, None):
                    stored.update(chunk)
                signed.read_back(hashing.result, stored.result, self._where(key))
                temporary.replace(path)
                durable.flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return hashing.result

    def publish(self, manifest: Manifest) -> RecoveryPoint:
        """Sign and store the manifest; a published point is never overwritten."""
        data = signed.seal(manifest, self._signing)
        key = signed.manifest_key(manifest.object_key)
        path = self._path(key)
        if not self._path(manifest.object_key).is_file():
            raise PreconditionFailed(
                "the object of this manifest is not stored.",
                where=self._where(manifest.object_key),
                remedy="take the backup again",
            )
        durable.make_folder(path.parent)
        try:
            durable.create(path, data, durable.make_folder(self.root / SPOOL))
        except FileExistsError:
            if path.read_bytes() != data:
                raise _published(self._where(key)) from None
        return signed.published(manifest, self.name)

    def presign(self, key: str, seconds: int) -> str | None:  # noqa: ARG002 - a directory has no URLs
        """None: a directory has no URLs."""
        return None

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes.

        Raises:
            Damaged: the object is missing or shorter than asked for.
        """
        with contextlib.closing(_chunks(self._path(key), offset, length)) as chunks:
            try:
                with durable.explained(self._path(key)):
                    yield from chunks
            except FileNotFoundError:
                raise Damaged(
                    "the object is missing.", where=self._where(key), remedy="use another recovery point"
                ) from None
            except EOFError:
                raise Damaged(
                    "the object is shorter than its manifest says.",
                    where=self._where(key),
                    remedy="use another recovery point",
                ) from None

    def _manifest(self, key: str) -> signed.Opened:
        path = self._path(key)
        try:
            with durable.explained(path):
                data = path.read_bytes()
        except FileNotFoundError:
            raise Damaged(
                "the manifest is missing.", where=self._where(key), remedy="use another recovery point"
            ) from None
        return signed.unseal(data, key, self._signing, self._where(key))

    def _path(self, key: str) -> Path:
        return self.root / signed.check_key(key)

    def _where(self, key: str) -> str:
        return f"{self.name}:{key}"

    @staticmethod
    def _write(
        path: Path, chunks: Iterable[bytes], hashing: signed.Hashing, progress: Callable[[int], None] | None
    ) -> None:
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            for chunk in chunks:
                file.write(hashing.update(chunk))
                if progress is not None:
                    progress(hashing.bytes)
            file.flush()
            os.fsync(file.fileno())


def _published(where: str) -> PreconditionFailed:
    return PreconditionFailed(
        "this recovery point exists already and is never overwritten.",
        where=where,
        remedy="take a new backup",
    )


def _chunks(path: Path, offset: int, length: int | None) -> Generator[bytes, None, None]:
    """Chunks of a file; EOFError when it ends before `length` bytes."""
    with path.open("rb") as file:
        file.seek(offset)
        left = length
        while left is None or left > 0:
            chunk = file.read(CHUNK if left is None else min(CHUNK, left))
            if not chunk:
                if left is not None:
                    raise EOFError
                return
            if left is not None:
                left -= len(chunk)
            yield chunk
