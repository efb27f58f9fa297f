"""Runs on the host, as `python3 -I -c`: who uses these files? Processes, units, libraries, listening ports.

Standard input: JSON `{"paths": […], "packages": […], "record": bool}`; standard output: one JSON object. Nothing but the
standard library of Python 3.6. It only reads; no damaged program is executed, ELF files are read byte by byte.
"""
# ruff: noqa: PTH100, PTH109, PTH110, PTH111, PTH112, PTH113, PTH115, PTH117, PTH118, PTH119, PTH120, PTH123, PTH208,
# ruff: noqa: UP031, SIM105, SIM115, PERF203, C901 - plain os calls start fastest and run on old interpreters; every
# look at /proc may fail by itself, because processes come and go

import glob
import json
import os
import re
import struct
import subprocess
import sys
import time

DEADLINE = time.time() + 25
MAX_PROCESSES = 8000
MAX_ELF = 6000
notes = []


def read(path: str, limit: int = 1 << 20) -> bytes:
    """A file's beginning; nothing when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError:
        return b""


def text(path: str, limit: int = 1 << 20) -> str:
    """The same as text."""
    return read(path, limit).decode("utf-8", "surrogateescape")


def late() -> bool:
    """Whether the time is up; said once."""
    if time.time() < DEADLINE:
        return False
    if "time" not in notes:
        notes.append("time")
    return True


def unit_of(pid: str) -> str:
    """The systemd unit a process belongs to, from its control group."""
    best = ""
    for line in text("/proc/%s/cgroup" % pid).split("\n"):
        for part in line.split(":", 2)[-1].split("/"):
            if part.endswith(".service") and not part.startswith("user@"):
                best = part
    return best


def sockets() -> dict:
    """Inode -> (protocol, address, port) of what listens."""
    found = {}
    for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in text("/proc/net/" + name, 4 << 20).split("\n")[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == state:
                address, port = words[1].rsplit(":", 1)
                found[words[9]] = (name[:3], spelled(address), int(port, 16))
    return found


def spelled(raw: str) -> str:
    """An address of /proc/net in the usual spelling."""
    import socket

    words = [struct.pack("=I", int(raw[i : i + 8], 16)) for i in range(0, len(raw), 8)]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 8 else socket.AF_INET6, b"".join(words))


def processes(wanted: dict, record: bool) -> tuple:
    """What has the wanted files open, who listens, and (recording) which files each unit uses."""
    hits, listeners, files, listening = [], [], {}, sockets()
    pids = [name for name in os.listdir("/proc") if name.isdigit() and name != str(os.getpid())]
    if len(pids) > MAX_PROCESSES:
        notes.append("processes")
    for pid in pids[:MAX_PROCESSES]:
        if late():
            break
        place = "/proc/" + pid
        used, unit, comm = {}, unit_of(pid), text(place + "/comm").strip()
        try:
            used[bare(os.readlink(place + "/exe"))] = "runs"
        except OSError:
            pass
        for line in text(place + "/maps", 8 << 20).split("\n"):
            at = line.find("/")
            if at > 0:
                used.setdefault(bare(line[at:]), "mapped")
        if record and unit:
            mine = files.setdefault(unit, set())
            mine.update(p for p in used if not p.startswith(("/dev/", "/memfd:", "/SYSV", "/proc/")))
        try:
            numbers = os.listdir(place + "/fd")
        except OSError:
            numbers = []
        for number in numbers[:4096]:
            try:
                target = os.readlink("%s/fd/%s" % (place, number))
            except OSError:
                continue
            if target.startswith("socket:["):
                if target[8:-1] in listening:
                    protocol, address, port = listening[target[8:-1]]
                    listeners.append([unit, comm, protocol, address, port])
            else:
                used.setdefault(bare(target), "open")
        for word in read(place + "/cmdline", 65536).split(b"\0")[1:]:
            used.setdefault(word.decode("utf-8", "surrogateescape").rpartition("=")[2], "named")
        for path, how in used.items():
            if path in wanted:
                hits.append([int(pid), comm, unit, wanted[path], how])
    return hits, listeners, files


def bare(path: str) -> str:
    """A path of /proc without the mark of a file that was replaced or removed."""
    return path[:-10] if path.endswith(" (deleted)") else path


PROPERTIES = (
    "Id", "ActiveState", "SubState", "Result", "MainPID", "ExecMainCode", "ExecMainStatus", "ExecMainPID",
    "ActiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic", "InactiveEnterTimestampMonotonic",
    "ExecMainExitTimestampMonotonic", "FragmentPath", "DropInPaths", "EnvironmentFiles", "Requires", "BindsTo",
    "PartOf", "ExecStart", "ExecStartPre",
)  # fmt: skip


def units() -> list:
    """Every loaded service unit, as systemd shows it; nothing where systemd does not answer."""
    try:
        shown = subprocess.run(
            ["systemctl", "show", "--no-pager", "--property=" + ",".join(PROPERTIES), "--", "*.service"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=15,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        notes.append("systemctl")
        return []
    if shown.returncode != 0:
        notes.append("systemctl")
    found, one = [], {}
    for line in shown.stdout.decode("utf-8", "surrogateescape").split("\n") + [""]:
        if not line:
            if one.get("Id"):
                found.append(one)
            one = {}
        else:
            name, _, value = line.partition("=")
            one[name] = (one[name] + "\n" + value) if name in one else value
    return found


EXEC = re.compile(r"path=(\S+) ; argv\[\]=(.*?) ; ignore_errors=")


def commands(unit: dict) -> list:
    """[program, word, …] of each command that starts a unit."""
    lines = unit.get("ExecStartPre", "") + "\n" + unit.get("ExecStart", "")
    return [[program] + argv.split(" ")[1:] for program, argv in EXEC.findall(lines)]


class Elf:
    """Which libraries a file needs, and where the loader finds them."""

    def __init__(self) -> None:
        self.known, self.count = {}, 0
        self.folders = []
        for name in ["/etc/ld.so.conf"] + sorted(glob.glob("/etc/ld.so.conf.d/*.conf")):
            self.folders += [line.strip() for line in text(name).split("\n") if line.startswith("/")]
        self.folders += ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
        self.folders += glob.glob("/lib/*-linux-*") + glob.glob("/usr/lib/*-linux-*")

    def needs(self, path: str) -> list:
        """Paths of the libraries a file needs directly; a name that is nowhere stays a bare name."""
        if path not in self.known:
            self.count += 1
            if self.count > MAX_ELF:
                if "elf" not in notes:
                    notes.append("elf")
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

    def find(self, name: str, own: list) -> str:
        """Where a needed library is; also where a link to it leads into the void."""
        if "/" in name:
            return name
        for folder in own + self.folders:
            place = os.path.join(folder, name)
            if os.path.lexists(place):
                return place
        return name

    def way(self, start: str, wanted: dict) -> list:
        """The files from `start` to each wanted file it needs: [[start, …, wanted], …]."""
        ways, todo, seen = [], [[start]], {os.path.realpath(start)}
        while todo and not late():
            trail = todo.pop(0)
            for needed in self.needs(trail[-1]):
                real = os.path.realpath(needed) if "/" in needed else needed
                if real in seen:
                    continue
                seen.add(real)
                hit = wanted.get(real) or wanted.get(needed) or wanted.get("/?/" + os.path.basename(needed))
                if hit:
                    ways.append(trail + [hit])
                if "/" in needed:
                    todo.append(trail + [real])
        return ways


def dynamic(path: str) -> tuple:
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


PLUGINS = (
    "/usr/lib/%s",
    "/usr/lib/*-linux-*/%s",
    "/usr/lib64/%s",
    "/usr/libexec/%s",
    "/usr/share/%s/modules",
)


def plugins(program: str) -> list:
    """Libraries in folders that carry the program's name: what it loads by itself."""
    found = []
    for pattern in PLUGINS:
        for folder in glob.glob(pattern % os.path.basename(program)):
            for place, _, names in os.walk(folder):
                found += [os.path.join(place, name) for name in names if name.endswith(".so")]
                if len(found) > 500 or late():
                    return found[:500]
    return found


