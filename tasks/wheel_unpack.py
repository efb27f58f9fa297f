"""Runs on the host, on standard input of the environment's `python -I -S -`: installs one wheel without pip.

Arguments: the wheel, the site-packages folder, the environment's folder, its interpreter, who had installed it (`pip`).
Nothing but the standard library of Python 3.6; nothing of the environment is imported. Only what differs is written,
each file in one rename, so that a second run after an interruption ends in the same. The wheel was judged before.
"""
# ruff: noqa: PTH101, PTH102, PTH105, PTH107, PTH112, PTH113, PTH114, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208, UP031
# - plain os calls run on old interpreters and take any bytes as names

import base64
import configparser
import csv
import hashlib
import io
import os
import py_compile
import re
import sys
import zipfile

BOOKKEEPING = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")

PIP = """# -*- coding: utf-8 -*-
import re
import sys
from %(module)s import %(name)s
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(%(call)s())
"""
UV = """# -*- coding: utf-8 -*-
import sys
from %(module)s import %(name)s
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit(%(call)s())
"""


def coded(data: bytes) -> str:
    """A hash as RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def read(path: str) -> "bytes | None":
    """A plain file's content; None where there is none."""
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


class Place:
    """Where things are put: a site, the folder around it, and the modes and owner that hold there."""

    def __init__(self, site: str, prefix: str) -> None:
        self.site, self.prefix = site, prefix
        info = os.stat(site)
        self.uid, self.gid, self.read = info.st_uid, info.st_gid, (info.st_mode & 0o444) | 0o400
        self.written = 0

    def folder(self, path: str) -> None:
        """Make a folder and those above it; nothing is written through a link."""
        if path in (self.site, self.prefix, os.path.dirname(self.prefix)):
            return
        if os.path.islink(path):
            raise SystemExit("%s is a link: it is not written through" % path)
        if not os.path.isdir(path):
            self.folder(os.path.dirname(path))
            os.mkdir(path)
            self.dress(path, 0o200 | self.read | (self.read >> 2))

    def dress(self, path: str, mode: int) -> None:
        """Give a new path its mode and the environment's owner."""
        os.chmod(path, mode)
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def put(self, path: str, data: bytes, program: bool) -> None:
        """Write a file unless it is there as it should be."""
        mode = 0o200 | self.read | ((self.read >> 2) if program else 0)
        if read(path) == data:
            right = os.stat(path).st_mode & 0o7777
            if right & mode == mode and not right & 0o6002:
                return
        self.folder(os.path.dirname(path))
        if os.path.isdir(path) and not os.path.islink(path):
            raise SystemExit("%s is a folder now: set it aside first" % path)
        part = path + ".reinstate-part"
        if os.path.lexists(part):
            os.remove(part)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self.dress(part, mode)
        os.replace(part, path)
        self.written += 1


def script(python: str, target: str, rows: "dict[str, str]", own: str) -> bytes:
    """A console script: as it was written before, if the old list knows its hash, else as pip writes it."""
    module, _, call = target.partition(":")
    facts = {"module": module, "name": call.split(".")[0], "call": call}
    bin_folder = os.path.dirname(python)
    names = [python] + [
        os.path.join(bin_folder, one) for one in ("python", "python3", "python%d.%d" % sys.version_info[:2])
    ]
    made = []
    for path in names:
        head = "#!%s\n" % path
        if len(head) > 127 or " " in path:
            head = "#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''\n" % path
        made += [(head + text % facts).encode("utf-8") for text in (PIP, UV)]
    return next((data for data in made if coded(data) == rows.get(own)), made[0])


def scripts(archive: zipfile.ZipFile, info: str) -> "dict[str, str]":
    """Console and GUI scripts of the wheel: name and target."""
    if info + "/entry_points.txt" not in archive.namelist():
        return {}
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names keep their case
    parser.read_string(archive.read(info + "/entry_points.txt").decode("utf-8"))
    found = {}
    for section in ("console_scripts", "gui_scripts"):
        if parser.has_section(section):
            found.update({name: value.split("[")[0].strip() for name, value in parser.items(section)})
    return found


