"""What judging recovery points works with: what is known beside the stores, what a tool says, what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from blocks.backups.engine import FileEngine, Snapshot
from blocks.hosts.base import Connection
from blocks.ledger import Ledger
from blocks.scanners import Scanner
from model.canonical import now
from model.errors import Damaged, PreconditionFailed, Refused
from model.points import Judgement, Lost, PointRule, Proof
from model.supplies import PointSupply


@dataclass(frozen=True)
class Knowledge:
    """What is known beside the stores.

    Attributes:
        ledger: our inventory and what trials showed; None: nothing is known.
        rule: the plan's.
        rpo: seconds of data that may be lost.
        detected_at: when the damage was noticed; now when there is none.
        scanner: looks for malware in the point that comes first; None: nobody does.
        onsets: by asset, last moment it was whole (None: not known) and first one it was damaged.
    """

    rule: PointRule = field(default_factory=PointRule)
    rpo: float = float("inf")
    ledger: Ledger | None = None
    scanner: Scanner | None = None
    detected_at: datetime = field(default_factory=now)
    onsets: Mapping[str, tuple[datetime | None, datetime]] = field(default_factory=dict)


@dataclass
class Looked:
    """What was found.

    Attributes:
        supplies: those that may be used, best first.
        judged: all that were looked at, newest first.
        lost: those that should be there and are not.
        remarks: what else is to be said.
        proofs: what reading them showed, to be remembered.
    """

    supplies: list[PointSupply] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)


@dataclass(frozen=True)
class Repository:
    """What a backup tool says of its repository now; `broken`: why nothing of it can be used."""

    id: str = ""
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    broken: str = ""


def repository_of(engine: FileEngine, connection: Connection) -> Repository:
    """Ask a tool on the host once for all of its points.

    Raises:
        Transient: connection or repository cannot be reached.
    """
    try:
        engine.tool(connection)
        snapshots = {one.id: one for one in engine.snapshots(connection)}
        return Repository(engine.repository(connection), snapshots)
    except (Refused, PreconditionFailed, Damaged) as error:
        return Repository(broken=str(error))
