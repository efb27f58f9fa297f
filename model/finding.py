"""Findings: what a check found damaged, by stable code, and how a check ended."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from pydantic import Field

from model.canonical import HostText, Value, digest, storable
from model.command import printable


class Code(StrEnum):
    """Stable codes of findings; never renamed, only added to."""

    FILE_MISSING = "FILE_MISSING"
    FILE_CONTENT_DIFFERS = "FILE_CONTENT_DIFFERS"
    FILE_MODE_DIFFERS = "FILE_MODE_DIFFERS"
    FILE_OWNER_DIFFERS = "FILE_OWNER_DIFFERS"
    FILE_TYPE_DIFFERS = "FILE_TYPE_DIFFERS"
    FILE_LINK_DIFFERS = "FILE_LINK_DIFFERS"
    FILE_UNREADABLE = "FILE_UNREADABLE"
    FILE_CAPABILITIES_DIFFER = "FILE_CAPABILITIES_DIFFER"
    FILE_ATTRIBUTES_DIFFER = "FILE_ATTRIBUTES_DIFFER"
    FILE_HARD_LINK_BROKEN = "FILE_HARD_LINK_BROKEN"
    FILE_FOREIGN = "FILE_FOREIGN"
    HASH_LIST_DIFFERS = "HASH_LIST_DIFFERS"
    CONFFILE_MISSING = "CONFFILE_MISSING"
    PACKAGE_STATE_BROKEN = "PACKAGE_STATE_BROKEN"
    PACKAGE_NOT_INSTALLED = "PACKAGE_NOT_INSTALLED"
    PACKAGE_DATABASE_DAMAGED = "PACKAGE_DATABASE_DAMAGED"
    ALTERNATIVE_BROKEN = "ALTERNATIVE_BROKEN"
    TOOL_BROKEN = "TOOL_BROKEN"
    RECORD_MISSING = "RECORD_MISSING"
    DATABASE_UNREACHABLE = "DATABASE_UNREACHABLE"
    DATABASE_TABLE_UNREADABLE = "DATABASE_TABLE_UNREADABLE"
    DATABASE_CHECKSUM_FAILED = "DATABASE_CHECKSUM_FAILED"
    DATABASE_EMPTY = "DATABASE_EMPTY"
    OPERATOR_MISTAKE = "OPERATOR_MISTAKE"
    DATABASE_INCONSISTENT = "DATABASE_INCONSISTENT"
    SERVICE_DOWN = "SERVICE_DOWN"
    UNIT_FAILED = "UNIT_FAILED"
    UNIT_MASKED = "UNIT_MASKED"
    UNIT_CHANGED = "UNIT_CHANGED"
    DISK_FULL = "DISK_FULL"
    DISK_READ_ONLY = "DISK_READ_ONLY"
    CLOCK_SKEWED = "CLOCK_SKEWED"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    ACCOUNTS_DAMAGED = "ACCOUNTS_DAMAGED"
    BOOT_DAMAGED = "BOOT_DAMAGED"
    PROBE_FAILED = "PROBE_FAILED"
    EXPECTATION_FAILED = "EXPECTATION_FAILED"
    SCENARIO = "SCENARIO"


ACCEPTED_CONTENT = "the content a person accepted"
"""How `expected` begins where a configuration file differs from what a person accepted: no package brings that back."""


class Degree(IntEnum):
    """Damage degree of one finding or of an incident, least first (R-RESP-2)."""

    NONE = 0
    SLIGHT = 1
    SERIOUS = 2
    TOTAL = 3


class Verdict(StrEnum):
    """How a check ended. SKIPPED is not PASSED, ERROR is not FAILED (G11)."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


class Finding(Value):
    """One damaged thing.

    Attributes:
        code: what is wrong.
        host: name of the host in the plan.
        asset: name of the asset in the plan.
        subject: the path, table, unit or URL that is damaged.
        degree: how bad this one thing is.
        expected: what it should be, for people (a hash, a mode, a state).
        actual: what it is.
        package: package or distribution that owns the subject, empty when none.
        version: installed version of that package.
        detail: one sentence for people, from the host and therefore tainted.
    """

    code: Code
    host: str
    asset: str
    subject: HostText
    degree: Degree = Degree.SERIOUS
    expected: HostText = ""
    actual: HostText = ""
    package: str = ""
    version: str = ""
    detail: HostText = ""

    @property
    def id(self) -> str:
        """Stable name of this finding within an incident: equal damage found twice has one id."""
        return "f-" + digest([self.code, self.host, self.asset, storable(self.subject)])[:12]

    @property
    def sentence(self) -> str:
        """What a person reads, safe to print: names from a host are tainted."""
        owner = f" of {self.package} {self.version}" if self.package else ""
        difference = (
            f": expected {self.expected}, found {self.actual}" if self.expected or self.actual else ""
        )
        return printable(f"{self.code} {self.subject}{owner}{difference}")


class CheckResult(Value):
    """How one check of one asset ended.

    Attributes:
        check: the check's noun, e.g. `packages`.
        host: host looked at.
        asset: asset looked at.
        verdict: PASSED only when something was examined and nothing was wrong.
        examined: how many things were looked at (files, tables, requests).
        findings: what was damaged.
        sentence: the outcome in one plain sentence.
        seconds: wall time of the check.
        not_checked: what was left out and why, in words.
    """

    check: str
    host: str
    asset: str
    verdict: Verdict
    examined: int = Field(ge=0)
    findings: tuple[Finding, ...] = ()
    sentence: str
    seconds: float = 0.0
    not_checked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Which check this is, within a plan."""
        return f"{self.check}/{self.asset}"


def judged(
    check: str,
    host: str,
    asset: str,
    examined: int,
    findings: tuple[Finding, ...],
    noun: str,
    not_checked: tuple[str, ...] = (),
) -> CheckResult:
    """The result every `judge` ends in: an empty examination is an ERROR, never a pass (G11, habit 6)."""
    if examined == 0 and not findings:
        verdict, sentence = Verdict.ERROR, f"No {noun} was examined on {host}: an empty check is not a pass."
    elif findings:
        verdict, sentence = Verdict.FAILED, f"{len(findings)} of {examined} {noun} damaged on {host}."
    else:
        verdict, sentence = Verdict.PASSED, f"All {examined} {noun} on {host} are as they should be."
    return CheckResult(
        check=check, host=host, asset=asset, verdict=verdict, examined=examined, findings=findings,
        sentence=sentence, not_checked=not_checked,
    )  # fmt: skip
