"""The interpreter of a virtual environment: its links, pyvenv.cfg, and the base interpreter it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from blocks.hosts.base import Connection
from checks.pip_facts import Config, EnvironmentData, Interpreter
from model.assets import PipAsset
from model.command import Command
from model.finding import Code
from model.manifest import Entry, FileType
from model.supplies import InterpreterSupply

Wrong = tuple[Code, str, str, str]

_ASK = "import sys; v = sys.version_info; print('%d.%d' % v[:2]); print('%d.%d.%d' % v[:3]); print(sys.executable)"
_LINE = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*([^\x00-\x1f]*?)\s*$")
_KEPT = {"home", "include-system-site-packages", "version", "version_info", "executable", "command", "prompt"} | {
    "implementation", "uv", "virtualenv", "base-prefix", "base-exec-prefix", "base-executable", "seed", "relocatable"
}  # fmt: skip


def interpreter_wrong(asset: PipAsset, data: EnvironmentData) -> Iterator[Wrong]:
    """What is wrong with the environment's own parts; an interpreter that does not run for another reason, too."""
    links = list(_links_wrong(asset, data))
    yield from links
    if data.config is not None:
        yield from _config_wrong(data.config, data)
    if data.broken and not links:
        own = next((one for one in data.interpreters if one.path == asset.python), None)
        base = own.real if own is not None and own.type == "link" else asset.python
        yield Code.TOOL_BROKEN, base, "an interpreter that starts", data.broken


def _links_wrong(asset: PipAsset, data: EnvironmentData) -> Iterator[Wrong]:
    """The names that are wrong themselves; one that merely leads to a wrong one is not."""
    if data.config is None:
        return
    known = {one.path: one for one in data.interpreters}
    aims = {_aim(one) for one in known.values() if one.type == "link"}
    direct = next((one for one in known.values() if _direct(one, data)), None)
    used = known.get(asset.python)
    while used is not None and used.type == "link" and _aim(used) in known and _aim(used) != used.path:
        used = known[_aim(used)]
    for path, one in known.items():
        if one.type == "absent":
            if path == asset.python or path in aims or PurePosixPath(path).name in {"python", "python3"}:
                yield Code.FILE_MISSING, path, "the interpreter", "absent"
        elif one.type == "link":
            if _aim(one) not in known and not _direct(one, data):
                whole = (
                    f"link to {direct.link or PurePosixPath(direct.path).name}"
                    if direct
                    else "link to Python"
                )
                yield Code.FILE_LINK_DIFFERS, path, whole, f"link to {one.link}"
        elif one.type != "file":
            yield Code.FILE_TYPE_DIFFERS, path, "the interpreter", one.type
        elif direct is not None and direct.type == "link":
            yield Code.FILE_TYPE_DIFFERS, path, f"link to {PurePosixPath(direct.path).name}", "file"
        elif data.broken and one is used:
            yield Code.FILE_CONTENT_DIFFERS, path, "an interpreter that starts", data.broken


def _aim(one: Interpreter) -> str:
    """The path a link names, within its folder; a link to itself aims at nothing."""
    folder = PurePosixPath(one.path).parent
    return str(folder / one.link) if one.link and "/" not in one.link else one.link


def _direct(one: Interpreter, data: EnvironmentData) -> bool:
    """Whether a link leads out of the environment, to a Python of its version."""
    if one.type != "link" or "/" not in one.link or data.config is None:
        return False
    name, prefix = PurePosixPath(one.real).name, str(PurePosixPath(data.config.path).parent)
    fits = re.fullmatch(rf"python(3|{re.escape(data.version)})?", name) is not None
    return one.runs and fits and not one.real.startswith(f"{prefix}/")


def _config_wrong(config: Config, data: EnvironmentData) -> Iterator[Wrong]:
    if config.type == "absent":
        yield Code.FILE_MISSING, config.path, "file", "absent"
        return
    if config.type not in {"file", "link"}:
        yield Code.FILE_TYPE_DIFFERS, config.path, "file", config.type
        return
    said = config.keys.get("version") or config.keys.get("version_info") or ""
    if not config.readable:
        yield Code.FILE_CONTENT_DIFFERS, config.path, "lines of key = value", "bytes that are no text"
    elif not config.keys.get("home", "").startswith("/"):
        yield (
            Code.FILE_CONTENT_DIFFERS,
            config.path,
            "`home`, the folder of the base interpreter",
            "no such line",
        )
    elif not _home_right(config, data):
        home = config.keys["home"]
        yield (
            Code.FILE_CONTENT_DIFFERS,
            config.path,
            "`home`, the folder of the base interpreter",
            f"home = {home}",
        )
    elif said and data.version and ".".join(said.split(".")[:2]) != data.version:
        yield Code.FILE_CONTENT_DIFFERS, config.path, f"version {data.version}", f"version {said}"


