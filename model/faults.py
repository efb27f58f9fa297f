"""The faults of a drill: kinds of real damage, which of them a plan allows, and a choice by seed (R-DRILL). Pure.

A fault is chosen from the plan alone; which very file, row or unit is broken is settled on the host, by the same seed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import AwareDatetime, Field

from model import fault_targets as targets
from model.assets import (
    DpkgAsset,
    FilesAsset,
    HostPath,
    MariadbAsset,
    Name,
    PostgresAsset,
    ServiceAsset,
    SqliteAsset,
    SystemAsset,
)
from model.canonical import HostText, Value, digest
from model.errors import BadInput, PreconditionFailed
from model.fault_kinds import FaultKind
from model.fault_targets import Need
from model.finding import Code, Finding
from model.mistake import Mistake
from model.plan import Plan

MOST = 64 << 20
"""Bytes of originals that a drill keeps on the host for one fault of files, unless the fault says more."""


Wrong = Literal["", "null", "value", "same", "more"]
"""What a wrong UPDATE sets a column to: NULL, a value, the same everywhere, one more than before."""


class Fault(Value):
    """One damage to do.

    Attributes:
        kind: which.
        asset: the asset of the plan that has to notice it.
        host: its host.
        seed: decides what is left to the host: which file, which byte, which table.
        target: what is broken, as the plan names it: unit, package, path, mount or table; empty: the host decides.
        column: of a wrong UPDATE.
        wrong: of a wrong UPDATE.
        value: of a wrong UPDATE with `wrong: value`.
        files: how many documents are overwritten.
        most: bytes of originals kept on the host at most; of a full disk: bytes of the file that fills it.
    """

    kind: FaultKind
    asset: Name
    host: Name
    seed: int = Field(ge=0)
    target: str = ""
    column: str = ""
    wrong: Wrong = ""
    value: str = ""
    files: int = Field(default=3, ge=1, le=100)
    most: int = Field(default=MOST, ge=1, le=1 << 40)

    @property
    def id(self) -> str:
        """Stable name of this fault; also of its folder on the host."""
        return "d-" + digest(self)[:12]

    def pick(self, names: Sequence[str]) -> list[str]:
        """Names in an order that the seed decides, whatever order they come in."""
        return sorted(names, key=lambda name: _rank(self.seed, name))


class Expected(Value):
    """A finding that a fault leads to.

    Attributes:
        asset: in the plan; empty: any.
        subject: what the finding is about, or a folder or table above it; empty: anything.
    """

    code: Code
    asset: str = ""
    subject: HostText = ""

    def matches(self, finding: Finding) -> bool:
        """Whether a finding is this one."""
        below = (self.subject + "/", self.subject + ": ")
        return (
            finding.code is self.code
            and self.asset in {"", finding.asset}
            and (self.subject in {"", finding.subject} or finding.subject.startswith(below))
        )


class Left(Value):
    """What undoing needs; everything else lies in the folder on the host. References only.

    Attributes:
        folder: of the drill on the host, mode 700, with the originals.
        paths: what was damaged and put aside.
        added: files that were not there before.
        services: assets that ran and have to run again.
        offset: of the overwritten page in its file, in bytes.
    """

    folder: HostPath
    paths: tuple[HostText, ...] = ()
    added: tuple[HostText, ...] = ()
    services: tuple[Name, ...] = ()
    offset: int = 0


class Planted(Value):
    """A damage that was done.

    Attributes:
        fault: what was to be done.
        subjects: what is damaged: paths, tables, units.
        sentence: what was done, for people once the drill is over.
        expected: findings that must be seen.
        follows: findings that may be seen as its effect; no false alarms.
        mistake: what a person would report of damage that no check of the host can find, where a plan can deal with it.
        at: by the orchestrator's clock, just before.
        left: what undoing needs.
    """

    fault: Fault
    subjects: tuple[HostText, ...] = Field(min_length=1)
    sentence: str
    expected: tuple[Expected, ...] = Field(min_length=1)
    follows: tuple[Expected, ...] = ()
    mistake: Mistake | None = None
    at: AwareDatetime
    left: Left

    def explains(self, finding: Finding) -> bool:
        """Whether a finding is this damage or its effect."""
        return any(one.matches(finding) for one in (*self.expected, *self.follows))


def possible(plan: Plan, host: str) -> tuple[Fault, ...]:
    """Every fault the plan's assets of a host allow, with seed 0, in the order of kinds and assets."""
    return tuple(
        Fault(kind=kind, asset=name, host=host, seed=0, **target)  # type: ignore[arg-type]  # checked by pydantic
        for kind, need in KINDS.items()
        for name, asset in plan.assets.items()
        if asset.host == host
        for target in need.targets(plan, name, asset)
    )


