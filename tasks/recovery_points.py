"""Recovery points and our ledger of them: recorded when taken, judged when needed, missed when gone (R-PREV-1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from pydantic import AwareDatetime

from blocks.backups import protection
from blocks.backups.base import BackupStore
from blocks.backups.engine import engine_of
from blocks.home import signing_key
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from blocks.ledger import Ledger
from blocks.scanners import Scanner
from checks import recovery_points as looking
from checks.point_facts import Knowledge
from model.canonical import Value, now
from model.diagnosis import Diagnosis
from model.errors import Damaged, ReinstateError, Transient
from model.manifest import Entry, Manifest, RecoveryPoint
from model.mistake import Mistake
from model.outcome import RunVerdict
from model.plan import Plan
from model.point_rules import overdue
from model.points import Judgement, Lost, Why
from model.proposal import RestoreFiles
from model.scanning import History
from model.supplies import Supplies
from model.verification import unproven
from tasks.open_incidents import open_on, states_of
from tasks.work import PlanFile


class AssetPoints(Value):
    """The recovery points of one asset as they stand now.

    Attributes:
        judged: newest first; `chosen` is the one a recovery would use.
        lost: those that should be there and are not.
        overdue: one sentence when the newest sound one is older than the plan allows.
        unproven: one sentence when none was restored by a verification run for longer than the plan allows.
        protection: how the store itself keeps the chosen one from being read or removed, as far as it says so.
        proven_at: when one was last restored by a verification run and found whole.
        remarks: why nothing more is known.
    """

    asset: str
    host: str
    kind: str
    source: str
    chosen: str = ""
    judged: tuple[Judgement, ...] = ()
    lost: tuple[Lost, ...] = ()
    overdue: str = ""
    unproven: str = ""
    protection: str = ""
    proven_at: AwareDatetime | None = None
    remarks: tuple[str, ...] = ()

    @property
    def used(self) -> Judgement | None:
        """What is said of the point a recovery would use."""
        return next((one for one in self.judged if one.point == self.chosen), None)

    @property
    def sound_at(self) -> datetime | None:
        """When the newest one was taken that may be used and is without doubt."""
        sound = [one for one in self.judged if not one.refused and not one.says_against(Why.DOUBTFUL)]
        return max((one.taken_at for one in sound), default=None)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What a person must know at once, one sentence each."""
        grave = tuple(f"{one.why}: {one.sentence}" for one in self.lost if one.grave)
        refused = () if self.chosen or not self.judged else (f"{self.asset} has no usable recovery point.",)
        return (*grave, *refused, *(said for said in (self.overdue, self.unproven) if said))


def ledger_of(plan: Plan, journal: JournalStore) -> Ledger:
    """The ledger of a plan's recovery points."""
    return Ledger(journal, signing_key(), plan.name)


def backed_up(plan: Plan) -> dict[str, str]:
    """The assets that have recovery points, and their sources."""
    return {
        name: source for name, a in plan.assets.items() if (source := getattr(a, "backup", None)) is not None
    }


def knowledge(
    file: PlanFile,
    journal: JournalStore,
    detected_at: datetime | None = None,
    diagnosis: Diagnosis | None = None,
    mistakes: Sequence[Mistake] = (),
) -> Knowledge:
    """What is known of a plan's recovery points beside their stores; a mistake begins when its report says."""
    found = diagnosis.assets if diagnosis is not None else {}
    onsets: dict[str, tuple[datetime | None, datetime]] = {
        name: (one.earliest, one.latest) for name, one in found.items()
    }
    onsets |= {one.asset: (one.at, one.at) for one in mistakes if one.at is not None}
    rule = file.plan.recovery_points
    rules = file.path.parent / rule.scanner_rules if rule.scanner_rules else None
    return Knowledge(
        rule=rule, rpo=file.plan.objectives.rpo, ledger=ledger_of(file.plan, journal), detected_at=detected_at or now(),
        scanner=None if rule.scanner == "none" else Scanner(rule.scanner, rules),
        onsets=onsets,
    )  # fmt: skip