def environment(program: str) -> str:
    """The Python environment a program starts in, or nothing."""
    for candidate in (program, interpreter(program)):
        folder = os.path.dirname(os.path.dirname(candidate)) if candidate else ""
        if folder and os.path.exists(os.path.join(folder, "pyvenv.cfg")):
            return folder
    return ""


def interpreter(program: str) -> str:
    """The interpreter a script names in its first line."""
    first = read(program, 256).split(b"\n")[0]
    return (
        first[2:].split()[0].decode("utf-8", "replace")
        if first.startswith(b"#!") and first[2:].split()
        else ""
    )


def uses(unit: dict, wanted: dict, owned: dict, elf: Elf) -> list:
    """Why a unit needs damaged things: [path, [sentence, …]]."""
    found, name = [], unit["Id"]
    for path in [unit.get("FragmentPath", "")] + unit.get("DropInPaths", "").split():
        if path in wanted:
            found.append([wanted[path], ["it is a unit file of " + name]])
    for line in unit.get("EnvironmentFiles", "").split("\n"):
        if line.split(" ")[0] in wanted:
            found.append([wanted[line.split(" ")[0]], [name + " reads its environment from it"]])
    for words in commands(unit):
        program, real = words[0], os.path.realpath(words[0])
        if program in owned or unit.get("FragmentPath", "") in owned:
            package = owned.get(program) or owned[unit["FragmentPath"]]
            found.append([package, ["%s of %s comes from this package" % (program, name)]])
        hit = wanted.get(program) or wanted.get(real)
        if hit:
            found.append([hit, [name + " starts this program"]])
        for word in words[1:]:
            value = word.rpartition("=")[2]
            for path in wanted if value.count("/") > 1 else ():
                if path == value or path.startswith(value.rstrip("/") + "/"):
                    found.append([wanted[path], ["the command line of %s names %s" % (name, value)]])
        inside = environment(program)
        for path in wanted if inside else ():
            if path.startswith(inside + "/"):
                found.append([wanted[path], ["%s runs in the Python environment %s" % (name, inside)]])
        script = interpreter(program)
        for way in elf.way(real, wanted) + (elf.way(os.path.realpath(script), wanted) if script else []):
            found.append([way[-1], linked(way) + [name + " starts " + program]])
        for plugin in plugins(program):
            hits = (
                [[plugin, wanted[plugin]]] if plugin in wanted else elf.way(os.path.realpath(plugin), wanted)
            )
            for way in hits:
                lies = "%s lies in a module folder of %s" % (plugin, program)
                found.append(
                    [
                        way[-1],
                        ([] if way[0] == way[-1] else linked(way)) + [lies, name + " starts " + program],
                    ]
                )
    return found


