"""Wheels in a package store: which there are, what they hold, where it lands, and whether a wheel may be trusted.

A wheel is hostile input: pip itself unpacks one whose RECORD is wrong. `judge` reads all of it before anything is done.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from checks.pip_facts import normal
from model.command import printable
from model.errors import Damaged

FILENAME = re.compile(
    r"^(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(-\d[^-]*)?-(?P<tags>[^-]+-[^-]+-[^-]+)\.whl\Z"
)
MOST_FILES = 100_000
MOST_BYTES = 8 << 30
MOST_GROWTH = 200
"""A member that unpacks to more than this many times its size (and 10 MB) is a bomb."""

BOOKKEEPING = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
"""What installers add to a .dist-info folder; no wheel holds a hash of it."""

_REMEDY = "nothing was touched; find out who made this file, then put the right wheel into the store"
_SEALS = ("RECORD.jws", "RECORD.p7s")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel.

    Attributes:
        path: the file.
        name: normalised.
        info: its .dist-info folder.
        tags: as WHEEL names them.
        files: member → SHA-256 in hex as its RECORD says; empty where it says none.
        scripts: names of the console and GUI scripts an installer makes.
    """

    path: Path
    name: str
    version: str
    info: str
    tags: tuple[str, ...]
    files: Mapping[str, str]
    scripts: Mapping[str, str]

    def lands(self, site: str, prefix: str) -> dict[str, str]:
        """Where everything lands and which hash it has there; empty for what an installer writes or rewrites."""
        found: dict[str, str] = {}
        data = f"{self.info.removesuffix('.dist-info')}.data"
        for member, sha256 in self.files.items():
            parts = PurePosixPath(member).parts
            if parts[0] != data:
                found[f"{site}/{member}"] = sha256
                continue
            rest = "/".join(parts[2:])
            match parts[1] if rest else "":
                case "purelib" | "platlib":
                    found[f"{site}/{rest}"] = sha256
                case "data":
                    found[f"{prefix}/{rest}"] = sha256
                case "scripts":
                    found[f"{prefix}/bin/{rest}"] = ""
        found |= {f"{prefix}/bin/{name}": "" for name in self.scripts}
        return found | {f"{site}/{self.info}/RECORD": ""}


def read(path: Path) -> Wheel:
    """What a wheel says about itself: its names, its RECORD, its scripts. Contents are not read: `judge` does.

    Raises:
        Damaged: it is no wheel, or names a path that leaves its place.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [_safe(entry, path) for entry in archive.infolist() if not entry.is_dir()]
            info = _info(names, path)
            record = dict(_record(archive, info, path))
            headers = HeaderParser().parsestr(_text(archive, f"{info}/METADATA"))
            tags = HeaderParser().parsestr(_text(archive, f"{info}/WHEEL")).get_all("Tag") or []
            scripts = _scripts(archive, f"{info}/entry_points.txt", names, path)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise Damaged(
            f"{path.name} is no wheel: {printable(str(error))}.", str(path.parent), _REMEDY
        ) from error
    if len(set(names)) != len(names):
        raise Damaged(f"{path.name} holds a file twice.", str(path.parent), _REMEDY)
    return Wheel(
        path, normal(headers.get("Name", "")), headers.get("Version", ""), info, tuple(tags),
        {name: record.get(name, "") for name in names}, scripts,
    )  # fmt: skip


def judge(path: Path) -> Wheel:
    """Read all of a wheel: every file of it is named by its RECORD with the hash it has.

    Raises:
        Damaged: naming what is wrong.
    """
    wheel = read(path)
    with zipfile.ZipFile(path) as archive:
        record = dict(_record(archive, wheel.info, path))
        own = {f"{wheel.info}/RECORD", *(f"{wheel.info}/{seal}" for seal in _SEALS)}
        for name in wheel.files:
            if name in own:
                continue
            if not record.get(name):
                raise Damaged(
                    f"{path.name} holds {printable(name)!r}, which its RECORD does not name.", str(path.parent), _REMEDY
                )  # fmt: skip
            try:
                actual = _hash(archive, name)
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
                raise Damaged(
                    f"{path.name} is damaged at {printable(name)!r}: {printable(str(error))}.",
                    str(path.parent), _REMEDY,
                ) from error  # fmt: skip
            if actual != record[name]:
                raise Damaged(
                    f"{path.name}: {printable(name)!r} is not what the wheel's own RECORD says.", str(path.parent),
                    _REMEDY,
                )  # fmt: skip
        if lost := sorted(set(record) - set(wheel.files)):
            raise Damaged(
                f"{path.name} lacks {printable(lost[0])!r}, which its RECORD names.",
                str(path.parent),
                _REMEDY,
            )
    return wheel


def _safe(entry: zipfile.ZipInfo, path: Path) -> str:
    """A member's name, when it can only land below the place it is unpacked to."""
    name = entry.filename
    bad = name.startswith("/") or any(part in {"", ".", ".."} for part in name.split("/"))
    if bad or "\\" in name or any(ord(letter) < 32 for letter in name) or re.match(r"[A-Za-z]:", name):
        raise Damaged(
            f"{path.name} holds {printable(name)!r}, which leaves its place.", str(path.parent), _REMEDY
        )
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise Damaged(f"{path.name}: {printable(name)!r} is no file.", str(path.parent), _REMEDY)
    if entry.file_size > max(10_000_000, MOST_GROWTH * entry.compress_size):
        raise Damaged(f"{path.name}: {printable(name)!r} is a bomb.", str(path.parent), _REMEDY)
    return name


def _info(names: Sequence[str], path: Path) -> str:
    folders = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
    if len(folders) != 1 or len(names) > MOST_FILES:
        raise Damaged(f"{path.name} holds {len(folders)} .dist-info folders.", str(path.parent), _REMEDY)
    return folders.pop()


def _record(archive: zipfile.ZipFile, info: str, path: Path) -> Iterator[tuple[str, str]]:
    for row in csv.reader(io.StringIO(_text(archive, f"{info}/RECORD"))):
        if not row:
            continue
        algorithm, _, encoded = row[1].partition("=") if len(row) == 3 else ("", "", "")
        if len(row) != 3 or algorithm not in {"", "sha256"}:
            raise Damaged(f"{path.name}: its RECORD is no list of SHA-256.", str(path.parent), _REMEDY)
        yield row[0], base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex() if encoded else ""


def _text(archive: zipfile.ZipFile, name: str) -> str:
    return archive.read(name).decode("utf-8")


def _scripts(archive: zipfile.ZipFile, name: str, names: Collection[str], path: Path) -> dict[str, str]:
    if name not in names:
        return {}
    parser = ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names keep their case
    try:
        parser.read_string(_text(archive, name))
    except ConfigError as error:
        raise Damaged(f"{path.name}: its entry points cannot be read.", str(path.parent), _REMEDY) from error
    found = {}
    for section in ("console_scripts", "gui_scripts"):
        for script, target in parser.items(section) if parser.has_section(section) else ():
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", script) or not re.match(
                r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", target
            ):
                raise Damaged(
                    f"{path.name}: {printable(script)!r} is no name of a script.", str(path.parent), _REMEDY
                )
            found[script] = target.split("[")[0].strip()
    return found


def _hash(archive: zipfile.ZipFile, name: str) -> str:
    hasher = hashlib.sha256()
    with archive.open(name) as stream:
        while chunk := stream.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()
