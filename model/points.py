"""What is known and said of recovery points: our inventory of them, trials, reasons, judgements (R-RESP-6)."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from model.assets import Seconds
from model.canonical import HostText, Value
from model.manifest import FileType, Manifest, RecoveryPoint


class Why(StrEnum):
    """Stable names of what is said about a recovery point; never renamed, only added to."""

    WRONG_HOST = "WRONG_HOST"
    MANIFEST_DAMAGED = "MANIFEST_DAMAGED"
    MANIFEST_REPLACED = "MANIFEST_REPLACED"
    MANIFEST_GONE = "MANIFEST_GONE"
    OBJECT_GONE = "OBJECT_GONE"
    SNAPSHOT_GONE = "SNAPSHOT_GONE"
    SNAPSHOT_DAMAGED = "SNAPSHOT_DAMAGED"
    REPOSITORY_REPLACED = "REPOSITORY_REPLACED"
    TOOL_REFUSED = "TOOL_REFUSED"
    NEWER_THAN_DAMAGE = "NEWER_THAN_DAMAGE"
    HOLDS_DAMAGE = "HOLDS_DAMAGE"
    LACKS_FILES = "LACKS_FILES"
    EMPTY = "EMPTY"
    SHRUNK = "SHRUNK"
    INFECTED = "INFECTED"
    AFTER_ONSET = "AFTER_ONSET"
    MAYBE_AFTER_ONSET = "MAYBE_AFTER_ONSET"
    SILENT_CHANGE = "SILENT_CHANGE"
    DOUBTFUL = "DOUBTFUL"
    STALE = "STALE"
    NOT_IN_INVENTORY = "NOT_IN_INVENTORY"
    ADOPTED = "ADOPTED"
    TOOL_NOT_ASKED = "TOOL_NOT_ASKED"
    TRUSTED = "TRUSTED"
    PROVEN = "PROVEN"
    INVENTORY_ALTERED = "INVENTORY_ALTERED"


class Weight(StrEnum):
    """What a reason does to a point."""

    REFUSES = "refuses"
    AGAINST = "speaks against it"
    NOTE = "is said"
    FOR = "speaks for it"


class Reason(Value):
    """One thing said about a recovery point."""

    why: Why
    weight: Weight
    sentence: HostText


class PointRule(Value):
    """How recovery points are judged.

    Attributes:
        shrunk_warns: percent by which files, bytes or rows may be fewer than the median of the points before it; one
            that lost more is taken only when there is no better one.
        shrunk_refuses: percent from which it is never taken.
        trailing: how many points before it make that median.
        verify: `listed`: the store or tool still has it; `sampled`: some of its files are read as well (stores of our
            own); `whole`: every byte is read before it is proposed.
        scanner: malware scanner of the orchestrator that looks at a point before it is proposed: `clamav` (clamdscan or
            clamscan) or `yara`; at its first 64 MiB, and only where its bytes are in a store of our own.
        scanner_rules: file of YARA rules, beside the plan.
        kept_at_least: how long your retention keeps every point; one that vanishes earlier is told.
    """

    shrunk_warns: int = Field(default=50, ge=1, le=100)
    shrunk_refuses: int = Field(default=90, ge=1, le=100)
    trailing: int = Field(default=7, ge=1, le=100)
    verify: Literal["listed", "sampled", "whole"] = "listed"
    scanner: Literal["none", "clamav", "yara"] = "none"
    scanner_rules: str | None = Field(default=None, min_length=1)
    kept_at_least: Seconds = 7 * 86400.0


class Measure(Value):
    """How much a recovery point holds; rows only of databases."""

    files: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    rows: int = Field(default=0, ge=0)


class Expected(Value):
    """A recovery point as our inventory knows it.

    Attributes:
        id: of the point.
        source: name of the backup source in the plan.
        manifest_sha256: hash of its manifest; another one in its place is not the one we signed then.
        snapshot: the tool's own name of it, and `repository` the tool's own id of where it is.
        measure: how much it held.
        doubtful: why it may hold damage; empty when nothing was known.
        adopted: made by the users' own backups and taken over later.
    """

    id: str
    source: str
    taken_at: AwareDatetime
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    snapshot: str = ""
    repository: str = ""
    measure: Measure
    doubtful: HostText = ""
    adopted: bool = False


class Inventory(Value):
    """Every recovery point of an asset that there should be, oldest first; `serial` counts its changes."""

    plan: str
    asset: str
    serial: int = Field(default=0, ge=0)
    points: tuple[Expected, ...] = ()

    def of(self, point: str) -> Expected | None:
        """What is expected of a point."""
        return next((one for one in self.points if one.id == point), None)

    def with_point(self, expected: Expected) -> Inventory:
        """The inventory with one more point, or with a point known better."""
        others = [one for one in self.points if one.id != expected.id]
        points = tuple(sorted((*others, expected), key=lambda one: one.id))
        return self.model_copy(update={"points": points, "serial": self.serial + 1})


class Proof(Value):
    """What became of a trial: a verification run restored the point, a check read all of it, a person looked at it.

    Attributes:
        manifest_sha256: of the point it is about; a proof of another manifest under the same name is none.
        how: `restored` (a verification run), `read` (every byte), `sampled`, `scanned` (by a malware scanner),
            `trusted` (a person says it is as it was).
    """

    point: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    at: AwareDatetime
    how: Literal["restored", "read", "sampled", "scanned", "trusted"]
    ok: bool
    sentence: HostText = ""


class Judgement(Value):
    """What is said about one recovery point."""

    asset: str
    point: str
    source: str
    taken_at: AwareDatetime
    measure: Measure = Measure()
    reasons: tuple[Reason, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether it must not be used."""
        return any(reason.weight is Weight.REFUSES for reason in self.reasons)

    @property
    def against(self) -> tuple[Reason, ...]:
        """What refuses it or speaks against it."""
        return tuple(r for r in self.reasons if r.weight in {Weight.REFUSES, Weight.AGAINST})

    @property
    def verdict(self) -> Literal["good", "usable", "refused"]:
        """In one word."""
        return "refused" if self.refused else "usable" if self.against else "good"

    def says_against(self, *whys: Why) -> bool:
        """Whether one of these refuses it or speaks against it."""
        return any(reason.why in whys for reason in self.against)

    def says(self, why: Why) -> bool:
        """Whether this is said about it."""
        return any(reason.why is why for reason in self.reasons)

    @property
    def sentence(self) -> str:
        """Everything said about it, in one line, the gravest first."""
        order = tuple(Weight)
        ordered = sorted(self.reasons, key=lambda reason: order.index(reason.weight))
        return "; ".join(f"{reason.why}: {reason.sentence}" for reason in ordered)


def measured(manifest: Manifest) -> Measure:
    """How much a point holds, by its manifest."""
    files = sum(entry.type is not FileType.DIRECTORY for entry in manifest.entries)
    held = sum(entry.size for entry in manifest.entries if entry.type is FileType.FILE)
    return Measure(
        files=files, bytes=held if manifest.entries else manifest.object_bytes,
        rows=sum(count.rows for count in manifest.tables),
    )  # fmt: skip


def expected_of(point: RecoveryPoint, manifest: Manifest, doubtful: str = "") -> Expected:
    """A point as the inventory keeps it."""
    return Expected(
        id=point.id, source=point.source, taken_at=point.taken_at, manifest_sha256=point.manifest_sha256,
        snapshot=manifest.snapshot, repository=manifest.repository, measure=measured(manifest), doubtful=doubtful,
        adopted=manifest.adopted,
    )  # fmt: skip


class Lost(Value):
    """A recovery point that should be there and is not."""

    asset: str
    point: str
    why: Why
    sentence: HostText
    grave: bool = True
    """False: the tool's own retention may have removed it."""
