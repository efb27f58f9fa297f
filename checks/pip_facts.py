"""Facts about one Python environment: what `pip_probe.py` sees on the host, as values."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from blocks.hosts.base import Connection
from checks.stat import require
from model.assets import PipAsset
from model.command import Command, printable
from model.errors import PreconditionFailed

PROBE = Path(__file__).with_name("pip_probe.py")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a path is. `actual` is the hash of a file, or of what a link leads to."""

    path: str
    type: str
    actual: str = ""
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    link: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file a RECORD names, and the hash it should have (hex; empty: RECORD gives none)."""

    wanted: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution.

    Attributes:
        name: as its folder says; what METADATA says may be altered.
        info: its .dist-info folder.
        tags: what kind of wheel it came from.
        record: whether there is a RECORD.
        problem: why the RECORD is no whole list; empty when it is.
        installer: who installed it (`pip`, `uv`).
    """

    name: str
    version: str
    site: str
    info: str
    tags: tuple[str, ...]
    record: bool
    problem: str = ""
    installer: str = ""
    files: tuple[RecordedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """A site-packages folder; `owned`: by the system's package manager."""

    path: str
    version: str
    mode: int
    uid: int
    gid: int
    owned: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The environment's pyvenv.cfg; `bases` are the interpreters in the folder it names as `home`."""

    path: str
    type: str
    text: str
    readable: bool
    bases: tuple[str, ...] = ()

    @property
    def keys(self) -> dict[str, str]:
        """What it says."""
        pairs = (line.partition("=") for line in self.text.splitlines())
        return {key.strip().lower(): value.strip() for key, mark, value in pairs if mark}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One name of the interpreter in the environment: `bin/python3`; `real` is where it leads in the end."""

    path: str
    type: str
    link: str
    real: str
    runs: bool


@dataclass(frozen=True, slots=True)
class Stray:
    """A path in a site that no RECORD names; `text` of a .pth file."""

    text: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class Legacy:
    """A distribution without RECORD by design (.egg-info, .egg, .egg-link).

    Attributes:
        owns: paths that belong to it, with what is below them.
        develop: folder outside that an .egg-link leads to, when that is a distribution.
    """

    name: str
    owns: tuple[str, ...] = ()
    develop: str = ""


@dataclass(frozen=True, slots=True)
class EnvironmentData:
    """Facts about an environment.

    Attributes:
        distributions: in the order of their folders.
        legacy: what cannot be checked, because it has no RECORD by design.
        broken: why the environment's own interpreter does not run; empty when it does.
        sites: folders looked into.
        folders: folders inside a site that hold recorded files.
        strays: what no RECORD names.
        config: pyvenv.cfg; None where there is no virtual environment.
        interpreters: names of its interpreter.
    """

    distributions: tuple[Distribution, ...] = ()
    legacy: tuple[Legacy, ...] = ()
    broken: str = ""
    sites: tuple[Site, ...] = ()
    folders: tuple[Seen, ...] = ()
    strays: tuple[Stray, ...] = ()
    config: Config | None = None
    interpreters: tuple[Interpreter, ...] = ()

    @property
    def version(self) -> str:
        """Version of the environment's Python, as `3.11`; empty when no folder tells it."""
        return self.sites[0].version if self.sites else ""


def normal(name: str) -> str:
    """The normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def prefix_of(asset: PipAsset) -> str:
    """The environment's folder."""
    return str(PurePosixPath(asset.python).parent.parent)


def collect(connection: Connection, asset: PipAsset, *, names_only: bool = False) -> EnvironmentData:
    """Look at the environment with its own interpreter, or with the host's `python3` where that does not run.

    Args:
        connection: an open connection.
        asset: the environment.
        names_only: the distributions without their files, which takes a moment.

    Raises:
        Transient: the connection was lost. PreconditionFailed: no interpreter on the host runs.
    """
    alive = connection.run(Command((asset.python, "-I", "-S", "-c", "print(6 * 7)"), sudo=True, timeout=60.0))
    if alive.status is None:
        require(alive, connection.name, f"starting {asset.python}")
    broken = "" if alive.text.strip() == "42" else alive.tail(1) or f"it ends with status {alive.status}"
    words = ("names",) if names_only else ()
    last = None
    for python in ("python3", "/usr/bin/python3") if broken else (asset.python,):
        chunks: list[bytes] = []
        command = Command(
            (python, "-I", "-S", "-", asset.python, *words), stdin=PROBE.read_bytes(), sudo=True, timeout=1800.0
        )  # fmt: skip
        last = connection.run(command, on_stdout=chunks.append)
        if last.ok:
            return parse(b"".join(chunks), broken, connection.name)
    assert last is not None  # noqa: S101 - the loop runs at least once
    require(last, connection.name, f"looking at the environment of {asset.python} with Python")
    raise AssertionError


def parse(output: bytes, broken: str = "", where: str = "") -> EnvironmentData:
    """The facts from the probe's lines.

    Raises:
        PreconditionFailed: the output is not whole.
    """
    facts = _Facts()
    try:
        for line in output.decode("utf-8").splitlines():
            facts.take(json.loads(line))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise PreconditionFailed(
            f"the interpreter's answer is not what was asked for: {printable(str(error))[:200]}.", where,
            "the interpreter is damaged: repair the packages it belongs to, then examine again",
        ) from error  # fmt: skip
    if not facts.ended:
        raise PreconditionFailed("the interpreter's answer was cut off.", where, "examine again")
    return EnvironmentData(
        tuple(replace(one, files=tuple(own)) for one, own in facts.distributions), tuple(facts.legacy), broken,
        tuple(facts.sites), tuple(facts.folders), tuple(facts.strays), facts.config, tuple(facts.interpreters),
    )  # fmt: skip


class _Facts:
    """The probe's lines as they come in."""

    def __init__(self) -> None:
        self.distributions: list[tuple[Distribution, list[RecordedFile]]] = []
        self.legacy: list[Legacy] = []
        self.sites: list[Site] = []
        self.folders: list[Seen] = []
        self.strays: list[Stray] = []
        self.config: Config | None = None
        self.interpreters: list[Interpreter] = []
        self.ended = False

    def take(self, facts: dict[str, Any]) -> None:
        """One line."""
        match facts.pop("kind"):
            case "distribution":
                self.distributions.append((Distribution(**facts | {"tags": tuple(facts["tags"])}), []))
            case "file":
                self.distributions[-1][1].append(RecordedFile(facts.pop("wanted"), Seen(**facts)))
            case "stray":
                self.strays.append(Stray(facts.pop("text"), Seen(**facts)))
            case "folder":
                self.folders.append(Seen(**facts))
            case "site":
                self.sites.append(Site(**facts))
            case "config":
                self.config = Config(**facts | {"bases": tuple(facts["bases"])})
            case "interpreter":
                self.interpreters.append(Interpreter(**facts))
            case "legacy":
                self.legacy.append(Legacy(**facts | {"owns": tuple(facts["owns"])}))
            case "end":
                self.ended = True
