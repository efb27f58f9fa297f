"""Runs on the host, joined to `common`: keeps originals, damages, and puts them back.

`strike` writes `record.json` with every original into the drill's folder before it touches anything; `mend` goes by it.
"""

import base64
import hashlib
import json
import os
import shutil
import stat

from tasks.faults.on_host.common import Refused, below, serve

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes time
    from typing import Any

    from tasks.faults.on_host.common import Request

    Entry = dict[str, Any]

NEW = ".reinstate-drill"
"""How a file is called until it takes its place."""


def filler(seed: str, size: int) -> bytes:
    """Bytes that look random and are the same for the same seed."""
    return hashlib.shake_256(seed.encode("utf-8", "surrogateescape")).digest(size)


def entry_of(path: str) -> "Entry":
    """Everything about a path that has to come back, but its content."""
    info = os.lstat(path)
    kind = "l" if stat.S_ISLNK(info.st_mode) else "d" if stat.S_ISDIR(info.st_mode) else "f"
    if kind == "f" and not stat.S_ISREG(info.st_mode):
        raise Refused("%s is neither file, folder nor link" % path)
    names = [] if kind == "l" else sorted(os.listxattr(path, follow_symlinks=False))
    return {
        "kind": kind, "path": path, "mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
        "mtime": info.st_mtime_ns, "atime": info.st_atime_ns, "link": os.readlink(path) if kind == "l" else "",
        "attributes": [[name, os.getxattr(path, name, follow_symlinks=False).hex()] for name in names],
    }  # fmt: skip


def keep(folder: str, paths: "list[str]") -> "list[Entry]":
    """Copy originals into the drill's folder."""
    os.makedirs(os.path.join(folder, "kept"), 0o700, exist_ok=True)
    entries: list[Entry] = []
    for path in paths:
        for one in below(path):
            entry = entry_of(one)
            if entry["kind"] == "f":
                entry["kept"] = os.path.join(folder, "kept", str(len(entries)))
                shutil.copyfile(one, entry["kept"])
            entries.append(entry)
        parent = entry_of(os.path.dirname(path))
        entries.insert(0, dict(parent, kind="t"))
    return entries


