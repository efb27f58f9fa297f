"""The ledger of recovery points, kept in the journal store: what there should be, and what trials of them showed.

`inventory/PLAN/ASSET.json` and its head, `verdicts/PLAN/ASSET.json`; all signed. The head holds the newest serial and
digest, so that an inventory put back to an earlier one, or removed alone, is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from blocks.journals.base import JournalStore
from blocks.journals.documents import REMEDY, seal, unseal
from blocks.keys import SigningKey
from model.canonical import Value, digest
from model.errors import Damaged
from model.manifest import Manifest, RecoveryPoint
from model.points import Expected, Inventory, Judgement, Proof, expected_of

PROOFS_KEPT = 200
"""Trials remembered per asset."""


class Head(Value):
    """The newest inventory of an asset."""

    serial: int = Field(ge=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class Verdicts(Value):
    """What trials of an asset's recovery points showed, and how they were judged last, newest first."""

    proofs: tuple[Proof, ...] = ()
    judged: tuple[Judgement, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """The recovery points of one plan."""

    store: JournalStore
    key: SigningKey
    plan: str

    def inventory(self, asset: str) -> Inventory | None:
        """What there should be; None when nothing was ever recorded.

        Raises:
            Damaged: it was altered, removed, or put back to an earlier one.
        """
        path, head_path = self._paths(asset)
        raw, head_raw = self.store.get(path), self.store.get(head_path)
        if raw is None and head_raw is None:
            return None
        if raw is None:
            raise Damaged("the inventory of recovery points is gone.", path, REMEDY)
        inventory = unseal(path, raw, Inventory, self.key)
        # The head is written last: an inventory one ahead of it is that of a writer that was killed between the two.
        if head_raw is None:
            if inventory.serial > 1:
                raise Damaged("the head of the inventory of recovery points is gone.", head_path, REMEDY)
            return inventory
        head = unseal(head_path, head_raw, Head, self.key)
        behind = inventory.serial - head.serial
        if behind not in {0, 1} or (behind == 0 and digest(inventory) != head.digest):
            raise Damaged(
                f"the inventory of recovery points was put back: it is number {inventory.serial}, the newest was "
                f"{head.serial}.",
                path,
                REMEDY,
            )
        return inventory

    def record(self, point: RecoveryPoint, manifest: Manifest, doubtful: str = "") -> Expected:
        """Write a recovery point down, once it exists.

        Raises:
            Damaged: the inventory so far was altered.
        """
        before = self.inventory(point.asset) or Inventory(plan=self.plan, asset=point.asset)
        expected = expected_of(point, manifest, doubtful)
        self._save(before.with_point(expected))
        return expected

    def begin(self, asset: str, known: list[tuple[RecoveryPoint, Manifest]]) -> Inventory:
        """The first inventory of an asset whose recovery points are older than it, or a new one in place of a lost."""
        points = tuple(sorted((expected_of(p, m) for p, m in known), key=lambda one: one.id))
        inventory = Inventory(plan=self.plan, asset=asset, serial=1, points=points)
        self._save(inventory)
        return inventory

    def forget(self, asset: str, point: str) -> None:
        """Expect a point no longer; a person said so."""
        before = self.inventory(asset)
        if before is not None and before.of(point) is not None:
            left = tuple(one for one in before.points if one.id != point)
            self._save(before.model_copy(update={"points": left, "serial": before.serial + 1}))

    def verdicts(self, asset: str) -> Verdicts:
        """What trials showed.

        Raises:
            Damaged: it was altered.
        """
        path = f"verdicts/{self.plan}/{asset}.json"
        raw = self.store.get(path)
        return Verdicts() if raw is None else unseal(path, raw, Verdicts, self.key)

    def prove(self, asset: str, proof: Proof) -> None:
        """Remember what a trial showed."""
        known = self.verdicts(asset)
        self._save_verdicts(asset, known.model_copy(update={"proofs": (*known.proofs, proof)[-PROOFS_KEPT:]}))

    def remember(self, asset: str, judged: tuple[Judgement, ...]) -> None:
        """Keep how the points of an asset were judged last."""
        self._save_verdicts(asset, self.verdicts(asset).model_copy(update={"judged": judged}))

    def _save_verdicts(self, asset: str, verdicts: Verdicts) -> None:
        path = f"verdicts/{self.plan}/{asset}.json"
        self.store.put(path, seal(path, verdicts, self.key))

    def _save(self, inventory: Inventory) -> None:
        path, head_path = self._paths(inventory.asset)
        head = Head(serial=inventory.serial, digest=digest(inventory))
        self.store.put(path, seal(path, inventory, self.key))
        self.store.put(head_path, seal(head_path, head, self.key))

    def _paths(self, asset: str) -> tuple[str, str]:
        return f"inventory/{self.plan}/{asset}.json", f"inventory/{self.plan}/{asset}.head.json"