def choose(
    plan: Plan, hosts: Sequence[str], kinds: Sequence[FaultKind], seed: int, count: int
) -> tuple[Fault, ...]:
    """Faults that do not mask one another, the same for the same seed; seeds that follow each other go round the kinds.

    Args:
        plan: the plan.
        hosts: names of hosts in the plan.
        kinds: to choose from; empty: all.
        seed: 0 or more.
        count: how many; fewer where no more fit beside each other.

    Raises:
        BadInput: a host is not in the plan, or the count is below 1.
        PreconditionFailed: the plan's assets on these hosts allow none of the kinds.
    """
    if unknown := [name for name in hosts if name not in plan.hosts]:
        raise BadInput(f"{unknown[0]!r} is no host of the plan.", plan.name, f"name {', '.join(plan.hosts)}")
    if count < 1 or seed < 0:
        raise BadInput("a drill needs one fault or more, and a seed from 0.", plan.name, "correct the drill")
    offered = [one for host in hosts for one in possible(plan, host) if not kinds or one.kind in kinds]
    if not offered:
        raise PreconditionFailed(
            "no asset on these hosts can be damaged in such a way.", f"{plan.name}: {', '.join(hosts)}",
            "add assets to the plan, or choose among " + ", ".join(KINDS),
        )  # fmt: skip
    order = sorted({one.kind for one in offered}, key=lambda kind: _rank(0, kind))
    order = order[seed % len(order) :] + order[: seed % len(order)]
    chosen: list[Fault] = []
    while len(chosen) < count:
        before = len(chosen)
        for kind in order:
            fitting = [
                one for one in offered
                if one.kind is kind and not any(masks(plan, one, other) for other in chosen)
            ]  # fmt: skip
            if fitting and len(chosen) < count:
                chosen.append(min(fitting, key=lambda one: _rank(seed, one.id)))
        if len(chosen) == before:
            break
    return tuple(one.model_copy(update={"seed": seed}) for one in chosen)


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).hexdigest()


def masks(plan: Plan, one: Fault, other: Fault) -> bool:
    """Whether two faults could hide each other, or one could cure the other, so that neither tells anything."""
    if one.host != other.host:
        return False
    if FaultKind.DISK_FULL in {one.kind, other.kind} or one.asset == other.asset:
        return True  # on a full disk everything else may fail, too
    mine, theirs = tuple(_reach(plan, one)), tuple(_reach(plan, other))
    return any(_overlap(a, b) for a in mine for b in theirs)


def _reach(plan: Plan, fault: Fault) -> Iterator[str]:
    """Everything a fault may touch: paths, and `service:` with a name."""
    asset = plan.assets[fault.asset]
    match asset:
        case FilesAsset():
            yield asset.path
        case SqliteAsset():
            yield asset.path
            yield from (f"service:{name}" for name in plan.used_by(asset))
        case PostgresAsset() | MariadbAsset():
            yield f"server:{asset.kind}:{asset.server}:{asset.port}"
            if asset.service:
                yield f"service:{asset.service}"
        case ServiceAsset():
            yield f"service:{fault.asset}"
        case SystemAsset():
            yield re.split(r"[*?\[]", fault.target)[0]
        case DpkgAsset():
            yield from (f"{asset.root.rstrip('/')}/usr", f"dpkg:{asset.root}")
        case _:
            yield from ("/usr", "rpm:/")


def _overlap(one: str, other: str) -> bool:
    if not (one.startswith("/") and other.startswith("/")):
        return one == other
    return f"{one.rstrip('/')}/".startswith(f"{other.rstrip('/')}/") or f"{other.rstrip('/')}/".startswith(
        f"{one.rstrip('/')}/"
    )


def at_or_below(path: str, top: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == top or path.startswith(f"{top.rstrip('/')}/")


KINDS: Mapping[FaultKind, Need] = {
    FaultKind.PACKAGE_FILE: Need("packages (dpkg, rpm)", targets.packages),
    FaultKind.LIBRARY_BIT: Need("packages (dpkg, rpm)", targets.packages),
    FaultKind.CONFIGURATION: Need("files with the role configuration", targets.configuration),
    FaultKind.PERMISSIONS: Need("files", targets.files),
    FaultKind.DELETED_DIRECTORY: Need("files with the role data", targets.documents),
    FaultKind.OVERWRITTEN_DOCUMENTS: Need("files with the role data", targets.documents),
    FaultKind.DISK_FULL: Need("a system that watches disks, with mounts beside /", targets.disks),
    FaultKind.KILLED_UPGRADE: Need("packages (dpkg)", targets.upgrades),
    FaultKind.DATABASE_PAGES: Need("a SQLite database, or a server with its service", targets.pages),
    FaultKind.WRONG_UPDATE: Need("a PostgreSQL database with expectations on columns", targets.updates),
    FaultKind.DROPPED_TABLE: Need("a database", targets.tables),
    FaultKind.STOPPED_SERVICE: Need("a service", targets.stopped),
    FaultKind.EXPIRED_CERTIFICATE: Need("a system that watches certificates", targets.certificates),
}
"""What each kind needs of an asset."""