def write_record(folder: str, entries: "list[Entry]") -> None:
    """Durable before anything is damaged."""
    name = os.path.join(folder, "record.json")
    with open(name + ".new", "w") as file:
        json.dump(entries, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(name + ".new", name)
    os.sync()


def read_record(folder: str) -> "list[Entry]":
    """What `strike` kept; empty: nothing was touched."""
    try:
        with open(os.path.join(folder, "record.json")) as file:
            entries = json.load(file)
    except FileNotFoundError:
        return []
    return entries if isinstance(entries, list) else []


def dress(path: str, entry: "Entry") -> None:
    """Owner, mode, attributes and times of an entry."""
    os.lchown(path, entry["uid"], entry["gid"])
    if entry["kind"] != "l":
        os.chmod(path, entry["mode"])
        wanted = dict(entry["attributes"])
        for name in set(os.listxattr(path)) - set(wanted):
            os.removexattr(path, name)
        for name, value in wanted.items():
            os.setxattr(path, name, bytes.fromhex(value))
    os.utime(path, ns=(entry["atime"], entry["mtime"]), follow_symlinks=False)


def remove(path: str) -> None:
    """Whatever it is."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def place(path: str, content: bytes, entry: "Entry") -> None:
    """New content under a new inode: a running program cannot be overwritten in place."""
    new = path + NEW
    with open(new, "wb") as file:
        file.write(content)
    dress(new, entry)
    os.rename(new, path)


def same(entry: "Entry") -> bool:
    """Whether a path is as it was."""
    path = entry["path"]
    if not os.path.lexists(path):
        return False
    now = entry_of(path)
    if any(now[key] != entry[key] for key in ("kind", "mode", "uid", "gid", "link", "attributes")):
        return False
    return entry["kind"] != "f" or content_of(path) == content_of(entry["kept"])


def content_of(path: str) -> bytes:
    """SHA-256 of a file."""
    told = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            told.update(part)
    return told.digest()


def mend(request: "Request") -> "Request":
    """Put back whatever is not as it was; what was cured meanwhile is left alone."""
    entries = read_record(request["folder"])
    changed = []
    for entry in entries:
        path, kind = entry["path"], entry["kind"]
        if kind == "a":
            if os.path.lexists(path):
                os.remove(path)
                changed.append(path)
        elif kind == "p":
            if mend_page(entry):
                changed.append(path)
        elif kind != "t" and not same(entry):
            put_back(entry)
            changed.append(path)
    for entry in reversed(entries):
        if changed and entry["kind"] in "td" and os.path.isdir(entry["path"]):
            os.utime(entry["path"], ns=(entry["atime"], entry["mtime"]))
    return {"changed": changed}


def put_back(entry: "Entry") -> None:
    """One path."""
    path, kind = entry["path"], entry["kind"]
    there = os.path.lexists(path)
    if kind == "d":
        if there and not (os.path.isdir(path) and not os.path.islink(path)):
            remove(path)
        if not os.path.isdir(path):
            os.makedirs(path)
        dress(path, entry)
        return
    if there and os.path.isdir(path) and not os.path.islink(path):
        remove(path)
    new = path + NEW
    remove(new)
    if kind == "l":
        os.symlink(entry["link"], new)
    else:
        shutil.copyfile(entry["kept"], new)
    dress(new, entry)
    os.rename(new, path)


def mend_page(entry: "Entry") -> bool:
    """A page that still is what we wrote gets its content back."""
    if not is_ours(entry):
        return False
    with open(entry["path"], "r+b") as file, open(entry["kept"], "rb") as kept:
        file.seek(entry["offset"])
        file.write(kept.read())
        file.flush()
        os.fsync(file.fileno())
    return True


def is_ours(entry: "Entry") -> bool:
    """Whether a page is what we wrote."""
    try:
        with open(entry["path"], "rb") as file:
            file.seek(entry["offset"])
            return file.read(entry["size"]) == filler(entry["seed"], entry["size"])
    except FileNotFoundError:
        return False


def damaged(request: "Request") -> "Request":
    """Whether anything is not as it was: whether services must stand still for `mend`."""
    wrong = [
        entry["path"]
        for entry in read_record(request["folder"])
        if (is_ours(entry) if entry["kind"] == "p" else os.path.lexists(entry["path"]) if entry["kind"] == "a"
            else entry["kind"] != "t" and not same(entry))
    ]  # fmt: skip
    return {"damaged": wrong}


def strike(request: "Request") -> "Request":
    """Keep the originals, then do it. Done twice, it is done once."""
    folder, verb = request["folder"], request["verb"]
    mend(request)
    if verb == "fill":
        write_record(folder, [{"kind": "a", "path": request["path"]}])
        return fill(request)
    if verb == "page":
        return page(request)
    if verb == "sqlite":
        return sqlite(request)
    write_record(folder, keep(folder, request["paths"]))
    for path in request["paths"]:
        if verb == "delete":
            remove(path)
            continue
        entry = entry_of(path)
        if verb == "mode":
            os.chmod(path, request["mode"] if request["mode"] != entry["mode"] else 0o700)
            continue
        with open(path, "rb") as file:
            content = file.read()
        place(path, altered(verb, content, request, path), dict(entry, mtime=entry["mtime"]))
    return {}


def altered(verb: str, content: bytes, request: "Request", path: str) -> bytes:
    """What a file becomes; never what it was."""
    seed = "%s:%s" % (request["seed"], path)
    if verb == "garble":
        return filler(seed, len(content))
    if verb == "flip":
        number = int.from_bytes(filler(seed, 8), "big") % (len(content) * 8)
        changed = bytearray(content)
        changed[number // 8] ^= 1 << (number % 8)
        return bytes(changed)
    if verb == "cut":
        return content[: len(content) // 2] + b"\n}}} cut off\n"
    return base64.b64decode(request["content"])


def page(request: "Request") -> "Request":
    """Overwrite one page in place; its server stands still."""
    folder, path, offset, size = (request[key] for key in ("folder", "path", "offset", "size"))
    os.makedirs(os.path.join(folder, "kept"), 0o700, exist_ok=True)
    kept, seed = os.path.join(folder, "kept", "page"), "%s:%s" % (request["seed"], path)
    with open(path, "r+b") as file:
        file.seek(offset)
        original = file.read(size)
        if len(original) != size:
            raise Refused("%s has no page at %d" % (path, offset))
        with open(kept, "wb") as copy:
            copy.write(original)
        write_record(
            folder, [{"kind": "p", "path": path, "offset": offset, "size": size, "kept": kept, "seed": seed}]
        )
        file.seek(offset)
        file.write(filler(seed, size))
        file.flush()
        os.fsync(file.fileno())
    return {}


def sqlite(request: "Request") -> "Request":
    """Statements in a SQLite database whose services stand still; all of them or none."""
    import sqlite3

    path = request["path"]
    there = [name for name in request["paths"] if os.path.lexists(name)]
    added = [{"kind": "a", "path": name} for name in request["paths"] if name not in there]
    write_record(request["folder"], keep(request["folder"], there) + added)
    connection = sqlite3.connect(path, timeout=30.0)
    try:
        with connection:
            for statement in request["statements"]:
                connection.execute(statement)
    except sqlite3.Error as error:
        raise Refused("SQLite refused it: %s" % error) from error
    finally:
        connection.close()
    return {}


def fill(request: "Request") -> "Request":
    """Take all the room that users may have of a file system."""
    path, room = request["path"], request["room"]
    with open(path, "wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(room, 1))
        except OSError:  # others write, too
            file.truncate(0)
            zeros = bytes(1 << 20)
            try:
                while file.tell() < room:
                    file.write(zeros)
                    file.flush()
            except OSError:
                pass
    return {"bytes": os.path.getsize(path)}


def left(request: "Request") -> "Request":
    """Which paths are still there, and files that never took their place."""
    names = request["paths"] + [path + NEW for path in request["beside"]]
    return {"left": [path for path in names if os.path.lexists(path)]}


def forget(request: "Request") -> "Request":
    """Remove the drill's folder of one fault, and the one above when it is empty."""
    shutil.rmtree(request["folder"], ignore_errors=True)
    if not os.path.lexists(request["folder"]):
        try:
            os.rmdir(os.path.dirname(request["folder"]))
        except OSError:  # other faults
            pass
    return {}


if __name__ == "__main__":
    serve({"strike": strike, "mend": mend, "damaged": damaged, "left": left, "forget": forget})
