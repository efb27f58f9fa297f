"""Who uses what on a host: processes, units, libraries, ports; asked by one Python script that only reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.hosts.base import Connection
from checks.stat import require
from model.command import Command, printable
from model.diagnosis import Listener, Running
from model.errors import PreconditionFailed

PROBES = tuple(Path(__file__).with_name(name) for name in ("elf_probe.py", "impact_probe.py"))
PATH_LIMIT = 500
"""Damaged paths that are looked for; more would be the whole host."""

_NOTES = {
    "time": "the search for what uses the damaged files was cut off after 25 s",
    "processes": "only the first 8000 processes were looked at",
    "elf": "only the first 6000 programs and libraries were looked at",
    "systemctl": "units: systemd does not answer, or this host has none",
}
_SIGNALS = {4: "ILL", 6: "ABRT", 7: "BUS", 9: "KILL", 11: "SEGV", 15: "TERM"}


@dataclass(frozen=True, slots=True)
class Hit:
    """A process that uses a path: `runs`, `mapped`, `open` or `named` on its command line."""

    pid: int
    process: str
    unit: str
    path: str
    how: str


@dataclass(frozen=True, slots=True)
class Need:
    """A unit that needs a damaged path or package, with the reason per link."""

    unit: str
    what: str
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnitState:
    """A service unit as systemd shows it; moments in seconds since 1970 by the host's clock, 0 for never.

    Attributes:
        ended: how its main process ended, in words; empty when it runs or ended by itself.
        signal: the signal that ended it, 0 for none.
        requires: units it cannot do without.
        files: its unit file and drop-ins.
    """

    name: str
    active: str
    sub: str
    result: str
    became_active: float
    left_active: float
    became_inactive: float
    exited: float
    ended: str
    signal: int
    requires: tuple[str, ...]

    @property
    def down(self) -> bool:
        """Whether it should run and does not, as far as systemd knows."""
        return self.active == "failed" or (self.active == "inactive" and self.left_active > 0)


@dataclass(frozen=True)
class Usage:
    """What a host says about who uses what."""

    hits: tuple[Hit, ...] = ()
    needs: tuple[Need, ...] = ()
    listeners: tuple[Listener, ...] = ()
    units: Mapping[str, UnitState] = field(default_factory=dict)
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_checked: tuple[str, ...] = ()


def collect(
    connection: Connection,
    paths: Sequence[str],
    packages: Sequence[str] = (),
    units: Sequence[str] = (),
    *,
    record: bool = False,
) -> Usage:
    """Ask the host's own Python; no damaged program is executed.

    Args:
        connection: an open connection.
        paths: absolute; the first PATH_LIMIT are looked for.
        packages: packages whose files units may start.
        units: units to show although systemd may have unloaded them.
        record: also return which files each unit's processes use.

    Raises:
        Transient: the connection was lost. PreconditionFailed: there is no `python3` that runs.
    """
    asked = {
        "paths": list(paths[:PATH_LIMIT]), "packages": list(packages[:PATH_LIMIT]), "units": list(units),
        "record": record,
    }  # fmt: skip
    script = "\n".join(probe.read_text("utf-8") for probe in PROBES)
    command = Command(
        ("python3", "-I", "-c", script), stdin=json.dumps(asked).encode(), sudo=True, timeout=60.0
    )
    result = connection.run(command, limit=32 << 20)
    if result.status == 127:
        raise PreconditionFailed("there is no python3", connection.name, "install python3 on the host")
    require(result, connection.name, "asking python3 who uses the damaged files")
    try:
        usage = parse(json.loads(result.stdout))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PreconditionFailed(
            f"python3 gave no answer that can be read ({type(error).__name__})", connection.name,
            "python3 is damaged on the host",
        ) from error  # fmt: skip
    if len(paths) <= PATH_LIMIT:
        return usage
    left = f"who uses the other {len(paths) - PATH_LIMIT} of {len(paths)} damaged paths"
    return Usage(**{**usage.__dict__, "not_checked": (*usage.not_checked, left)})


def parse(answer: Mapping[str, Any]) -> Usage:
    """The probe's answer as values."""
    skew = float(answer["skew"])
    return Usage(
        hits=tuple(Hit(*hit) for hit in answer["processes"]),
        needs=tuple(dict.fromkeys(Need(unit, what, tuple(chain)) for unit, what, chain in answer["links"])),
        listeners=tuple(
            dict.fromkeys(
                Listener(unit=unit, process=process, protocol=protocol, address=address, port=port)
                for unit, process, protocol, address, port in answer["listeners"]
            )
        ),
        units={unit["Id"]: _unit(unit, skew) for unit in answer["units"]},
        files={unit: tuple(files) for unit, files in answer["files"].items()},
        not_checked=tuple(_NOTES[note] for note in answer["notes"] if note in _NOTES),
    )


def _unit(shown: Mapping[str, str], skew: float) -> UnitState:
    def moment(name: str) -> float:
        value = shown.get(name, "0")
        return skew + int(value) / 1e6 if value.isdigit() and int(value) else 0.0

    def number(name: str) -> int:
        return int(shown[name]) if shown.get(name, "").isdigit() else 0

    status, code = number("ExecMainStatus"), number("ExecMainCode")
    killed = code in {2, 3}  # CLD_KILLED, CLD_DUMPED
    pid = shown.get("ExecMainPID", "?")
    ended = ""
    if killed:
        ended = f"main process {pid} was ended by signal {status} ({_SIGNALS.get(status, 'signal')})"
    elif code == 1 and status:
        ended = f"main process {pid} ended with exit status {status}"
    needs = f"{shown.get('Requires', '')} {shown.get('BindsTo', '')} {shown.get('PartOf', '')}".split()
    return UnitState(
        name=shown["Id"],
        active=shown.get("ActiveState", ""),
        sub=shown.get("SubState", ""),
        result=shown.get("Result", ""),
        became_active=moment("ActiveEnterTimestampMonotonic"),
        left_active=moment("ActiveExitTimestampMonotonic"),
        became_inactive=moment("InactiveEnterTimestampMonotonic"),
        exited=moment("ExecMainExitTimestampMonotonic"),
        ended=ended,
        signal=status if killed else 0,
        requires=tuple(needs),
    )


def record_running(connection: Connection) -> Running:
    """What runs on a healthy host: who listens where, which files each unit uses.

    Raises:
        Transient: the connection was lost. PreconditionFailed: there is no `python3` that runs.
    """
    usage = collect(connection, (), record=True)
    return Running(
        at=datetime.now(UTC).replace(microsecond=0), listeners=usage.listeners,
        files={printable(unit): files for unit, files in sorted(usage.files.items())},
    )  # fmt: skip
