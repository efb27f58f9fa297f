"""Signing what lies in a package store: each file read, named by what it says itself, and put into one signed index."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from pydantic import ValidationError

from blocks.journals.base import JournalStore
from blocks.keys import SigningKey
from blocks.packages.debfile import control_fields
from blocks.packages.objects import FolderObjects
from blocks.packages.rpmfile import rpm_fields
from blocks.packages.store import INDEX, PackageStore
from model.canonical import digest
from model.errors import BadInput, Damaged, PreconditionFailed, ReinstateError
from model.shelf import SUFFIX, PackageFile, StoreIndex
from tasks.staging import sha256_of

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Indexed:
    """What signing did.

    Attributes:
        index: the index that stands there now.
        added: file names that were in no index before.
        gone: file names that were in the index before.
    """

    index: StoreIndex
    added: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """One line for people."""
        return (
            f"{len(self.index.packages)} packages are signed (serial {self.index.serial}): {len(self.added)} new, "
            f"{len(self.gone)} no longer there."
        )


def index_folder(
    folder: Path, signing: SigningKey, memory: JournalStore, progress: Tell, *, changed_too: bool = False
) -> Indexed:
    """Sign what lies in a folder.

    Args:
        folder: the store.
        signing: this installation's key.
        memory: the journal store, which keeps the newest index seen.
        progress: told (files read, files in all).
        changed_too: also sign files whose content is another than under the same name in the signed index there.

    Raises:
        BadInput: there is no such folder, or a file has a name no store can hold.
        Damaged: a file is no package; or it was changed since it was signed. Nothing is signed.
    """
    if not folder.is_dir():
        raise BadInput(
            "there is no such folder.", str(folder), "give the folder that holds the package files"
        )
    folder = folder.resolve()
    store = PackageStore(
        folder.name, FolderObjects(folder.name, folder), [signing.verifier], memory,
        f"package-stores/folders/{digest(str(folder))[:16]}.json",
    )  # fmt: skip
    packages = []
    files = sorted(_files(folder))
    for number, path in enumerate(files, start=1):
        packages.append(describe(path, path.relative_to(folder).as_posix()))
        progress(number, len(files))
    before = _before(store)
    known = {package.filename: package.sha256 for package in before.packages} if before else {}
    changed = [p.filename for p in packages if known.get(p.filename, p.sha256) != p.sha256]
    if changed and not changed_too:
        raise Damaged(
            f"{', '.join(changed[:5])} changed since the index was signed; a package file never changes.",
            str(folder),
            "find out who changed it; when it is right, sign with `--changed-too`",
        )
    index = store.publish(packages, signing, anew=True)
    names = {package.filename for package in packages}
    return Indexed(index, tuple(sorted(names - set(known))), tuple(sorted(set(known) - names)))


def describe(path: Path, filename: str) -> PackageFile:
    """A package file by what it says itself.

    Raises:
        Damaged: it is no package of its kind. BadInput: its name is none a store can hold.
    """
    if path.suffix == SUFFIX["deb"]:
        fields = control_fields(path)
        family, says = "deb", tuple(fields.get(key, "") for key in ("Package", "Version", "Architecture"))
    elif path.suffix == SUFFIX["rpm"]:
        family, says = "rpm", rpm_fields(path)
    else:
        family, says = "wheel", (*wheel_fields(path), "")
    name, version, architecture = says
    data = {
        "family": family, "name": name, "version": version, "architecture": architecture, "filename": filename,
        "bytes": path.stat().st_size, "sha256": sha256_of(path),
    }  # fmt: skip
    try:
        return PackageFile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise BadInput(f"it cannot stand in an index: {first}.", str(path), "rename or remove it") from None


def wheel_fields(path: Path) -> tuple[str, str]:
    """Name and version of a wheel, from its METADATA.

    Raises:
        Damaged: it is no wheel.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA")]
            headers = HeaderParser().parsestr(archive.read(names[0]).decode("utf-8", "replace"))
            return str(headers["Name"] or ""), str(headers["Version"] or "")
    except (zipfile.BadZipFile, KeyError, IndexError, OSError) as error:
        raise Damaged(f"this is no wheel: {error}.", str(path), "make or fetch it again") from error


def _before(store: PackageStore) -> StoreIndex | None:
    try:
        return store.index()
    except PreconditionFailed:
        return None
    except ReinstateError:  # another key's, or damaged: the person signs anew
        return None


def _files(folder: Path) -> Iterator[Path]:
    suffixes = set(SUFFIX.values())
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in suffixes and path.is_file() and not hidden and path.name != INDEX:
            yield path
