"""Records of a drill: what was planted, what was seen before and after, how it ended.

They stand in a journal of their own (`drl-…`), apart from the incident's: who recovers, diagnoses, signs or is told
reads that one, and never learns from it what was planted.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from model.canonical import HostText, Value
from model.drill import Mode, SignedBy
from model.faults import Fault, Planted
from model.finding import CheckResult

Outcome = Literal["done", "refused", "unhealthy", "pre-empted", "expired", "reaped", "failed"]
"""How a drill ended. `unhealthy`: staging was not well before anything was planted, or nothing could be planted;
`expired`: its lease was over; `reaped`: its process was gone; `failed`: something went wrong that is no verdict."""


class DrillRecord(Value):
    """What only the journal of a drill holds; each says in one sentence what happened."""

    sentence: HostText


class DrillBegan(DrillRecord):
    """A drill was begun.

    Attributes:
        seed: of the choice of damage; the same seed chooses the same.
        kinds: chosen from these; empty: from all that are possible.
        hosts: name in the plan → machine-id of the staging host that stands in for it.
        expires_at: end of the lease.
    """

    type: Literal["drill_began"] = "drill_began"
    mode: Mode
    sign_off: SignedBy
    seed: int
    count: int
    kinds: tuple[str, ...] = ()
    hosts: dict[str, str]
    expires_at: AwareDatetime


class DrillLease(DrillRecord):
    """A staging host is held by this drill (`held`), or was given back."""

    type: Literal["drill_lease"] = "drill_lease"
    host: str
    token: int
    held: bool


class StagingProven(DrillRecord):
    """The three facts of every staging host hold; `facts`: host → one sentence for each."""

    type: Literal["staging_proven"] = "staging_proven"
    facts: dict[str, tuple[HostText, ...]]


class StagingLooked(DrillRecord):
    """What the checks of the plan say about staging: before the damage, or after the recovery (the hypothesis)."""

    type: Literal["staging_looked"] = "staging_looked"
    when: Literal["before", "after"]
    ok: bool
    results: tuple[CheckResult, ...]


class FaultPlanting(DrillRecord):
    """Damage is about to be done to a staging host; durable before it is (G1)."""

    type: Literal["fault_planting"] = "fault_planting"
    number: int = Field(ge=1)
    fault: Fault


class FaultPlanted(DrillRecord):
    """The damage was done."""

    type: Literal["fault_planted"] = "fault_planted"
    number: int = Field(ge=1)
    planted: Planted


class FaultRefused(DrillRecord):
    """The damage could not be done; the drill goes on with the others."""

    type: Literal["fault_refused"] = "fault_refused"
    number: int = Field(ge=1)


class FaultUndone(DrillRecord):
    """What was planted is gone: the recovery cured it, or the drill took it back.

    Attributes:
        left_behind: what is still there, one sentence each.
    """

    type: Literal["fault_undone"] = "fault_undone"
    number: int = Field(ge=1)
    left_behind: tuple[HostText, ...] = ()


class DrillIncidentOpened(DrillRecord):
    """The incident that people, or simulated people, deal with."""

    type: Literal["drill_incident"] = "drill_incident"
    incident: str


class DrillEnded(DrillRecord):
    """The drill is over; staging is free again.

    Attributes:
        left_behind: what of the drill is still on a host, one sentence each; empty: proven absent.
    """

    type: Literal["drill_ended"] = "drill_ended"
    outcome: Outcome
    left_behind: tuple[HostText, ...] = ()