def references(file: PlanFile, journal: JournalStore) -> dict[str, Manifest]:
    """The manifest each asset with a backup is compared with; one without any recovery point is left out."""
    found: dict[str, Manifest] = {}
    stores, ledger = file.backups(), ledger_of(file.plan, journal)
    for name, source in backed_up(file.plan).items():
        asset = file.plan.assets[name]
        if asset.kind == "rpm":
            continue
        machine = file.plan.hosts[asset.host].recorded_as
        manifest = looking.reference(name, machine, stores[source], file.plan.recovery_points, ledger)
        if manifest is not None:
            found[name] = _as_restored(manifest, name, file.plan, journal)
    return found


def _as_restored(manifest: Manifest, name: str, plan: Plan, journal: JournalStore) -> Manifest:
    """The manifest with what a recovery since then brought back from an older point: that is what is right now."""
    since = f"inc-{manifest.taken_at:%Y%m%d-%H%M%S}"
    returned: dict[str, Entry] = {}
    for _, state in states_of(journal, since):
        over = state.ended is not None and state.ended.verdict is not RunVerdict.RECOVERED
        if over or state.proposal is None or state.require_incident().kept_as != plan.kept_as:
            continue
        for action in state.proposal.actions:
            done = state.effects.get(action.id)
            if isinstance(action, RestoreFiles) and action.asset == name and done and done.result != "failed":
                returned |= {entry.path: entry for entry in action.files if action.point.id != manifest.point}
    if not returned:
        return manifest
    entries = {entry.path: entry for entry in manifest.entries} | returned
    return manifest.model_copy(update={"entries": tuple(entries[path] for path in sorted(entries))})


def remember_judged(known: Knowledge, supplies: Supplies) -> None:
    """Keep what judging recovery points showed."""
    if known.ledger is None:
        return
    try:
        for asset, proof in supplies.proofs:
            known.ledger.prove(asset, proof)
        for asset in dict.fromkeys(one.asset for one in supplies.judged):
            known.ledger.remember(asset, tuple(one for one in supplies.judged if one.asset == asset))
    except (
        Damaged
    ):  # altered verdicts are told with the judgement; they stay as they are for the investigation
        return


def record(
    plan: Plan, journal: JournalStore, store: BackupStore, point: RecoveryPoint, doubt: str = ""
) -> str:
    """Write a new recovery point into the inventory.

    Args:
        plan: the plan.
        journal: where the ledger is.
        store: where the point is.
        point: it.
        doubt: why it may hold damage; empty when nothing is known.

    Returns:
        What is to be said about it, beginning with a space; empty when there is nothing.

    Raises:
        Damaged: the inventory was altered; the point is there all the same.
    """
    ledger = ledger_of(plan, journal)
    if ledger.inventory(point.asset) is None:
        older = [(one, manifest_of(store, one)) for one in store.points(point.asset) if one.id != point.id]
        known = [(one, manifest) for one, manifest in older if manifest is not None]
        if known:
            ledger.begin(point.asset, known)
    ledger.record(point, store.manifest(point), doubt)
    return f" It is DOUBTFUL and is used only if there is no better one: {doubt}." if doubt else ""


def manifest_of(store: BackupStore, point: RecoveryPoint) -> Manifest | None:
    """The manifest of a point; None when it does not verify."""
    try:
        return store.manifest(point)
    except Damaged:
        return None


def doubt(plan: Plan, journal: JournalStore, name: str) -> str:
    """Why a backup of an asset taken now may hold damage; empty when nothing is known."""
    for incident, damaged in open_on(journal, plan, plan.assets[name].host):
        if damaged is None or name in damaged:
            return f"incident {incident} is open on {plan.assets[name].host}"
    history = journal.get(f"scans/{plan.name}.json")
    last = History.model_validate_json(history).assets.get(name) if history else None
    if last is not None and last.damaged:
        return (
            f"the scan of {last.last_scanned:%Y-%m-%d %H:%M} UTC found it damaged ({last.damaged} findings)"
        )
    return ""


