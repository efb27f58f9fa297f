"""Runs on the host, as `python3 -I -c`: who uses these files? Processes, units, libraries, listening ports.

Standard input: JSON `{"paths": […], "packages": […], "units": […], "record": bool}`; standard output: one JSON object.
The text of `elf_probe` is sent in front of this one. Nothing but the standard library of Python 3.6. It only reads.
"""
# ruff: noqa: PTH110, PTH112, PTH115, PTH118, PTH119, PTH120, PTH123, PTH207, PTH208, UP031, SIM105, PERF401, C901 - plain
# os calls start fastest and run on old interpreters; each look at /proc may fail by itself, as processes come and go

import glob
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

TYPE_CHECKING = False  # without the typing module; type checkers know the name
if TYPE_CHECKING:
    from typing import Any

    Row = list[Any]
    Unit = dict[str, str]

if "Elf" not in globals():  # on the host its text stands above
    from checks.elf_probe import Elf

DEADLINE = time.time() + 25
MAX_PROCESSES = 8000
notes: "list[str]" = []


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


def sockets() -> "dict[str, tuple[str, str, int]]":
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
    words = [struct.pack("=I", int(raw[i : i + 8], 16)) for i in range(0, len(raw), 8)]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 8 else socket.AF_INET6, b"".join(words))


def processes(wanted: "dict[str, str]", record: bool) -> "tuple[list[Row], list[Row], dict[str, set[str]]]":
    """What has the wanted files open, who listens, and (recording) which files each unit uses."""
    hits: list[Row] = []
    listeners: list[Row] = []
    files: dict[str, set[str]] = {}
    listening = sockets()
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


def units(named: "list[str]") -> "list[Unit]":
    """Every loaded service unit and those named, as systemd shows them; nothing where systemd does not answer."""
    try:
        shown = subprocess.run(
            ["systemctl", "show", "--no-pager", "--property=" + ",".join(PROPERTIES), "--", "*.service", *named],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=15,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        notes.append("systemctl")
        return []
    if shown.returncode != 0:
        notes.append("systemctl")
    found: list[Unit] = []
    one: Unit = {}
    for line in shown.stdout.decode("utf-8", "surrogateescape").split("\n"):
        if not line:
            if one.get("Id"):
                found.append(one)
            one = {}
        else:
            name, _, value = line.partition("=")
            one[name] = (one[name] + "\n" + value) if name in one else value
    return [*found, one] if one.get("Id") else found


EXEC = re.compile(r"path=(\S+) ; argv\[\]=(.*?) ; ignore_errors=")


def commands(unit: "Unit") -> "list[list[str]]":
    """[program, word, …] of each command that starts a unit."""
    lines = unit.get("ExecStartPre", "") + "\n" + unit.get("ExecStart", "")
    return [[program, *argv.split(" ")[1:]] for program, argv in EXEC.findall(lines)]


PLUGINS = (
    "/usr/lib/%s",
    "/usr/lib/*-linux-*/%s",
    "/usr/lib64/%s",
    "/usr/libexec/%s",
    "/usr/share/%s/modules",
)


def plugins(program: str) -> "list[str]":
    """Libraries in folders that carry the program's name: what it loads by itself."""
    found: list[str] = []
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


def uses(unit: "Unit", wanted: "dict[str, str]", owned: "dict[str, str]", elf: Elf) -> "list[Row]":
    """Why a unit needs damaged things: [path, [sentence, …]]."""
    found: list[Row] = []
    name = unit["Id"]
    for path in [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split()]:
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
            found.append([way[-1], [*linked(way), name + " starts " + program]])
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


def linked(way: "list[str]") -> "list[str]":
    """A chain of libraries in words, from the damaged one up to the program."""
    pairs = [(way[n], way[n + 1]) for n in range(len(way) - 1)][::-1]
    return ["%s is linked with %s" % (user, needed) for user, needed in pairs]


def package_files(names: "list[str]") -> "dict[str, str]":
    """Path -> package, of the packages named (dpkg's own lists)."""
    owned: dict[str, str] = {}
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
    loaded, owned, elf, links = units(asked["units"]), package_files(asked["packages"]), Elf(late), []
    if asked["paths"] or asked["packages"]:
        for unit in loaded:
            links += [[unit["Id"], *use] for use in uses(unit, wanted, owned, elf)]
    if elf.full:
        notes.append("elf")
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
