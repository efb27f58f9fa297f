"""What the parts of the system check share: facts by part, findings as they are made, and what people accept."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from model.assets import SystemAsset
from model.finding import Code, Degree, Finding
from model.host_state import HostState


@dataclass(frozen=True, slots=True)
class SystemData:
    """Facts about a host's own state.

    Attributes:
        parts: what the script printed, by part; a part that is missing was not collected.
        sent: when the command was sent, by our clock; `received` when its answer was whole.
        endpoints: certificate in DER of each TLS server, or why it could not be had.
    """

    parts: Mapping[str, str]
    sent: datetime
    received: datetime
    endpoints: Mapping[str, bytes | str] = field(default_factory=dict)

    def lines(self, part: str) -> list[str]:
        """A part's lines; nothing when it was not collected."""
        return self.parts.get(part, "").splitlines()

    def named(self, word: str) -> dict[str, str]:
        """Parts such as `unit PATH`, by path."""
        return {
            name.partition(" ")[2]: text for name, text in self.parts.items() if name.startswith(f"{word} ")
        }

    @property
    def container(self) -> str:
        """What manages this container; empty on a machine."""
        return next(iter(self.parts.get("container", "").split()), "")


@dataclass
class Judging:
    """One judgement under way: the asset, its baseline, and what was found so far."""

    name: str
    asset: SystemAsset
    data: SystemData
    known: HostState | None
    examined: int = 0
    findings: dict[tuple[Code, str], Finding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)

    def find(
        self, code: Code, subject: str, expected: str, actual: str, degree: Degree = Degree.SERIOUS, detail: str = "",
        package: str = "", version: str = "",
    ) -> None:  # fmt: skip
        """Add a finding, unless the plan accepts it."""
        if any(
            fnmatch.fnmatchcase(text, pattern)
            for pattern in self.asset.accept
            for text in (subject, f"{code} {subject}")
        ):
            self.accepted.add(subject)
            return
        self.findings.setdefault(
            (code, subject),
            Finding(
                code=code, host=self.asset.host, asset=self.name, subject=subject, degree=degree, expected=expected,
                actual=actual, detail=detail, package=package, version=version,
            ),
        )  # fmt: skip

    def note(self, text: str) -> None:
        """Say what was not checked, and why."""
        self.notes.append(text)

    def without(self, part: str, names: Sequence[str], why: str) -> bool:
        """Whether parts are missing; then it is said that this was not checked."""
        missing = [name for name in names if name not in self.data.parts]
        if missing:
            self.note(f"{part}: {why}")
        return bool(missing)