def frozen(plan: Plan, journal: JournalStore, host: str) -> str:
    """Why scheduled backups of a host stand still; empty when they do not."""
    opened = open_on(journal, plan, host)
    if not opened:
        return ""
    return (
        f"{host}: the scheduled backup is FROZEN while incident {opened[0][0]} is open on it, so that no damage is "
        "backed up; `reinstate back-up` takes one all the same."
    )


def survey(
    file: PlanFile,
    journal: JournalStore,
    hosts: Collection[str] | None = None,
    only: Collection[str] | None = None,
) -> tuple[AssetPoints, ...]:
    """Judge the recovery points of every asset that has some.

    Args:
        file: the plan.
        journal: where the ledger is.
        hosts: only assets of these; None: all.
        only: only these assets; None: all.
    """
    plan, stores = file.plan, file.backups()
    known = knowledge(file, journal)
    wanted = {
        n: s for n, s in backed_up(plan).items()
        if (hosts is None or plan.assets[n].host in hosts) and (only is None or n in only)
    }  # fmt: skip
    tools = {plan.assets[n].host for n, s in wanted.items() if engine_of(stores[s]) is not None}
    connections: dict[str, Connection] = {}
    unseen: dict[str, str] = {}
    found = []
    try:
        for host in sorted(tools):
            try:
                connections[host] = file.connect(host)
                prove(connections[host])
            except ReinstateError as error:
                unseen[host] = f"{host} cannot be asked for what its backup tools hold: {error.what}"
        found = [
            _survey(file, name, stores[source], known, connections, unseen) for name, source in wanted.items()
        ]
    finally:
        for connection in connections.values():
            connection.close()
    return tuple(found)


def _survey(
    file: PlanFile, name: str, store: BackupStore, known: Knowledge, connections: Mapping[str, Connection],
    unseen: Mapping[str, str],
) -> AssetPoints:  # fmt: skip
    plan, asset = file.plan, file.plan.assets[name]
    about = AssetPoints(asset=name, host=asset.host, kind=asset.kind, source=store.name)
    host = plan.hosts[asset.host]
    try:
        looked = looking.look(name, host.recorded_as, store, known, connections.get(asset.host), looked=100)
    except Transient as error:
        return about.model_copy(update={"remarks": (str(error),)})
    ledger = known.ledger
    inventory = None
    if ledger is not None:
        try:
            inventory = ledger.inventory(name)
            for proof in looked.proofs:
                ledger.prove(name, proof)
            ledger.remember(name, tuple(looked.judged))
        except Damaged:
            pass
    proofs: list[datetime] | None = None
    if ledger is not None:
        with suppress(Damaged):  # told with the judgement
            proofs = [p.at for p in ledger.verdicts(name).proofs if p.how == "restored" and p.ok]
    late = overdue(inventory, plan.objectives.rpo, now()) if inventory is not None else ""
    if not looked.judged:
        late = f"{name} has no recovery point."
    remarks = list(looked.remarks)
    engine = engine_of(store) is not None
    if engine and asset.host in unseen:
        remarks.append(unseen[asset.host])
    return about.model_copy(
        update={
            "protection": _protection(store, looked.supplies[0].point) if looked.supplies else "",
            "chosen": looked.supplies[0].point.id if looked.supplies else "", "judged": tuple(looked.judged),
            "lost": tuple(looked.lost), "overdue": late, "remarks": tuple(remarks),
            "unproven": "" if proofs is None else unproven(name, plan.verification, proofs, now()),
            "proven_at": max(proofs or (), default=None),
        }
    )  # fmt: skip


def _protection(store: BackupStore, point: RecoveryPoint) -> str:
    try:
        return protection(store, point)
    except ReinstateError:  # what is wrong with the point itself is told with its judgement
        return ""
