"""Drills: the plan's rules for them, and the plan as a drill follows it, with staging in place of production (G12)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model.assets import Name, Seconds
from model.fault_kinds import FaultKind
from model.host import Host
from model.scanning import Schedule

Mode = Literal["full", "tabletop"]
SignedBy = Literal["people", "simulated"]
URL = r"^https?://[^\s]+$"


class StagingHost(Host):
    """A host that stands in for one of production in drills; it can be nothing but staging."""

    role: Literal["staging"] = "staging"


class StandIn(StagingHost):
    """A staging host in the place of a production host.

    Attributes:
        origin: machine-id of that production host, which its recovery points carry.
    """

    origin: str = Field(exclude=True)

    @property
    def recorded_as(self) -> str:
        """The machine-id that recovery points of the production host carry."""
        return self.origin


class DrillRule(Schedule):
    """Regular drills against staging (R-DRILL-1).

    Attributes:
        schedule: when, as a cron line; empty: only by hand.
        timezone: of the schedule.
        staging: production host → the host that stands in for it.
        probes: acceptance probe → its URL on staging, where it is not that of the host with another address.
        faults: kinds of damage to choose from; empty: all that are possible on the host.
        count: how many are done in one drill.
        window: the drill begins at random within so long after the schedule, and nobody is told when.
        lease: how long the staging hosts are held at most; then the drill ends and is cleaned up.
        sign_off: whether people sign, or signatures are simulated by policy; only ever in drills.
        mode: `full`, or `tabletop`: people answer and sign, and nothing is done to any host.
    """

    staging: dict[Name, StagingHost] = {}
    probes: dict[Name, Annotated[str, Field(pattern=URL)]] = {}
    faults: tuple[FaultKind, ...] = ()
    count: int = Field(default=1, ge=1, le=20)
    window: Seconds = 0.0
    lease: Seconds = Field(default=4 * 3600.0, ge=60.0)
    sign_off: SignedBy = "people"
    mode: Mode = "full"
