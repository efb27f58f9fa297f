"""What people say about recovery points: that one is as it should be, or gone for a reason they know."""

from __future__ import annotations

from blocks.journals.base import JournalStore
from model.canonical import now
from model.errors import BadInput
from model.manifest import RecoveryPoint
from model.plan import Plan
from model.points import Proof
from tasks.recovery_points import backed_up, ledger_of, manifest_of
from tasks.work import PlanFile


def trust(file: PlanFile, journal: JournalStore, asset: str, point: str, person: str, reason: str) -> str:
    """Let a person of the plan say that a doubtful recovery point is as it should be.

    Raises:
        BadInput: no such person, asset or point.
    """
    if person not in file.plan.people:
        raise BadInput(
            f"{person!r} is not a person of the plan.", "--by", f"give one of {', '.join(file.plan.people)}"
        )
    found = point_of(file, asset, point)
    said = f"{person} says it is as it should be: {reason}"
    ledger_of(file.plan, journal).prove(
        asset,
        Proof(
            point=point,
            manifest_sha256=found.manifest_sha256,
            at=now(),
            how="trusted",
            ok=True,
            sentence=said,
        ),
    )
    return f"Recovery point {point} of {asset} is trusted: {said}"


def forget(file: PlanFile, journal: JournalStore, asset: str, point: str) -> str:
    """Expect a vanished recovery point no longer.

    Raises:
        BadInput: it is not missing.
    """
    source, ledger = source_of(file.plan, asset), ledger_of(file.plan, journal)
    inventory = ledger.inventory(asset)
    if inventory is None or inventory.of(point) is None:
        raise BadInput(
            f"the inventory of {asset} has no point {point[:80]!r}.", source, "see `reinstate backups show`"
        )
    ledger.forget(asset, point)
    return f"Recovery point {point} of {asset} is no longer expected."


def recount(file: PlanFile, journal: JournalStore, asset: str) -> str:
    """Begin the inventory of an asset anew from what there is."""
    store = file.backups()[source_of(file.plan, asset)]
    known = [
        (one, manifest) for one in store.points(asset) if (manifest := manifest_of(store, one)) is not None
    ]
    inventory = ledger_of(file.plan, journal).begin(asset, known)
    return f"The inventory of {asset} begins anew with {len(inventory.points)} recovery points."


def point_of(file: PlanFile, asset: str, point: str) -> RecoveryPoint:
    """A recovery point of an asset by its id.

    Raises:
        BadInput: there is none.
    """
    source = source_of(file.plan, asset)
    listed = file.backups()[source].points(asset)
    found = next((one for one in listed if one.id == point), None)
    if found is None:
        raise BadInput(
            f"{asset} has no recovery point {point[:80]!r}.",
            source,
            f"`reinstate backups show {file.plan.name}` lists them",
        )
    return found


def source_of(plan: Plan, asset: str) -> str:
    """The backup source of an asset.

    Raises:
        BadInput: there is no such asset, or it is not backed up.
    """
    known = backed_up(plan)
    if asset not in known:
        raise BadInput(
            f"{asset[:80]!r} is no asset with a backup.", plan.name, f"give one of {', '.join(known)}"
        )
    return known[asset]
