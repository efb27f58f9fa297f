"""Runs on the host, in front of `impact_probe`: which libraries an ELF file needs, and where the loader finds them.

Nothing but the standard library of Python 3.6. Files are read byte by byte; none is ever executed or loaded.
"""
# ruff: noqa: PTH118, PTH119, PTH120, PTH123, PTH207, RUF005 - plain os calls, on old interpreters

import glob
import os
import struct

TYPE_CHECKING = False  # without the typing module; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ELF = 6000
"""Files read at most."""


class Elf:
    """Which libraries a file needs, and where the loader finds them."""

    def __init__(self, late: "Callable[[], bool]") -> None:
        """Read where the loader looks.

        Args:
            late: whether the time is up.
        """
        self.late = late
        self.known: dict[str, list[str]] = {}
        self.full = False
        self.folders: list[str] = []
        for name in ["/etc/ld.so.conf"] + sorted(glob.glob("/etc/ld.so.conf.d/*.conf")):
            self.folders += [line.strip() for line in lines(name) if line.startswith("/")]
        self.folders += ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
        self.folders += glob.glob("/lib/*-linux-*") + glob.glob("/usr/lib/*-linux-*")

    def needs(self, path: str) -> "list[str]":
        """Paths of the libraries a file needs directly; a name that is nowhere stays a bare name."""
        if path not in self.known:
            if len(self.known) >= MAX_ELF:
                self.full = True
                return []
            try:
                names, runpath = dynamic(path)
            except (OSError, ValueError, struct.error, IndexError):
                names, runpath = [], []
            own = [
                r.replace("$ORIGIN", os.path.dirname(path)).replace("${ORIGIN}", os.path.dirname(path))
                for r in runpath
            ]
            self.known[path] = [self.find(name, own) for name in names]
        return self.known[path]

    def find(self, name: str, own: "list[str]") -> str:
        """Where a needed library is; also where a link to it leads into the void."""
        if "/" in name:
            return name
        for folder in own + self.folders:
            place = os.path.join(folder, name)
            if os.path.lexists(place):
                return place
        return name

    def way(self, start: str, wanted: "dict[str, str]") -> "list[list[str]]":
        """The files from `start` to each wanted file it needs: [[start, …, wanted], …]."""
        ways, todo, seen = [], [[start]], {os.path.realpath(start)}
        while todo and not self.late():
            trail = todo.pop(0)
            for needed in self.needs(trail[-1]):
                real = os.path.realpath(needed) if "/" in needed else needed
                if real in seen:
                    continue
                seen.add(real)
                hit = wanted.get(real) or wanted.get(needed) or wanted.get("/?/" + os.path.basename(needed))
                if hit:
                    ways.append([*trail, hit])
                if "/" in needed:
                    todo.append([*trail, real])
        return ways


def dynamic(path: str) -> "tuple[list[str], list[str]]":
    """DT_NEEDED and DT_RUNPATH/DT_RPATH of an ELF file (System V ABI, chapter 5)."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return [], []
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        if wide:
            (start,) = struct.unpack(order + "Q", head[32:40])
            size, count = struct.unpack(order + "HH", head[54:58])
        else:
            (start,) = struct.unpack(order + "I", head[28:32])
            size, count = struct.unpack(order + "HH", head[42:46])
        loads, table = [], None
        for number in range(min(count, 128)):
            file.seek(start + number * size)
            entry = file.read(size)
            (kind,) = struct.unpack(order + "I", entry[:4])
            if wide:
                offset, address = struct.unpack(order + "QQ", entry[8:24])
                (length,) = struct.unpack(order + "Q", entry[32:40])
            else:
                offset, address = struct.unpack(order + "II", entry[4:12])
                (length,) = struct.unpack(order + "I", entry[16:20])
            if kind == 1:
                loads.append((address, offset, length))
            elif kind == 2:
                table = (offset, min(length, 1 << 16))
        if table is None:
            return [], []
        file.seek(table[0])
        data, step = file.read(table[1]), 16 if wide else 8
        form = order + ("QQ" if wide else "II")
        tags = [struct.unpack(form, data[i : i + step]) for i in range(0, len(data) - step + 1, step)]
        strings = next(value for tag, value in tags if tag == 5)
        base = next(o + strings - a for a, o, length in loads if a <= strings < a + length)
        needed, paths = [], []
        for tag, value in tags:
            if tag == 0:
                break
            if tag in {1, 15, 29}:
                file.seek(base + value)
                word = file.read(1024).split(b"\0")[0].decode("utf-8", "surrogateescape")
                if tag == 1:
                    needed.append(word)
                else:
                    paths += word.split(":")
        return needed, paths


def lines(path: str) -> "list[str]":
    """The lines of a small file; none when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20).split("\n")
    except OSError:
        return []
