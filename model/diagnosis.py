"""The diagnosis: since when, why, who is affected, how sure we are and what was not checked (R-RESP-2).

The findings say *what* is damaged; this says the rest of what a person needs to decide. All of it is read from hosts
and therefore tainted; a hint is never more than a hint, least of all one about a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from model.canonical import HostText, Value
from model.command import printable


class Cause(StrEnum):
    """Stable codes of causes; never renamed, only added to."""

    SEGFAULT = "SEGFAULT"
    ELF_ERROR = "ELF_ERROR"
    IO_ERROR = "IO_ERROR"
    HARDWARE = "HARDWARE"
    SILENT_CHANGE = "SILENT_CHANGE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NO_SPACE = "NO_SPACE"
    READ_ONLY_FILE_SYSTEM = "READ_ONLY_FILE_SYSTEM"
    UNIT_FAILED = "UNIT_FAILED"
    KILLED_PROCESS = "KILLED_PROCESS"
    IMPORT_ERROR = "IMPORT_ERROR"
    MISSING_FILE = "MISSING_FILE"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    CONFIGURATION_ERROR = "CONFIGURATION_ERROR"
    DATABASE_CORRUPTION = "DATABASE_CORRUPTION"
    PACKAGE_OPERATION = "PACKAGE_OPERATION"
    INTERRUPTED_PACKAGE_OPERATION = "INTERRUPTED_PACKAGE_OPERATION"
    PERSONS_COMMAND = "PERSONS_COMMAND"
    CLOCK_JUMP = "CLOCK_JUMP"


class Confidence(StrEnum):
    """How sure we are."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class LogLine(Value):
    """One line that shows something.

    Attributes:
        source: where it was read: `journal`, `kernel`, a path, `df`, `systemctl show`.
        at: when, by the host's clock; None when the line carries no time.
        text: the line itself, cut; tainted.
    """

    source: HostText
    at: AwareDatetime | None
    text: HostText


class CauseHint(Value):
    """Why the damage may have happened.

    Attributes:
        code: what kind of cause.
        sentence: in words.
        confidence: how sure, and `because` why so.
        lines: what shows it, at most a handful; the host has all of them.
        findings: ids of the findings it explains.
    """

    code: Cause
    host: str
    sentence: HostText
    confidence: Confidence
    because: HostText
    lines: tuple[LogLine, ...]
    findings: tuple[str, ...] = ()


class Reach(StrEnum):
    """How something is affected."""

    STOPPED = "stopped"
    USES = "uses what is damaged"
    DEPENDS = "depends on it"


class Impact(Value):
    """Something that is affected, with the reason per link from the damaged thing to it.

    Attributes:
        kind: `unit`, `process` and `port` are the host's; `service`, `asset`, `probe` and `table` are the plan's.
        name: a unit, `nginx (PID 107)`, `tcp 80`, or a name of the plan.
        chain: sentences, from the damaged thing to this one.
        findings: ids of the findings it suffers from.
    """

    kind: Literal["unit", "process", "port", "service", "asset", "probe", "table"]
    name: HostText
    host: str
    reach: Reach
    chain: tuple[HostText, ...]
    findings: tuple[str, ...] = ()


class Moment(Value):
    """One thing that happened, for the timeline of the onset."""

    at: AwareDatetime
    host: str
    kind: Literal["healthy", "before", "damage", "sign", "report"]
    sentence: HostText


class Onset(Value):
    """When the damage can have begun.

    Attributes:
        earliest: the last moment at which there is evidence of health; None when there is none.
        latest: the first moment at which the damage was certainly there.
        moments: what happened around it, oldest first.
    """

    earliest: AwareDatetime | None
    earliest_because: HostText
    latest: AwareDatetime
    latest_because: HostText
    moments: tuple[Moment, ...] = ()

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in the window."""
        return (self.earliest is None or self.earliest <= moment) and moment <= self.latest


class AssetOnset(Value):
    """When the damage of one asset can have begun: last moment it was whole (None: not known), first one it was not."""

    earliest: AwareDatetime | None
    latest: AwareDatetime


class Diagnosis(Value):
    """Everything but the findings themselves.

    Attributes:
        assets: when the damage of each asset can have begun: a recovery point is chosen by its own asset's.
        causes: most probable first.
        impacts: nearest to the damage first.
        confidence: how sure we are of the first cause and the onset together, and `because` why.
        not_checked: what could not be looked at, and why, in words.
    """

    onset: Onset
    assets: dict[str, AssetOnset] = Field(default={}, exclude_if=lambda assets: not assets)
    causes: tuple[CauseHint, ...] = ()
    impacts: tuple[Impact, ...] = ()
    confidence: Confidence
    because: HostText
    not_checked: tuple[HostText, ...] = ()

    def affected(self, kind: str) -> tuple[Impact, ...]:
        """What is affected of one kind."""
        return tuple(impact for impact in self.impacts if impact.kind == kind)


class Listener(Value):
    """A socket that waits for connections."""

    unit: HostText
    process: HostText
    protocol: Literal["tcp", "udp"]
    address: str
    port: int = Field(ge=0, le=65535)

    @property
    def name(self) -> str:
        """As people say it."""
        return f"{self.protocol} {self.port}"


class Running(Value):
    """What ran on a host while it was healthy: who listened where and used which files (recorded by `back_up`).

    Attributes:
        files: unit → files its processes had mapped, programs and libraries.
    """

    at: AwareDatetime
    listeners: tuple[Listener, ...] = ()
    files: dict[str, tuple[HostText, ...]] = {}


def shown(text: str, limit: int = 400) -> str:
    """A host's text as it is kept in a diagnosis: printable, one line, cut."""
    plain = printable(" ".join(text.split()))
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


def unique(items: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(items))
