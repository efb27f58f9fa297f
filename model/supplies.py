"""What a repair can be made from, as gathered by `checks.supplies`; the ladder chooses from it."""

from __future__ import annotations

from pydantic import Field

from model.canonical import Value
from model.manifest import Manifest, RecoveryPoint


class PackageSupply(Value):
    """A .deb of exactly the installed version, or of the nearest one where the plan says so.

    Attributes:
        instead_of: the installed version, when this is another one.
        source: `host-cache`, `mirror` or `store:NAME`.
        held: dpkg was told to hold it, and holds it afterwards, too.
        touches: absolute paths on the host that its installation changes.
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


class WheelSupply(Value):
    """A wheel of exactly the installed version."""

    asset: str
    distribution: str
    version: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    touches: tuple[str, ...] = ()


class PointSupply(Value):
    """A recovery point whose manifest verified."""

    asset: str
    point: RecoveryPoint
    manifest: Manifest


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


class Supplies(Value):
    """All there is to repair from; `remarks` say what was looked for and not found, by package or asset."""

    packages: tuple[PackageSupply, ...] = ()
    wheels: tuple[WheelSupply, ...] = ()
    points: tuple[PointSupply, ...] = ()
    databases: tuple[DatabaseSupply, ...] = ()
    paths: tuple[PackagePaths, ...] = ()
    refused: tuple[Refusal, ...] = ()
    remarks: tuple[str, ...] = ()