def linked(way: list) -> list:
    """A chain of libraries in words, from the damaged one up to the program."""
    pairs = list(zip(way[:-1], way[1:]))[::-1]
    return ["%s is linked with %s" % (user, needed) for user, needed in pairs]


def package_files(names: list) -> dict:
    """Path -> package, of the packages named (dpkg's own lists)."""
    owned = {}
    for name in names:
        for place in glob.glob("/var/lib/dpkg/info/%s.list" % glob.escape(name)) + glob.glob(
            "/var/lib/dpkg/info/%s:*.list" % glob.escape(name)
        ):
            for path in text(place, 8 << 20).split("\n"):
                if path.startswith("/") and not os.path.isdir(path):
                    owned[path] = name
                    owned[os.path.realpath(path)] = name
    return owned


def main() -> None:
    """Look, and say it."""
    asked = json.load(sys.stdin)
    wanted = {}
    for path in asked["paths"]:
        for alias in (path, os.path.realpath(path)):
            wanted[alias] = path
        if not os.path.lexists(path) and ".so" in os.path.basename(path):
            wanted["/?/" + os.path.basename(path)] = path
    hits, listeners, files = processes(wanted, asked["record"])
    loaded, owned, elf, links = units(), package_files(asked["packages"]), Elf(), []
    if asked["paths"] or asked["packages"]:
        for unit in loaded:
            links += [[unit["Id"]] + use for use in uses(unit, wanted, owned, elf)]
    keep = [u for u in loaded if u.get("ExecStart") or u.get("MainPID", "0") != "0"]
    json.dump(
        {
            "skew": time.time() - time.clock_gettime(time.CLOCK_MONOTONIC),
            "processes": hits,
            "listeners": listeners,
            "units": [{k: v for k, v in u.items() if not k.startswith("ExecStart")} for u in keep],
            "links": links,
            "files": {unit: sorted(paths) for unit, paths in files.items()},
            "notes": notes,
        },
        sys.stdout,
    )


main()
