"""What an .rpm says about itself, read here without rpm (the package format of rpm 4: lead, signature, header)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from model.errors import Damaged

_LEAD = b"\xed\xab\xee\xdb"
_MAGIC = b"\x8e\xad\xe8\x01"
_LARGEST = 64 << 20
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_BASENAMES, _DIRNAMES, _DIRINDEXES = 1117, 1118, 1116
_INT32, _TEXTS = 4, (6, 8, 9)
_REMEDY = "find out where this file came from; nothing was changed"


def rpm_fields(path: Path) -> tuple[str, str, str]:
    """Name, version (`epoch:version-release`, the epoch only where there is one) and architecture (`src` of sources).

    Raises:
        Damaged: this is no .rpm.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _LEAD:
                raise Damaged("this is no rpm package.", str(path), _REMEDY)
            file.seek(96)
            size = _header(file)[1]
            file.seek(-size % 8, 1)
            tags, _size = _header(file)
            fields = {tag: value for tag in (_NAME, _VERSION, _RELEASE, _ARCH) if (value := tags.get(tag))}
            name, version, release, arch = (fields[tag] for tag in (_NAME, _VERSION, _RELEASE, _ARCH))
    except (struct.error, KeyError, ValueError) as error:
        raise Damaged(f"this rpm package cannot be read: {error}.", str(path), _REMEDY) from error
    epoch = f"{tags[_EPOCH]}:" if tags.get(_EPOCH, "0") != "0" else ""
    return name, f"{epoch}{version}-{release}", arch if _SOURCE in tags else "src"


def rpm_paths(path: Path) -> list[str]:
    """Absolute paths of all that an .rpm holds.

    Raises:
        Damaged: this is no .rpm.
    """
    try:
        with path.open("rb") as file:
            file.seek(96)
            file.seek(-_header(file)[1] % 8, 1)
            magic, _reserved, count, size = struct.unpack(">4s4sII", file.read(16))
            if magic != _MAGIC or count * 16 > _LARGEST or size > _LARGEST:
                raise ValueError("its header is none")
            entries = {tag: rest for tag, *rest in struct.iter_unpack(">IIII", file.read(count * 16))}
            data = file.read(size)
            names, folders = (_texts(data, entries.get(tag)) for tag in (_BASENAMES, _DIRNAMES))
            _kind, offset, number = entries.get(_DIRINDEXES, [_INT32, 0, 0])
            indexes = struct.unpack_from(f">{number}I", data, offset)
        return [folders[index] + name for index, name in zip(indexes, names, strict=True)]
    except (struct.error, ValueError, IndexError) as error:
        raise Damaged(f"this rpm package cannot be read: {error}.", str(path), _REMEDY) from error


def _texts(data: bytes, entry: list[int] | None) -> list[str]:
    if entry is None:
        return []
    _kind, offset, number = entry
    return [raw.decode("utf-8", "surrogateescape") for raw in data[offset:].split(b"\0", number)[:number]]


def _header(file: BinaryIO) -> tuple[dict[int, str], int]:
    """The first value of each text and number tag, and the bytes of the header."""
    magic, _reserved, count, size = struct.unpack(">4s4sII", file.read(16))
    if magic != _MAGIC or count * 16 > _LARGEST or size > _LARGEST:
        raise ValueError("its header is none")
    entries = [struct.unpack(">IIII", file.read(16)) for _ in range(count)]
    data = file.read(size)
    tags: dict[int, str] = {}
    for tag, kind, offset, _number in entries:
        if kind in _TEXTS:
            tags[tag] = data[offset : data.index(b"\0", offset)].decode("utf-8", "replace")
        elif kind == _INT32:
            tags[tag] = str(struct.unpack_from(">I", data, offset)[0])
    return tags, 16 + count * 16 + size
