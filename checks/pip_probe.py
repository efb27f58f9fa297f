"""Runs on the host, on standard input of `python3 -I -S -`: facts about one Python environment and its distributions.

Arguments: the environment's interpreter, then `sites` to be told about the environment and its folders only. Nothing
but the standard library of Python 3.6; nothing of the environment is imported or run; writes JSON lines.
"""
# ruff: noqa: PTH110, PTH112, PTH113, PTH114, PTH115, PTH117, PTH118, PTH119, PTH120, PTH123, PTH208, UP031
# - plain os calls start fastest, take any bytes as names and run on old interpreters

import base64
import csv
import hashlib
import json
import os
import stat
import sys

TEXT_LIMIT = 1 << 16


def say(kind: str, **facts: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(dict(facts, kind=kind)) + "\n")


def is_environment(prefix: str, python: str) -> bool:
    """Whether a virtual environment is (or was) around an interpreter, also where its own files are damaged."""
    if os.path.lexists(os.path.join(prefix, "pyvenv.cfg")) or os.path.exists(
        os.path.join(prefix, "bin", "activate")
    ):
        return True
    away = os.path.islink(python) and not os.path.realpath(python).startswith(
        os.path.realpath(prefix) + os.sep
    )
    return away and any(True for _ in folders(prefix))


def folders(prefix: str) -> "list[str]":
    """The site-packages of a virtual environment."""
    found = []
    for lib in ("lib", "lib64"):
        folder = os.path.join(prefix, lib)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        found += [os.path.join(folder, name, "site-packages") for name in names if name.startswith("python")]
    return [folder for folder in found if os.path.isdir(folder)]


def sites(python: str) -> "list[str]":
    """The site-packages folders: of the virtual environment around the interpreter, else of the one running this."""
    prefix = os.path.dirname(os.path.dirname(python))
    found = []
    if is_environment(prefix, python):
        found = folders(prefix)
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


def text_of(path: str) -> "tuple[str, bool]":
    """The beginning of a small file, and whether it could be read as text."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(TEXT_LIMIT)
    except OSError:
        return "", False
    try:
        return data.decode("utf-8"), b"\0" not in data
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace"), False


def environment(python: str) -> None:
    """The environment's own parts: pyvenv.cfg and the interpreter's names in its bin folder."""
    prefix = os.path.dirname(os.path.dirname(python))
    if not is_environment(prefix, python):
        return
    config = os.path.join(prefix, "pyvenv.cfg")
    text, readable = text_of(config)
    names = {os.path.basename(python), "python", "python3"}
    for folder in folders(prefix):
        names.add(os.path.basename(os.path.dirname(folder)))
    homes = [
        line.split("=", 1)[1].strip()
        for line in text.splitlines()
        if line.partition("=")[0].strip() == "home"
    ]
    bases = [os.path.join(home, name) for home in homes[:1] for name in sorted(names)]
    found = sorted({os.path.realpath(base) for base in bases if "\0" not in base and os.path.isfile(base)})
    kind = look(config, False)["type"]
    say("config", path=config, type=kind, text=text, readable=readable, bases=found)
    for name in sorted(names):
        path = os.path.join(os.path.dirname(python), name)
        fact = look(path, False)
        say(
            "interpreter", path=path, type=fact["type"], link=fact["link"], real=os.path.realpath(path),
            runs=os.path.isfile(path) and os.access(path, os.X_OK),
        )  # fmt: skip


def look(path: str, digest: bool = True) -> "dict[str, object]":
    """What a path is, links not followed; with the hash of a file, or of what a link leads to."""
    fact = {
        "path": path, "type": "absent", "actual": "", "size": 0, "mode": 0, "uid": 0, "gid": 0, "link": "", "error": ""
    }  # type: dict[str, object]  # fmt: skip
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return fact
    except OSError as error:
        return dict(fact, type="other", error=str(error.strerror))
    fact.update(mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid, size=info.st_size)
    if stat.S_ISDIR(info.st_mode):
        return dict(fact, type="directory", size=0)
    if stat.S_ISLNK(info.st_mode):
        fact.update(type="link", link=os.readlink(path), size=0)
        if not os.path.isfile(path):
            return fact
    elif stat.S_ISREG(info.st_mode):
        fact.update(type="file")
    else:
        return dict(fact, type="other", size=0)
    if digest:
        hasher = hashlib.sha256()
        try:
            with open(path, "rb") as stream:
                for chunk in iter(lambda: stream.read(1 << 20), b""):
                    hasher.update(chunk)
            fact["actual"] = hasher.hexdigest()
        except OSError as error:
            fact["error"] = str(error.strerror)
    return fact


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


def named(info: str, folder: str) -> "tuple[str, str]":
    """Name and version: from the folder's name, which nothing in it can falsify, else from METADATA."""
    stem = folder[: -len(".dist-info")].split("-")
    if len(stem) == 2 and all(stem):
        return stem[0], stem[1]
    metadata = os.path.join(info, "METADATA")
    name = (field(metadata, "name") or [stem[0]])[0]
    return name, (field(metadata, "version") or [stem[-1] if len(stem) > 1 else ""])[0]


