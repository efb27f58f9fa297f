"""The world of the acceptance tests with a database: the ledger, its plan and its people."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.host import LabHost
from tests.lab.ledger import Ledger
from tests.support.labworld import World


@dataclass(frozen=True)
class LedgerWorld(World):
    """The ledger with everything a recovery of it needs.

    Attributes:
        ledger: damaged and watched from outside.
    """

    ledger: Ledger

    @property
    def host(self) -> LabHost:
        """The host it runs on."""
        return self.ledger.host
