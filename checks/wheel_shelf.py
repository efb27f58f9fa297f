"""The wheels of a package store: proven copies, and the one that an installed distribution came from."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blocks.packages import PackageStore
from checks.pip_facts import Distribution, normal
from checks.wheels import FILENAME, Wheel, read
from model.errors import Damaged, ReinstateError, Transient
from model.shelf import PackageFile


@dataclass(frozen=True, slots=True)
class Shelf:
    """Proven copies of a store's wheels in a folder of ours.

    Attributes:
        wheels: by normalised name and version, in the order of their file names.
        origins: a copy's name in the store.
        remarks: why a wheel is left out.
    """

    wheels: Mapping[tuple[str, str], Sequence[Path]]
    origins: Mapping[Path, str]
    remarks: tuple[str, ...]


def shelf(store: PackageStore, wanted: Collection[tuple[str, str]], folder: Path) -> Shelf:
    """The wheels of these (normalised name, version) that the signed index of a store names.

    Raises:
        PreconditionFailed: the store has no index. Damaged: its index does not count.
        Transient: the store does not answer.
    """
    wheels: dict[tuple[str, str], list[Path]] = defaultdict(list)
    origins: dict[Path, str] = {}
    remarks: list[str] = []
    for file in store.index().packages:
        key = (normal(file.name), file.version)
        if file.family != "wheel" or key not in wanted:
            continue
        try:
            path = store.fetch(file.filename, file.sha256, folder)
        except Damaged as error:
            remarks.append(str(error))
            continue
        wheels[key].append(path)
        origins[path] = file.filename
    return Shelf(wheels, origins, tuple(remarks))


def missing(store: PackageStore, wanted: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of these (normalised name, version) of which the store has no wheel; none is read.

    Raises:
        PreconditionFailed: the store has no index. Damaged: its index does not count.
        Transient: the store does not answer.
    """
    there = {
        key
        for file in store.index().packages
        if file.family == "wheel" and (key := (normal(file.name), file.version)) in wanted
        and store.objects.exists(file.filename)
    }  # fmt: skip
    return sorted(set(wanted) - there)


def readable(paths: Sequence[Path]) -> tuple[list[Wheel], list[str]]:
    """What wheels say about themselves, and why some say nothing."""
    wheels, remarks = [], []
    for path in paths:
        try:
            wheels.append(read(path))
        except Damaged as error:
            remarks.append(str(error))
    return wheels, remarks


def choose(wheels: Sequence[Wheel], installed: Distribution | None) -> tuple[Wheel | None, str]:
    """The wheel a distribution was installed from, among those of its version; or why none is.

    A wheel of the same version that was built differently is another wheel: most of its hashes differ.
    """
    said = ""
    for wheel in sorted(wheels, key=lambda one: not (installed and _tagged(one.path, installed.tags))):
        if installed is None or agreement(wheel, installed) >= 0.5:
            return wheel, ""
        said = said or f"{wheel.path.name} is another build of {installed.name} {installed.version}"
    return None, said


def references(
    store: PackageStore | None, installed: Sequence[Distribution]
) -> tuple[dict[str, Wheel], list[str]]:
    """The wheel each distribution came from, by its .dist-info folder, and why some have none.

    What a wheel says is kept with the journal under the hash in the signed index: a bucket's wheels are fetched once.

    Raises:
        Transient: the store does not answer.
    """
    found: dict[str, Wheel] = {}
    if store is None:
        return found, []
    remarks: list[str] = []
    wheels: dict[tuple[str, str], list[Wheel]] = defaultdict(list)
    wanted = {(normal(one.name), one.version) for one in installed}
    try:
        for file in store.index().packages:
            if file.family == "wheel" and (normal(file.name), file.version) in wanted:
                try:
                    wheels[normal(file.name), file.version].append(_known(store, file))
                except Damaged as error:
                    remarks.append(str(error))
    except Transient:
        raise
    except ReinstateError as error:  # without a store that counts, RECORD is believed
        return found, [str(error)]
    for one in installed:
        wheel, why = choose(wheels.get((normal(one.name), one.version), ()), one)
        if wheel is not None:
            found[one.info] = wheel
        elif why:
            remarks.append(why)
    return found, remarks


def _known(store: PackageStore, file: PackageFile) -> Wheel:
    """What a wheel of the store says; remembered by its hash, else fetched, proven and read.

    Raises:
        Damaged: it is not what the index names, or no wheel.
    """
    if (kept := store.recall(file.sha256)) is not None:
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(kept)
            return Wheel(
                Path(file.filename), said["name"], said["version"], said["info"], tuple(said["tags"]), said["files"],
                said["scripts"],
            )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        wheel = read(store.fetch(file.filename, file.sha256, Path(folder)))
    said = {
        "name": wheel.name, "version": wheel.version, "info": wheel.info, "tags": wheel.tags,
        "files": dict(wheel.files), "scripts": dict(wheel.scripts),
    }  # fmt: skip
    store.remember(file.sha256, json.dumps(said).encode())
    return wheel


def agreement(wheel: Wheel, installed: Distribution) -> float:
    """Which part of a wheel's hashes the RECORD, or else the files themselves, have as well; 1 when none is shared."""
    lands = wheel.lands(installed.site, "/")
    shared = [(file, lands[file.seen.path]) for file in installed.files if lands.get(file.seen.path)]
    listed = [file.wanted == sha256 for file, sha256 in shared if file.wanted]
    present = [file.seen.actual == sha256 for file, sha256 in shared if file.seen.actual]
    parts = [sum(same) / len(same) for same in (listed, present) if same]
    return max(parts, default=1.0)


def _tagged(path: Path, tags: Sequence[str]) -> bool:
    match = FILENAME.match(path.name)
    python, abi, platform = match["tags"].split("-") if match else ("", "", "")
    return any(
        f"{one}-{two}-{three}" in tags
        for one in python.split(".") for two in abi.split(".") for three in platform.split(".")
    )  # fmt: skip
