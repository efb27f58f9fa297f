"""What a repair can be made from, as gathered by `checks.supplies`; the ladder chooses from it."""

from __future__ import annotations

from pydantic import Field

from model.canonical import HostText, Value
from model.manifest import Entry, Manifest, RecoveryPoint
from model.proposal import InstallTool


class PackageSupply(Value):
    """A .deb of exactly the installed version.

    Attributes:
        source: `host-cache`, `mirror` or `store:NAME`.
        touches: absolute paths on the host that its installation changes.
    """

    asset: str
    package: str
    version: str
    architecture: str
    source: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    touches: tuple[str, ...] = ()


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
    """A recovery point whose manifest verified."""

    asset: str
    point: RecoveryPoint
    manifest: Manifest


class Supplies(Value):
    """All there is to repair from; `remarks` say what was looked for and not found, by package or asset."""

    packages: tuple[PackageSupply, ...] = ()
    wheels: tuple[WheelSupply, ...] = ()
    points: tuple[PointSupply, ...] = ()
    trees: tuple[TreeSupply, ...] = ()
    interpreters: tuple[InterpreterSupply, ...] = ()
    dressed: tuple[DressSupply, ...] = ()
    remarks: tuple[str, ...] = ()