def rows_of(record: str, own: str) -> "tuple[list[tuple[str, str]], str]":
    """(path, hash) of a RECORD's rows, and what is wrong with the list itself; empty when it is whole."""
    rows = []
    problem = ""
    listed = False
    try:
        with open(record, newline="", encoding="utf-8", errors="surrogateescape") as stream:
            for number, row in enumerate(csv.reader(stream, strict=True), 1):
                if len(row) != 3 or not row[0] or "\0" in row[0] or not (not row[2] or row[2].isdigit()):
                    problem = problem or "line %d is not a path, a hash and a size" % number
                    continue
                listed = listed or row[0] == own
                rows.append((row[0], row[1]))
    except csv.Error as error:
        problem = problem or str(error)
    except OSError as error:
        return [], str(error.strerror)
    if not problem and not listed:
        problem = "it does not end with its own name: it is cut off, or not the list of this distribution"
    return rows, problem


def wanted_of(expected: str) -> str:
    """The hash a row wants, in hex; empty when it wants none that we know."""
    algorithm, _, encoded = expected.partition("=")
    if algorithm != "sha256":
        return "" if not expected or algorithm in ("sha384", "sha512") else "unreadable"
    try:
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError:
        return "unreadable"
    return raw.hex() if len(raw) == 32 else "unreadable"


def byte_code(path: str) -> bool:
    """Whether Python makes this file anew by itself."""
    return path.endswith((".pyc", ".pyo")) and os.path.basename(os.path.dirname(path)) == "__pycache__"


def distribution(site: str, folder: str, known: "set[str]", around: "set[str]", name_only: bool) -> None:
    """What a .dist-info folder says, then each file of its RECORD but byte code, unless only the name is asked for."""
    info = os.path.join(site, folder)
    name, version = named(info, folder)
    record = os.path.join(info, "RECORD")
    there = os.path.isfile(record)
    rows, problem = rows_of(record, folder + "/RECORD") if there else ([], "")
    installer = text_of(os.path.join(info, "INSTALLER"))[0].strip()[:40]
    tags = field(os.path.join(info, "WHEEL"), "tag")
    say(
        "distribution", name=name, version=version, site=site, info=info, tags=tags,
        record=there, problem=problem, installer=installer,
    )  # fmt: skip
    for path, expected in () if name_only else rows:
        place = path if os.path.isabs(path) else os.path.normpath(os.path.join(site, path))
        known.add(place)
        if byte_code(place):
            continue
        above = os.path.dirname(place)
        while above.startswith(site + os.sep) and above not in around:
            around.add(above)
            above = os.path.dirname(above)
        say("file", wanted=wanted_of(expected), **look(place))


def strays(site: str, known: "set[str]", around: "set[str]") -> "set[str]":
    """Everything below a site that no RECORD names; byte code in its own folder is not looked at.

    Returns:
        The folders walked through.
    """
    walked = set()
    for folder, names, files in os.walk(site):
        walked.add(folder)
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        names[:] = sorted(name for name in names if name not in links and name != "__pycache__")
        for name in sorted(files + links):
            path = os.path.join(folder, name)
            if path in known or path in around:
                continue
            text = text_of(path)[0] if path.endswith(".pth") and folder == site else ""
            say("stray", text=text, **look(path))
        for name in names:
            cache = os.path.join(folder, name, "__pycache__")
            if os.path.islink(cache):
                say("stray", text="", **look(cache))
    return walked - {site}


def legacy(site: str, name: str, known: "set[str]") -> None:
    """A distribution without RECORD by design, and what it says it holds."""
    path = os.path.join(site, name)
    owns = []
    if name.endswith(".egg-link"):
        known.add(path)
        develop = text_of(path)[0].splitlines()[:1]
        real = bool(develop) and os.path.isdir(develop[0]) and any(
            entry.endswith(".egg-info") for entry in os.listdir(develop[0])
        )  # fmt: skip
        say("legacy", name=name, owns=[], develop=develop[0] if real else "")
        return
    if os.path.isdir(path):
        for entry in text_of(os.path.join(path, "installed-files.txt"))[0].splitlines():
            known.add(os.path.normpath(os.path.join(path, entry)))
        tops = text_of(os.path.join(path, "top_level.txt"))[0].split()
        owns = [os.path.join(site, *top.split("/")) for top in tops]
    if not owns:
        stem = name.partition("-")[0].replace(".", "_")
        owns = [os.path.join(site, stem), os.path.join(site, stem.lower())]
    say("legacy", name=name, owns=[path, *owns], develop="")


def main() -> None:
    """Everything, then a last line that proves that it is everything."""
    python = sys.argv[1]
    environment(python)
    for site in sites(python):
        fact = look(site)
        parent = os.path.basename(os.path.dirname(site))
        version = (
            parent[6:] if parent.startswith("python") and "." in parent else "%d.%d" % sys.version_info[:2]
        )
        owned = os.path.realpath(site) == "/usr/lib/python3/dist-packages"
        say(
            "site",
            path=site,
            version=version,
            mode=fact["mode"],
            uid=fact["uid"],
            gid=fact["gid"],
            owned=owned,
        )
        known = set()  # type: set[str]
        around = set()  # type: set[str]
        names_only = sys.argv[2:] == ["names"]
        for folder in sorted(os.listdir(site)):
            if folder.endswith(".dist-info") and not folder.startswith("~"):
                distribution(site, folder, known, around, names_only)
            elif folder.endswith((".egg-info", ".egg", ".egg-link")):
                legacy(site, folder, known)
        if names_only:
            continue
        walked = set() if owned else strays(site, known, around)
        for folder in sorted(around | walked):
            say("folder", **look(folder))
    say("end")


if __name__ == "__main__":
    main()
