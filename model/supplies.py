"""What a repair can be made from, as gathered by `checks.supplies`; the ladder chooses from it."""

from __future__ import annotations

from pydantic import Field

from model.canonical import HostText, Value
from model.manifest import Entry, Manifest, RecoveryPoint
from model.mistake import FileDifference, Mistake, TableDifference
from model.points import Judgement, Proof
from model.proposal import InstallTool


class PackageSupply(Value):
    """A .deb or .rpm of exactly the installed version, or of the nearest one where the plan says so.

    Attributes:
        instead_of: the installed version, when this is another one.
        source: `host-cache`, `mirror` or `store:NAME`.
        held: dpkg was told to hold it, and holds it afterwards, too.
        touches: absolute paths on the host that its installation changes.
        keeps: files in it that the host changes lawfully, and that its installation would overwrite.
    """

    asset: str
    package: str
    version: str
    instead_of: str = ""
    architecture: str
    source: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    held: bool = False
    touches: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()


class RpmDatabaseSupply(Value):
    """What the damaged rpm database of an asset still holds.

    Attributes:
        folder: where it is.
        files: absolute paths of its files, also those that come and go.
        readable: packages that can still be read, as `NAME-VERSION.ARCHITECTURE`.
        complete: rpm found no fault in any record, only in the order it keeps them in.
    """

    asset: str
    folder: str
    files: tuple[str, ...]
    readable: tuple[str, ...]
    complete: bool


class RecordSupply(Value):
    """Mode and owner of paths as the package tool's own database has them."""

    asset: str
    entries: tuple[Entry, ...]


class WheelSupply(Value):
    """A wheel of exactly the installed version; `tool` is what installs it there."""

    asset: str
    distribution: str
    version: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    touches: tuple[HostText, ...] = ()
    tool: InstallTool = "pip"


class TreeSupply(Value):
    """What is at and below a path that is to be set aside: all of it is preserved first."""

    asset: str
    path: HostText
    touches: tuple[HostText, ...]


class InterpreterSupply(Value):
    """What makes a virtual environment's own parts whole again.

    Attributes:
        base: the interpreter it is made from; it was seen to run.
        version: its version, as `3.11`; the environment's own.
        links: names of the interpreter that are made anew.
        config_path: the environment's pyvenv.cfg.
        config: what is written there; empty when it is whole.
    """

    asset: str
    base: HostText
    version: str
    links: tuple[Entry, ...] = ()
    config_path: HostText
    config: HostText = ""
    uid: int = 0
    gid: int = 0


class DressSupply(Value):
    """A path as it should be dressed: what it is now, with the right mode and owner."""

    asset: str
    entry: Entry


class PointSupply(Value):
    """A recovery point whose manifest verified.

    Attributes:
        judgement: what is said about it.
        replayable: what was written since, and people could replay by hand from the server's own logs; a sentence.
    """

    asset: str
    point: RecoveryPoint
    manifest: Manifest
    judgement: Judgement | None = None
    replayable: str = Field(default="", exclude_if=lambda text: not text)


class MistakeSupply(Value):
    """What a mistake cost: seen by restoring the moment before it beside a live cluster, or by comparing files with it.

    Attributes:
        point: that it was restored from; None: it could not be, `why` says the reason.
        older: other points that reach the moment.
    """

    asset: str
    mistake: Mistake
    point: RecoveryPoint | None = None
    older: tuple[RecoveryPoint, ...] = ()
    tables: tuple[TableDifference, ...] = ()
    files: tuple[FileDifference, ...] = ()
    why: str = ""


class DatabaseSupply(Value):
    """A damaged package database made whole.

    Attributes:
        base: the copy it is made whole from.
        sha256: hash of the file as it will be written.
        restored: packages whose entries come from the copy.
        again: packages that were installed since, and are to be installed again.
        lost: packages whose entry nobody has.
    """

    asset: str
    path: str
    base: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    restored: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class PackagePaths(Value):
    """Absolute paths on the host that change when an installed package is worked on, whether a .deb is there or not."""

    asset: str
    package: str
    touches: tuple[str, ...]


class Refusal(Value):
    """A source that could have served and was refused, and why."""

    asset: str
    sentence: str


class Removable(Value):
    """A file that can be removed without loss: apt fetches it again, or the snapshot keeps it.

    Attributes:
        regenerable: apt's index still offers the very file; else it is a rotated journal.
    """

    entry: Entry
    mount: HostText
    regenerable: bool


class Mend(Value):
    """What an account file becomes with lines of its backup; see `MendAccounts`."""

    path: HostText
    source: str
    before: str
    source_sha256: str
    after: str
    returned: tuple[HostText, ...] = ()
    dropped: tuple[int, ...] = ()
    known: dict[str, int] = {}


class SystemSupply(Value):
    """What the state of a host can be brought back from.

    Attributes:
        removable: what may be removed to make room, by mount point; `short` says how many bytes are wanted there.
        consumers: what takes the room, biggest first, by mount point.
        errors: what the kernel said about a mount point's device.
        daemon: the unit that keeps the clock; empty when there is none.
        present: what lies now where units are damaged.
        mends: account files and what they can become.
        certificates: path → end of the valid certificate that the newest usable recovery point holds.
        told: why something cannot be brought back, by subject.
    """

    asset: str
    removable: tuple[Removable, ...] = ()
    short: dict[HostText, int] = {}
    consumers: dict[HostText, tuple[HostText, ...]] = {}
    errors: dict[HostText, HostText] = {}
    daemon: str = ""
    present: tuple[Entry, ...] = ()
    mends: tuple[Mend, ...] = ()
    certificates: dict[HostText, str] = {}
    told: dict[HostText, HostText] = {}


class Supplies(Value):
    """All there is to repair from; `remarks` say what was looked for and not found, by package or asset.

    Attributes:
        points: recovery points that may be used, the best of each asset first.
        judged: everything that is said about recovery points, also of those that are refused.
        proofs: asset and what reading one of its recovery points showed.
    """

    packages: tuple[PackageSupply, ...] = ()
    wheels: tuple[WheelSupply, ...] = ()
    points: tuple[PointSupply, ...] = ()
    judged: tuple[Judgement, ...] = ()
    proofs: tuple[tuple[str, Proof], ...] = ()
    mistakes: tuple[MistakeSupply, ...] = ()
    records: tuple[RecordSupply, ...] = ()
    rpm_databases: tuple[RpmDatabaseSupply, ...] = ()
    trees: tuple[TreeSupply, ...] = ()
    interpreters: tuple[InterpreterSupply, ...] = ()
    dressed: tuple[DressSupply, ...] = ()
    systems: tuple[SystemSupply, ...] = ()
    databases: tuple[DatabaseSupply, ...] = ()
    paths: tuple[PackagePaths, ...] = ()
    refused: tuple[Refusal, ...] = ()
    remarks: tuple[str, ...] = ()