def _home_right(config: Config, data: EnvironmentData) -> bool:
    """Whether `home` holds the very interpreter the links lead to; any, where they are copies."""
    outside = {one.real for one in data.interpreters if _direct(one, data)}
    return bool(outside & set(config.bases)) if outside else True


def rebuild(
    name: str, connection: Connection, asset: PipAsset, data: EnvironmentData
) -> InterpreterSupply | str:
    """What makes the environment's own parts whole again, from the base interpreter of the same version; or why not."""
    if data.config is None or not data.version:
        return f"{asset.python} is no virtual environment: its interpreter comes with the system's packages"
    found = next((said for path in _bases(data) if (said := _speaks(connection, path, data.version))), None)
    if found is None:
        return (
            f"no interpreter of version {data.version} runs on the host: install or repair its package first"
        )
    base, full = found
    wrong = {subject for _, subject, _, _ in _links_wrong(asset, data)}
    right = next((one.path for one in data.interpreters if one.path not in wrong and _direct(one, data)), "")
    copies = [one.path for one in data.interpreters if one.path not in wrong and one.type == "file"]
    aims = [_aim(one) for one in data.interpreters if one.path not in wrong and one.type == "link"]
    links: dict[str, str] = {}
    root = right or next(iter(copies), "")
    if wrong and not root:
        root = next(
            (aim for aim in aims if aim in wrong), asset.python if asset.python in wrong else min(wrong)
        )
        links[root] = base
    links |= {path: PurePosixPath(root).name for path in sorted(wrong) if path != root}
    return InterpreterSupply(
        asset=name, base=base, version=data.version,
        links=tuple(
            Entry(path=path, type=FileType.LINK, mode=0o777, link=target, uid=data.sites[0].uid, gid=data.sites[0].gid)
            for path, target in links.items()
        ),
        config_path=data.config.path, config=_config(data.config, base, full, data),
        uid=data.sites[0].uid, gid=data.sites[0].gid,
    )  # fmt: skip


def _bases(data: EnvironmentData) -> Iterator[str]:
    """Where the base interpreter may be, the surest first: what made the environment, where its links lead, `home`."""
    assert data.config is not None  # noqa: S101 - `rebuild` looked
    prefix = str(PurePosixPath(data.config.path).parent)
    said, name = data.config.keys, f"python{data.version}"
    outside = [one.link for one in data.interpreters if _direct(one, data)]
    maker = said.get("command", "").split(" ")[0]
    homes = [said.get("home", "")] if _home_right(data.config, data) else []
    candidates = [
        *outside, maker, said.get("executable", ""), said.get("base-executable", ""),
        *(f"{home}/{name}" for home in homes), f"/usr/bin/{name}", f"/usr/local/bin/{name}",
    ]  # fmt: skip
    yield from dict.fromkeys(
        path for path in candidates
        if path.startswith("/") and path.isprintable() and "/../" not in path and not path.startswith(f"{prefix}/")
    )  # fmt: skip


def _speaks(connection: Connection, path: str, version: str) -> tuple[str, str] | None:
    """The path and full version of an interpreter that runs and is of this version."""
    result = connection.run(Command((path, "-I", "-S", "-c", _ASK), sudo=True, timeout=60.0))
    lines = result.text.splitlines()
    return (path, lines[1]) if result.ok and len(lines) == 3 and lines[0] == version else None


def _config(config: Config, base: str, full: str, data: EnvironmentData) -> str:
    """pyvenv.cfg as it should be: every line that is still good, and the base interpreter; empty when it is whole."""
    if not list(_config_wrong(config, data)):
        return ""
    kept = {}
    for line in config.text.splitlines():
        match = _LINE.match(line)
        if match and match[1].lower() in _KEPT and match[2].isprintable() and "\ufffd" not in match[2]:
            kept[match[1].lower()] = match[2]
    home = str(PurePosixPath(base).parent)
    wanted = {"home": home, "include-system-site-packages": "false"} | kept
    if not wanted["home"].startswith("/") or not _home_right(config, data):
        wanted["home"] = home
    said = "version_info" if "version_info" in kept and "version" not in kept else "version"
    if ".".join(wanted.get(said, "").split(".")[:2]) != data.version:
        wanted[said] = full
    if wanted["include-system-site-packages"].lower() not in {"true", "false"}:
        wanted["include-system-site-packages"] = "false"
    return "".join(f"{key} = {value}\n" for key, value in wanted.items())