def rows_of(data: "bytes | None") -> "list[list[str]]":
    """The rows of a RECORD; none when it is no list."""
    try:
        rows = list(csv.reader(io.StringIO((data or b"").decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return []
    return rows if all(len(row) == 3 for row in rows) else []


def byte_code(place: Place, path: str) -> None:
    """Byte code of a module is made anew where there was some: it may be of the damaged file."""
    cache = os.path.join(os.path.dirname(path), "__pycache__")
    stem = os.path.basename(path)[:-3]
    if os.path.islink(cache) or not os.path.isdir(cache):
        return
    for name in os.listdir(cache):
        if re.match(re.escape(stem) + r"\.[a-z0-9-]+(\.opt-[12])?\.pyc\Z", name):
            old = os.path.join(cache, name)
            os.remove(old)
            if ".opt-" not in name and sys.implementation.cache_tag in name:
                try:
                    py_compile.compile(path, cfile=old, doraise=True)
                except (py_compile.PyCompileError, OSError):
                    continue
                place.dress(old, 0o200 | place.read)


class Installation:
    """One wheel on its way into its place."""

    def __init__(self, archive: zipfile.ZipFile, place: Place, python: str) -> None:
        self.archive, self.place, self.python = archive, place, python
        self.entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
        if any(part in ("", ".", "..") for entry in self.entries for part in entry.filename.split("/")):
            raise SystemExit("a name in the wheel leaves its place")
        tops = (entry.filename.split("/")[0] for entry in self.entries)
        self.info = next(top for top in tops if top.endswith(".dist-info"))
        self.record = os.path.join(place.site, self.info, "RECORD")
        self.old = {row[0]: row[1] for row in rows_of(read(self.record))}
        self.rows = {self.info + "/RECORD": ("", "")}
        self.modules = []  # type: list[str]

    def own(self, path: str) -> str:
        """A path as RECORD writes it."""
        return os.path.relpath(path, self.place.site).replace(os.sep, "/")

    def put(self, path: str, data: bytes, program: bool = False) -> None:
        """Write a file and remember its row."""
        self.place.put(path, data, program)
        self.rows[self.own(path)] = (coded(data), str(len(data)))
        if path.endswith(".py") and path.startswith(self.place.site + "/"):
            self.modules.append(path)

    def members(self) -> None:
        """Everything the wheel holds but RECORD."""
        for entry in self.entries:
            first, *rest = entry.filename.split("/")
            data = self.archive.read(entry)
            program = bool((entry.external_attr >> 16) & 0o111)
            if entry.filename == self.info + "/RECORD":
                continue
            if first != self.info[: -len(".dist-info")] + ".data":
                path = os.path.join(self.place.site, first, *rest)
            elif rest[0] in ("purelib", "platlib"):
                path = os.path.join(self.place.site, *rest[1:])
            elif rest[0] == "data":
                path = os.path.join(self.place.prefix, *rest[1:])
            elif rest[0] == "scripts":
                path, program = os.path.join(self.place.prefix, "bin", *rest[1:]), True
                if data.startswith(b"#!python"):
                    data = b"#!" + self.python.encode() + data[data.index(b"\n") :]
            else:
                continue
            self.put(path, data, program)

    def programs(self) -> None:
        """The console and GUI scripts."""
        for name, target in sorted(scripts(self.archive, self.info).items()):
            path = os.path.join(self.place.prefix, "bin", name)
            self.put(path, script(self.python, target, self.old, self.own(path)), True)

    def bookkeeping(self, installer: str) -> None:
        """What the installer noted: kept as it was; INSTALLER is told by its hash where it is lost."""
        for name in BOOKKEEPING:
            path = os.path.join(self.place.site, self.info, name)
            there = read(path)
            noted = self.old.get(self.info + "/" + name)
            if name == "INSTALLER" and (there is None or not re.match(rb"[a-z0-9._-]{1,40}\n?\Z", there)):
                guesses = [word + end for word in (b"pip", b"uv", installer.encode()) for end in (b"\n", b"")]
                there = next(
                    (guess for guess in guesses if coded(guess) == noted), installer.encode() + b"\n"
                )
            elif there is None and name == "REQUESTED" and noted is not None:
                there = b""
            if there is not None and (name == "INSTALLER" or noted is not None or not self.old):
                self.put(path, there)

    def list(self) -> None:
        """RECORD: as it was, where all it says still holds."""
        kept = {path: said for path, said in self.old.items() if not path.endswith((".pyc", ".pyo"))}
        data = read(self.record)
        if data is None or kept != {path: row[0] for path, row in self.rows.items()}:
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows(
                [path, *row] for path, row in sorted(self.rows.items())
            )
            data = text.getvalue().encode("utf-8")
        self.place.put(self.record, data, False)


def main() -> None:
    """Install the wheel; says how many files were written."""
    wheel, site, prefix, python, installer = sys.argv[1:6]
    place = Place(site, prefix)
    with zipfile.ZipFile(wheel) as archive:
        installation = Installation(archive, place, python)
        installation.members()
        installation.programs()
        installation.bookkeeping(installer)
        installation.list()
    for path in installation.modules:
        byte_code(place, path)
    sys.stdout.write("%d\n" % place.written)


if __name__ == "__main__":
    main()
