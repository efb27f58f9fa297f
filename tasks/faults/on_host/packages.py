"""Runs on the host, joined to `common`: which packages a drill may damage, and a killed upgrade.

A package that the host, the repair or the checks stand on is never offered, nor what it depends on; one that the plan
names may be what the checks use.
"""

import fnmatch
import glob
import os
import re
import signal
import subprocess

from tasks.faults.on_host.common import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.faults.on_host.common import Request

VITAL = (
    "apt", "base-files", "bash", "ca-certificates", "coreutils", "curl", "dash", "dbus", "debianutils", "diffutils",
    "dnf", "dpkg", "e2fsprogs", "findutils", "glibc", "gpgv", "grep", "gzip", "init", "iproute2", "iptables", "kmod",
    "libc-bin", "libc6", "login", "mount", "netbase", "nftables", "openssh-*", "openssl", "passwd", "perl", "perl-base",
    "procps", "python3", "rpm", "sed", "sudo", "tar",
    "systemd*", "udev", "util-linux", "yum",
)  # fmt: skip
TOOLS = (
    "borgbackup*", "mariadb*", "mysql*", "pgbackrest", "postgresql*", "rclone", "restic", "rsync", "sqlite3",
)  # fmt: skip
INFO = "/var/lib/dpkg/info"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config", "triggers", "conffiles")
LARGEST = 64 << 20


def output(words: "list[str]") -> str:
    """What a program prints; empty where it does not run."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "surrogateescape")


def is_vital(name: str, named: bool) -> bool:
    """Whether a package is one of those; what the plan names may be what the checks use."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (VITAL if named else VITAL + TOOLS))


def stanzas() -> "dict[str, dict[str, str]]":
    """Installed packages of dpkg by name."""
    found: dict[str, dict[str, str]] = {}
    with open("/var/lib/dpkg/status", encoding="utf-8", errors="surrogateescape") as file:
        for block in file.read().split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", block, re.MULTILINE))
            if fields.get("Status", "").split()[-1:] == ["installed"] and fields.get("Status", "").startswith(
                "install "
            ):
                found.setdefault(fields["Package"], fields)
    return found


def names_in(text: str) -> "list[str]":
    """Names of packages in a list of dependencies."""
    return re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\([^)]*\)|:[a-z0-9]+", "", text))


def spare(named: bool) -> "list[str]":
    """Packages of dpkg that nothing vital is or needs."""
    known = stanzas()
    provided: dict[str, list[str]] = {}
    for name, fields in known.items():
        for word in [name, *names_in(fields.get("Provides", ""))]:
            provided.setdefault(word, []).append(name)
    needs = {
        name: names_in(fields.get("Depends", "") + "," + fields.get("Pre-Depends", ""))
        for name, fields in known.items()
    }
    base = [n for n, f in known.items() if f.get("Essential") == "yes" or f.get("Priority") == "required"]
    return unneeded(list(known), base, needs, provided, named)


def spare_rpm(named: bool) -> "list[str]":
    """Packages of rpm that nothing vital is or needs."""
    needs: dict[str, list[str]] = {}
    provided: dict[str, list[str]] = {}
    for line in output(["rpm", "-qa", "--qf", "[%{=NAME}\t%{REQUIRENAME}\n]"]).splitlines():
        name, _, word = line.partition("\t")
        needs.setdefault(name, []).append(word)
    for line in output(["rpm", "-qa", "--qf", "[%{=NAME}\t%{PROVIDENAME}\n]"]).splitlines():
        name, _, word = line.partition("\t")
        provided.setdefault(word, []).append(name)
    names = output(["rpm", "-qa", "--qf", "%{NAME}\n"]).split()
    return unneeded(names, [], needs, provided, named)


def unneeded(
    names: "list[str]", base: "list[str]", needs: "dict[str, list[str]]", provided: "dict[str, list[str]]", named: bool
) -> "list[str]":  # fmt: skip
    """Names that are neither vital nor in `base`, and that none of these needs, directly or not."""
    todo = [name for name in names if is_vital(name, named)] + base
    needed = set()
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            for word in needs.get(name, []):
                todo += provided.get(word, [])
    return [name for name in names if name not in needed]


def packages(request: "Request") -> "Request":
    """Packages that may be damaged, and the program of a unit with the package it came from."""
    rpm, named = request["family"] == "rpm", request["named"]
    offered = spare_rpm(named) if rpm else spare(named)
    program = ""
    if request["unit"]:
        said = output(["systemctl", "show", "--property=ExecStart", "--value", "--", request["unit"]])
        match = re.search(r"path=(\S+)", said)
        program = os.path.realpath(match.group(1)) if match else ""
    return {"packages": offered, "program": program, "owner": owner(program, rpm) if program else ""}


def owner(path: str, rpm: bool) -> str:
    """The package a file came from; empty: none."""
    if rpm:
        names = output(["rpm", "-qf", "--qf", "%{NAME}\n", path]).split()
        return names[0] if names and os.path.exists(path) else ""
    for name in (path, path[4:] if path.startswith("/usr/") else path):
        said = output(["dpkg-query", "--search", "--", name])
        if said:
            return str(re.split("[:,]", said)[0])
    return ""


