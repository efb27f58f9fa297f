"""Writes wheels from source folders, byte for byte reproducible, without any build tool or network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

EPOCH = (2024, 1, 1, 0, 0, 0)


def write_wheel(source: Path, version: str, target: Path, requires: tuple[str, ...] = ()) -> Path:
    """Packs one importable folder as a pure-Python wheel of the same name.

    Args:
        source: the package folder; its name becomes the distribution's.
        version: version of the distribution.
        target: folder to write to.
        requires: dependencies, as in `Requires-Dist`.

    Returns:
        The wheel's path.
    """
    name = source.name
    info = f"{name}-{version}.dist-info"
    files = {
        path.relative_to(source.parent).as_posix(): path.read_bytes() for path in sorted(source.rglob("*.py"))
    }
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        "Summary: part of the demo shop",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {requirement}" for requirement in requires),
    ]
    wheel = ["Wheel-Version: 1.0", "Generator: reinstate-demo", "Root-Is-Purelib: true", "Tag: py3-none-any"]
    files[f"{info}/METADATA"] = _lines(metadata)
    files[f"{info}/WHEEL"] = _lines(wheel)
    record = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = _lines([*record, f"{info}/RECORD,,"])
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            entry = zipfile.ZipInfo(member, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return path


def _lines(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
