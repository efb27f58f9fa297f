"""Runs on the host, on standard input of `python3 -I -`: facts about the distributions of one Python environment.

Arguments: the environment's interpreter. Nothing but the standard library of Python 3.6; writes JSON lines.
"""
# ruff: noqa: PTH110, PTH112, PTH113, PTH115, PTH117, PTH118, PTH120, PTH123, PTH208, UP031 - plain os calls start
# fastest, take any bytes as names and run on old interpreters

import base64
import csv
import hashlib
import json
import os
import stat
import sys


def say(kind: str, **facts: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(dict(facts, kind=kind)) + "\n")


def sites(python: str) -> "list[str]":
    """The site-packages folders: of the venv around the interpreter, else of the interpreter running this."""
    prefix = os.path.dirname(os.path.dirname(python))
    found = []
    if os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
        for lib in ("lib", "lib64"):
            folder = os.path.join(prefix, lib)
            names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            found += [os.path.join(folder, name, "site-packages") for name in names]
    elif os.path.realpath(sys.executable) == os.path.realpath(python):
        import sysconfig

        found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    seen = set()
    unique = []
    for folder in found:
        real = os.path.realpath(folder)
        if os.path.isdir(folder) and real not in seen:
            seen.add(real)
            unique.append(folder)
    return unique


def look(path: str) -> "tuple[str, str, int, str]":
    """(type, sha256 in hex, size, error) of a path, links not followed."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "absent", "", 0, ""
    except OSError as error:
        return "other", "", 0, str(error.strerror)
    if stat.S_ISLNK(info.st_mode):
        return "link", "", 0, os.readlink(path)
    if stat.S_ISDIR(info.st_mode):
        return "directory", "", 0, ""
    if not stat.S_ISREG(info.st_mode):
        return "other", "", 0, ""
    hasher = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                hasher.update(chunk)
    except OSError as error:
        return "file", "", info.st_size, str(error.strerror)
    return "file", hasher.hexdigest(), info.st_size, ""


def field(path: str, name: str) -> "list[str]":
    """All values of a field in a metadata file."""
    values = []
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if not line.strip():
                    break
                if line.lower().startswith(name + ":"):
                    values.append(line.split(":", 1)[1].strip())
    except OSError:
        pass
    return values


def distribution(site: str, folder: str) -> None:
    """What a .dist-info folder says, then each file of its RECORD but byte code."""
    info = os.path.join(site, folder)
    stem = folder[: -len(".dist-info")].split("-")
    name = (field(os.path.join(info, "METADATA"), "name") or [stem[0]])[0]
    version = (field(os.path.join(info, "METADATA"), "version") or [stem[-1] if len(stem) > 1 else ""])[0]
    record = os.path.join(info, "RECORD")
    say(
        "distribution",
        name=name,
        version=version,
        site=site,
        info=info,
        tags=field(os.path.join(info, "WHEEL"), "tag"),
        record=os.path.isfile(record),
    )
    try:
        with open(record, newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = [row for row in csv.reader(stream) if len(row) >= 2 and row[0]]
    except (OSError, csv.Error):
        return
    for path, expected in (row[:2] for row in rows):
        if path.endswith((".pyc", ".pyo")) or "__pycache__" in path.split("/"):
            continue
        algorithm, _, encoded = expected.partition("=")
        wanted = ""
        if algorithm == "sha256":
            try:
                wanted = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
            except ValueError:
                wanted = "unreadable"
        place = path if os.path.isabs(path) else os.path.normpath(os.path.join(site, path))
        kind, actual, size, error = look(place)
        say("file", path=place, wanted=wanted, type=kind, actual=actual, size=size, error=error)


def main() -> None:
    """Everything, then a last line that proves that it is everything."""
    for site in sites(sys.argv[1]):
        say("site", path=site, version="%d%d" % sys.version_info[:2])
        for folder in sorted(os.listdir(site)):
            if folder.endswith(".dist-info") and not folder.startswith("~"):
                distribution(site, folder)
            elif folder.endswith((".egg-info", ".egg", ".egg-link")):
                say("legacy", name=folder)
    say("end")


if __name__ == "__main__":
    main()