def contents(request: "Request") -> "Request":
    """Delivered files of a package that a check reads: regular, under their real path, with one name."""
    package = request["package"]
    if request["family"] == "rpm":
        rows = [line.rsplit(" ", 10) for line in output(["rpm", "-q", "--dump", package]).splitlines()]
        paths = [row[0] for row in rows if len(row) == 11 and set(row[3]) != {"0"} and row[7] == "0"]
    else:
        paths = []
        for name in glob.glob("%s/%s.md5sums" % (INFO, package)) + glob.glob(
            "%s/%s:*.md5sums" % (INFO, package)
        ):
            with open(name, encoding="utf-8", errors="surrogateescape") as file:
                paths += ["/" + line.rstrip("\n").partition("  ")[2] for line in file]
    return {"paths": [path for path in paths if fits(path, request)]}


def fits(path: str, request: "Request") -> bool:
    """Whether a file may be damaged."""
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in request["ignore"]) or not os.path.isfile(path):
        return False
    info = os.lstat(path)
    if os.path.realpath(path) != path or info.st_nlink != 1 or not 64 <= info.st_size <= LARGEST:
        return False
    if not request["libraries"]:
        return True
    with open(path, "rb") as file:
        return ".so" in os.path.basename(path) and file.read(4) == b"\x7fELF"


def libraries(request: "Request") -> "Request":
    """Shared libraries that a program uses, with the packages they came from."""
    found = {os.path.realpath(path) for path in re.findall(r"=> (/\S+)", output(["ldd", request["of"]]))}
    owners = {path: owner(path, request["family"] == "rpm") for path in sorted(found)}
    return {"owners": owners}


def plain(request: "Request") -> "Request":
    """Packages that may be damaged, without scripts or configuration: unpacking them starts and stops nothing."""
    there = set()
    for name in os.listdir(INFO):
        stem, _, what = name.rpartition(".")
        if what in SCRIPTS:
            there.add(stem.split(":")[0])
    return {"packages": [name for name in spare(request["named"]) if name not in there]}


def deb(request: "Request") -> "Request":
    """The package's file of the installed version in a folder: from apt's cache, or from its sources."""
    fields = stanzas()[request["package"]]
    version, folder = fields["Version"], request["folder"]
    os.makedirs(folder, 0o700, exist_ok=True)
    name = "%s_%s_%s.deb" % (request["package"], version.replace(":", "%3a"), fields["Architecture"])
    cached = os.path.join("/var/cache/apt/archives", name)
    target = os.path.join(folder, name)
    if os.path.isfile(cached):
        with open(cached, "rb") as source, open(target, "wb") as copy:
            copy.write(source.read())
    else:
        words = [
            "apt-get",
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            "%s=%s" % (request["package"], version),
        ]
        subprocess.run(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    return {"deb": target if os.path.isfile(target) else ""}


def state_of(package: str) -> str:
    """As dpkg says it: `installed`, `unpacked`, `half-installed` and so on."""
    return output(["dpkg-query", "--show", "--showformat=${db:Status-Status}", "--", package])


def upgrade(request: "Request") -> "Request":
    """Unpack the package and kill dpkg in the middle; where it was faster, it is never configured all the same."""
    package = request["package"]
    words = ["dpkg", "--force-confold", "--status-fd", "1", "--unpack", request["deb"]]
    for attempt in range(2):
        if state_of(package) != "installed":
            break
        running = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env=dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C"),
        )  # fmt: skip
        for line in running.stdout or ():
            if attempt == 0 and b": half-installed" in line:
                os.killpg(running.pid, signal.SIGKILL)
                break
        running.wait()
    return {"state": state_of(package)}


def install(request: "Request") -> "Request":
    """End what was killed, unless the recovery did; remove what it left beside the package's files."""
    package, said = request["package"], ""
    if state_of(package) != "installed":
        done = subprocess.run(
            ["dpkg", "--force-confold", "--install", request["deb"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C"),
        )  # fmt: skip
        said = done.stdout.decode("utf-8", "replace")[-300:]
    for path in beside(package):
        os.remove(path)
    state = state_of(package)
    return {"state": state} if state == "installed" else {"refused": "%s is %s: %s" % (package, state, said)}


def beside(package: str) -> "list[str]":
    """What a killed dpkg leaves beside the files of a package."""
    found = []
    for name in glob.glob("%s/%s.list" % (INFO, package)) + glob.glob("%s/%s:*.list" % (INFO, package)):
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            found += [line.rstrip("\n") + end for line in file for end in (".dpkg-new", ".dpkg-tmp")]
    return [path for path in found if os.path.isfile(path)]


if __name__ == "__main__":
    serve(
        {
            "packages": packages, "contents": contents, "libraries": libraries, "plain": plain, "deb": deb,
            "upgrade": upgrade, "install": install,
        }
    )  # fmt: skip
