"""A Python environment: every file its distributions' RECORDs name, present with the hash written there.

`pip check` calls an environment fine whose modules are gone, and a distribution without RECORD is silently clean to
most tools (lab.md); here it is a finding. Byte code is not looked at: Python makes it anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from blocks.hosts.base import Connection
from checks.stat import require
from model.assets import PipAsset
from model.command import Command, printable
from model.errors import PreconditionFailed
from model.finding import CheckResult, Code, Degree, Finding, judged

PROBE = Path(__file__).with_name("pip_probe.py")


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file a RECORD names: the hash it should have (hex; empty: RECORD gives none) and what it is."""

    path: str
    wanted: str
    type: str
    actual: str
    size: int
    error: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution; `info` is its .dist-info folder, `tags` what kind of wheel it came from."""

    name: str
    version: str
    site: str
    info: str
    tags: tuple[str, ...]
    record: bool
    files: tuple[RecordedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvironmentData:
    """Facts about an environment.

    Attributes:
        distributions: in the order of their folders.
        legacy: names without RECORD by design (.egg-info): they cannot be checked.
        broken: why the environment's own interpreter does not run; empty when it does.
        python: version of the interpreter that looked, as `311`.
        sites: folders looked into.
    """

    distributions: tuple[Distribution, ...]
    legacy: tuple[str, ...] = ()
    broken: str = ""
    python: str = ""
    sites: tuple[str, ...] = ()


def normal(name: str) -> str:
    """The normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def collect(connection: Connection, asset: PipAsset) -> EnvironmentData:
    """Look at the environment with its own interpreter, or with the host's `python3` where that does not run.

    Raises:
        Transient: the connection was lost. PreconditionFailed: no interpreter on the host runs.
    """
    alive = connection.run(Command((asset.python, "-I", "-S", "-c", "print(6 * 7)"), sudo=True, timeout=60.0))
    if alive.status is None:
        require(alive, connection.name, f"starting {asset.python}")
    broken = "" if alive.text.strip() == "42" else alive.tail(1) or f"it ends with status {alive.status}"
    chunks: list[bytes] = []
    command = Command(
        ("python3" if broken else asset.python, "-I", "-", asset.python), stdin=PROBE.read_bytes(), sudo=True,
        timeout=1800.0,
    )  # fmt: skip
    result = connection.run(command, on_stdout=chunks.append)
    require(result, connection.name, f"looking at the environment of {asset.python} with Python")
    return parse(b"".join(chunks), broken, connection.name)


def parse(output: bytes, broken: str = "", where: str = "") -> EnvironmentData:
    """The facts from the probe's lines.

    Raises:
        PreconditionFailed: the output is not whole.
    """
    distributions: list[Distribution] = []
    files: list[list[RecordedFile]] = []
    legacy, sites, python, ended = [], [], "", False
    try:
        for line in output.decode("utf-8").splitlines():
            facts = json.loads(line)
            match facts.pop("kind"):
                case "distribution":
                    distributions.append(Distribution(**facts | {"tags": tuple(facts["tags"])}))
                    files.append([])
                case "file":
                    files[-1].append(RecordedFile(**facts))
                case "site":
                    sites.append(facts["path"])
                    python = facts["version"]
                case "legacy":
                    legacy.append(facts["name"])
                case "end":
                    ended = True
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PreconditionFailed(
            f"the interpreter's answer is not what was asked for: {printable(str(error))[:200]}.", where,
            "the interpreter is damaged: repair the packages it belongs to, then examine again",
        ) from error  # fmt: skip
    if not ended:
        raise PreconditionFailed("the interpreter's answer was cut off.", where, "examine again")
    found = tuple(
        Distribution(d.name, d.version, d.site, d.info, d.tags, d.record, tuple(own))
        for d, own in zip(distributions, files, strict=True)
    )
    return EnvironmentData(found, tuple(legacy), broken, python, tuple(sites))


def judge(name: str, asset: PipAsset, data: EnvironmentData) -> CheckResult:
    """Compare every recorded file with its hash; nothing recorded at all is an error, not a pass."""
    wanted = {normal(distribution) for distribution in asset.distributions}
    present = [d for d in data.distributions if not wanted or normal(d.name) in wanted]
    findings: dict[tuple[Code, str], Finding] = {}

    def add(code: Code, subject: str, expected: str, actual: str, owner: Distribution | None = None) -> None:
        findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=asset.host, asset=name, subject=subject, degree=Degree.SERIOUS, expected=expected,
                actual=printable(actual), package=normal(owner.name) if owner else "",
                version=owner.version if owner else "",
            ),
        )  # fmt: skip

    if data.broken:
        add(Code.FILE_UNREADABLE, asset.python, "an interpreter that starts", data.broken)
    for missing in sorted(wanted - {normal(d.name) for d in present}):
        absent = Distribution(missing, "", "", "", (), record=False)
        add(Code.PACKAGE_NOT_INSTALLED, missing, "installed", "no such .dist-info folder", absent)
    for distribution in present:
        if not distribution.record:
            add(Code.RECORD_MISSING, f"{distribution.info}/RECORD", "file", "absent", distribution)
        for file in distribution.files:
            difference = _difference(file)
            if difference is not None:
                add(difference[0], file.path, difference[1], difference[2], distribution)
    notes = ["files that no RECORD names"]
    if data.legacy:
        notes.append(
            f"{len(data.legacy)} distributions without RECORD by design: {', '.join(data.legacy[:5])}"
        )
    return judged(
        "pip_environment", asset.host, name, sum(len(d.files) for d in present), tuple(findings.values()),
        "recorded files", tuple(notes),
    )  # fmt: skip


def _difference(file: RecordedFile) -> tuple[Code, str, str] | None:
    if file.type == "absent":
        return Code.FILE_MISSING, "file", "absent"
    if file.type != "file" and file.wanted:
        link = f" to {file.error}" if file.type == "link" else ""
        return Code.FILE_TYPE_DIFFERS, "file", f"{file.type}{link}"
    if file.error and file.type != "link":
        return Code.FILE_UNREADABLE, "readable", file.error
    if file.wanted and file.actual != file.wanted:
        return (
            Code.FILE_CONTENT_DIFFERS,
            f"sha256 {file.wanted[:16]}…",
            f"sha256 {file.actual[:16]}… ({file.size} bytes)",
        )
    return None
