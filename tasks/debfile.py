"""What a .deb says about itself and holds, read here without dpkg: for hosts whose own dpkg-deb or tar is damaged."""

from __future__ import annotations

import contextlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from model.errors import Damaged, Unsupported

_MAGIC = b"!<arch>\n"
_HEADER = 60
_REMEDY = "find out where this file came from; nothing was changed"


def control_fields(path: Path) -> dict[str, str]:
    """The first-line fields of the control file (Package, Version, Architecture …).

    Raises:
        Damaged: this is no Debian package. Unsupported: it is compressed in a way Python cannot read.
    """
    with _readable(str(path)), _tar(path, "control.tar") as archive:
        return _control(archive, str(path))


def control_of_tar(data: bytes, where: str) -> dict[str, str]:
    """The same from the stream `dpkg-deb --ctrl-tarfile` gives.

    Raises:
        Damaged: it is no tar, or has no control file.
    """
    with _readable(where), tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return _control(archive, where)


def _control(archive: tarfile.TarFile, where: str) -> dict[str, str]:
    for info in archive:
        if info.name.removeprefix("./") == "control" and info.isreg():
            file = archive.extractfile(info)
            return parse_control(file.read().decode("utf-8", "replace") if file else "")
    raise Damaged("this package has no control file.", where, _REMEDY)


def parse_control(text: str) -> dict[str, str]:
    """Fields of the first stanza; continuation lines are left out (deb-control(5))."""
    fields = (
        line.split(":", 1)
        for line in text.split("\n\n", maxsplit=1)[0].splitlines()
        if ":" in line and line[0] not in " \t#"
    )
    return {name: value.strip() for name, value in fields}


def programs(path: Path, names: Iterable[str]) -> Mapping[str, tuple[tarfile.TarInfo, bytes]]:
    """Programs a package holds in a bin or sbin folder, by name, with their content.

    Raises:
        Damaged, Unsupported: as above.
    """
    wanted, found = set(names), {}
    with _readable(str(path)), _tar(path, "data.tar") as archive:
        for info in archive:
            folder, _, name = info.name.removeprefix(".").rpartition("/")
            if name in wanted and info.isreg() and folder.rpartition("/")[2] in {"bin", "sbin"}:
                file = archive.extractfile(info)
                found[name] = (info, file.read() if file else b"")
    return found


def hashes(path: Path) -> bytes | None:
    """The `md5sums` a package carries; None: it carries none.

    Raises:
        Damaged, Unsupported: as above.
    """
    with _readable(str(path)), _tar(path, "control.tar") as archive:
        for info in archive:
            if info.name.removeprefix("./") == "md5sums" and info.isreg():
                file = archive.extractfile(info)
                return file.read() if file else None
    return None


def _tar(path: Path, stem: str) -> tarfile.TarFile:
    data, name = _member(path, stem)
    if name.endswith(".zst"):
        raise Unsupported(
            f"{name} is compressed with zstd, which this Python cannot read.",
            str(path),
            "repair dpkg by hand first",
        )
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:*")


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise Damaged(f"this package cannot be read: {error}.", where, _REMEDY) from error


def _member(path: Path, stem: str) -> tuple[bytes, str]:
    """A member of the outer ar archive (deb(5))."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise Damaged("this is no Debian package.", str(path), _REMEDY)
        while len(header := file.read(_HEADER)) == _HEADER:
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            size = header[48:58].strip()
            if header[58:] != b"`\n" or not size.isdigit():
                break
            if name == stem or name.startswith(f"{stem}."):
                return file.read(int(size)), name
            file.seek(int(size) + int(size) % 2, io.SEEK_CUR)
    raise Damaged(f"this package has no {stem}.", str(path), _REMEDY)
