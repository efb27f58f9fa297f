"""What a .deb says about itself and holds, read here without dpkg: for hosts whose own dpkg-deb or tar is damaged."""

from __future__ import annotations

import contextlib
import io
import lzma
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    wanted = set(names)

    def chosen(place: str) -> bool:
        folder, _, name = place.rpartition("/")
        return name in wanted and folder.rpartition("/")[2] in {"bin", "sbin"}

    found = members(path, chosen)
    return {place.rpartition("/")[2]: one for place, one in found.items() if one[0].isreg()}


def members(path: Path, chosen: Callable[[str], bool]) -> Mapping[str, tuple[tarfile.TarInfo, bytes]]:
    """Files and links of a package whose absolute path is chosen, with their content; hard links as files.

    Raises:
        Damaged, Unsupported: as above.
    """
    found: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    with _readable(str(path)), _tar(path, "data.tar") as archive:
        for info in archive:
            place = "/" + info.name.removeprefix("./").lstrip("/")
            if (info.isreg() or info.issym() or info.islnk()) and chosen(place):
                file = None if info.issym() else archive.extractfile(info)
                found[place] = (info, file.read() if file else b"")
    return found


def paths(path: Path) -> list[str]:
    """Absolute paths of everything a package brings.

    Raises:
        Damaged, Unsupported: as above.
    """
    with _readable(str(path)), _tar(path, "data.tar") as archive:
        names = ["/" + info.name.removeprefix("./").strip("/") for info in archive]
    return [name for name in names if name not in ("/", "/.")]


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
        data = _unzstd(data, str(path))
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:*")


def _unzstd(data: bytes, where: str) -> bytes:
    """Ubuntu's packages; Python reads zstd itself from 3.14 on, until then the `zstd` program does."""
    program = shutil.which("zstd")
    if program is None:
        raise Unsupported(
            "this package is compressed with zstd, which nothing here can read.",
            where,
            "install `zstd` on this machine",
        )
    done = subprocess.run([program, "-dcq"], input=data, capture_output=True, check=False, timeout=600)
    if done.returncode:
        raise Damaged("this package cannot be read: zstd says it is damaged.", where, _REMEDY)
    return done.stdout


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
