"""Runs on the host, joined to `common`: chooses what is damaged; it only reads."""

import base64
import fnmatch
import glob
import hashlib
import os
import stat

from tasks.faults.on_host.common import Refused, below, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.faults.on_host.common import Request

PATHS = 20000
"""A tree with more is no subject of a drill."""


def ranked(seed: str, names: "list[str]") -> "list[str]":
    """As `Fault.pick` has it."""

    def rank(name: str) -> str:
        return hashlib.sha256(("%s:%s" % (seed, name)).encode("utf-8", "surrogateescape")).hexdigest()

    return sorted(names, key=rank)


def excluded(relative: str, patterns: "list[str]") -> bool:
    """As `checks.stat.excluded` has it."""
    parts = relative.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in above)


def walk(root: str, patterns: "list[str]") -> "tuple[list[str], list[str]]":
    """Regular files with content and one name, and folders, below a root or the root itself where it is a file."""
    if os.path.isfile(root) and not os.path.islink(root):
        return [root], []
    files, folders, count = [], [], 0
    for folder, names, others in os.walk(root):
        relative = os.path.relpath(folder, root)
        names[:] = [n for n in names if not excluded(os.path.normpath(os.path.join(relative, n)), patterns)]
        if folder != root:
            folders.append(folder)
        for name in others:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            plain = stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size > 0
            if plain and not excluded(os.path.normpath(os.path.join(relative, name)), patterns):
                files.append(path)
        count += len(others)
        if count > PATHS * 10:
            raise Refused("there are more than %d files below %s" % (PATHS * 10, root))
    return files, folders


def pick_files(request: "Request") -> "Request":
    """Files below a root, so many, together no larger than allowed."""
    files, _ = walk(request["root"], request["exclude"])
    chosen: list[str] = []
    total = 0
    for path in ranked(request["seed"], files):
        size = os.lstat(path).st_size
        if len(chosen) < request["count"] and total + size <= request["most"]:
            chosen.append(path)
            total += size
    if not chosen:
        raise Refused("there is no file with content below %s that is small enough to keep" % request["root"])
    return {"paths": chosen}


def pick_directory(request: "Request") -> "Request":
    """A folder with files, small enough to keep, and everything in it."""
    root, patterns = request["root"], request["exclude"]
    _, folders = walk(root, patterns)
    for folder in ranked(request["seed"], folders):
        tree = below(folder)
        size = sum(os.lstat(path).st_size for path in tree)
        named = any(excluded(os.path.relpath(path, root), patterns) for path in tree)
        whole = not any(os.path.ismount(path) for path in tree if os.path.isdir(path))
        files = [path for path in tree if not os.path.islink(path) and not os.path.isdir(path)]
        whole = whole and all(stat.S_ISREG(os.lstat(f).st_mode) and os.lstat(f).st_nlink == 1 for f in files)
        if files and whole and not named and size <= request["most"] and len(tree) <= PATHS:
            return {"paths": [folder], "files": len(files)}
    raise Refused("there is no folder with files below %s that is small enough to keep" % root)


def pick_text(request: "Request") -> "Request":
    """Small files that match patterns, with their content."""
    paths = sorted({path for pattern in request["patterns"] for path in glob.glob(pattern)})
    texts = {}
    for path in paths:
        if os.path.isfile(path) and os.path.getsize(path) <= 1 << 21:
            with open(path, "rb") as file:
                texts[path] = base64.b64encode(file.read()).decode()
    return {"texts": texts, "reals": {path: os.path.realpath(path) for path in texts}}


def check_mount(request: "Request") -> "Request":
    """Refuse a file system that the host or the repair stands on."""
    mount = request["mount"]
    if not os.path.ismount(mount):
        raise Refused("%s is no mount point of its own" % mount)
    device = os.stat(mount).st_dev
    for vital in ("/", "/usr", "/var", "/var/tmp", "/tmp", "/run", request["state"]):
        if os.path.exists(vital) and os.stat(vital).st_dev == device:
            raise Refused("%s lies on the same file system as %s, which a repair needs" % (mount, vital))
    space = os.statvfs(mount)
    free = space.f_bavail * space.f_frsize
    if free > request["most"]:
        raise Refused(
            "%s has %d bytes free, more than the %d a drill may take" % (mount, free, request["most"])
        )
    return {"free": free}


if __name__ == "__main__":
    serve({"files": pick_files, "directory": pick_directory, "text": pick_text, "mount": check_mount})
