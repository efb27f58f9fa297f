"""Looking at the recovery points of an asset: what its store, its tool and our inventory say of each. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blocks.backups.base import BackupStore
from blocks.backups.engine import FileEngine, engine_of
from blocks.hosts.base import Connection
from blocks.ledger import Ledger, Verdicts
from checks.point_facts import Knowledge, Looked, Repository, repository_of
from checks.point_trials import there, trials
from model import point_rules as rules
from model.canonical import now
from model.command import printable
from model.errors import Damaged, ReinstateError
from model.finding import Code, Finding
from model.manifest import FILE_FORMATS, Manifest, RecoveryPoint
from model.points import Inventory, Judgement, Lost, Measure, PointRule, Reason, Why, measured
from model.supplies import PointSupply

OFFERED = 3
"""Recovery points offered per asset: the best one, and what a person may prefer to it."""

LOOKED = 12
"""Recovery points judged per asset, newest first; it ends earlier once three have nothing against them."""


def look(
    name: str, machine_id: str, store: BackupStore, known: Knowledge, connection: Connection | None = None,
    findings: Sequence[Finding] = (), looked: int = LOOKED, repository: Repository | None = None,
) -> Looked:  # fmt: skip
    """Judge the recovery points of an asset and put those that may be used in order.

    Args:
        name: of the asset.
        machine_id: of its host.
        store: where its recovery points are.
        known: what is known beside the store.
        connection: to its host; None: what a tool keeps there is not looked at.
        findings: what is damaged of it.
        looked: how many are judged at most.
        repository: what the tool says, where the store is of none that is asked here.

    Raises:
        Transient: store or host cannot be reached.
    """
    found = Looked()
    inventory, verdicts = _ledger(name, known, found)
    engine = engine_of(store)
    if repository is None and engine is not None and connection is not None:
        repository = repository_of(engine, connection)
    listed = store.points(name)
    _lost(name, store, listed, inventory, repository, known, found)
    usable: dict[str, RecoveryPoint] = {}
    manifests = _Manifests(store, listed)
    good = 0
    for number, point in enumerate(listed[:looked]):
        judgement = _judge(
            number, point, manifests, machine_id, inventory, verdicts, repository, known, findings
        )
        found.judged.append(judgement)
        if not judgement.refused:
            usable[point.id] = point
        good += judgement.verdict == "good"
        if good >= OFFERED:
            break
    found.judged.sort(key=lambda one: one.point, reverse=True)
    _offer(store, engine, connection, usable, known, verdicts, found)
    return found


class _Manifests:
    """Manifests of a store's points, newest first; two are held at a time."""

    def __init__(self, store: BackupStore, listed: Sequence[RecoveryPoint]) -> None:
        self._store, self._listed = store, listed
        self._held: dict[int, Manifest | ReinstateError] = {}

    def at(self, number: int) -> Manifest:
        """The manifest of the point with this number.

        Raises:
            Damaged: it does not verify.
        """
        if number not in self._held:
            self._held = {n: m for n, m in self._held.items() if n >= number - 1}
            try:
                self._held[number] = self._store.manifest(self._listed[number])
            except Damaged as error:
                self._held[number] = error
        held = self._held[number]
        if isinstance(held, ReinstateError):
            raise held
        return held

    def before(self, number: int) -> Manifest | None:
        """The manifest of the next older point that verifies, when it is the very next one."""
        try:
            return self.at(number + 1) if number + 1 < len(self._listed) else None
        except Damaged:
            return None


def _ledger(name: str, known: Knowledge, found: Looked) -> tuple[Inventory | None, Verdicts]:
    if known.ledger is None:
        return None, Verdicts()
    inventory, verdicts = None, Verdicts()
    try:
        inventory = known.ledger.inventory(name)
    except Damaged as error:
        found.remarks.append(str(error))
        found.lost.append(
            Lost(asset=name, point="", why=Why.INVENTORY_ALTERED, sentence=f"{printable(str(error))}")
        )
    try:
        verdicts = known.ledger.verdicts(name)
    except Damaged as error:
        found.remarks.append(str(error))
    return inventory, verdicts


def _lost(
    name: str, store: BackupStore, listed: Sequence[RecoveryPoint], inventory: Inventory | None,
    repository: Repository | None, known: Knowledge, found: Looked,
) -> None:  # fmt: skip
    """What the inventory has and the store or the tool has not."""
    if inventory is None:
        return
    mine = inventory.model_copy(
        update={"points": tuple(p for p in inventory.points if p.source == store.name)}
    )
    there = {point.id: point.manifest_sha256 for point in listed}
    moment = now()
    for gone in rules.lost(mine, there, known.rule, moment):
        why, said = _manifest_trouble(store, name, gone)
        reason = rules.refuses(why, said)
        expected = next(one for one in mine.points if one.id == gone.point)
        found.judged.append(
            Judgement(
                asset=name, point=gone.point, source=store.name, taken_at=expected.taken_at,
                measure=expected.measure, reasons=(reason,),
            )
        )  # fmt: skip
        sentence = gone.sentence if why is Why.MANIFEST_GONE else f"recovery point {gone.point}: {said}."
        found.lost.append(gone.model_copy(update={"why": why, "sentence": sentence}))
    if repository is None or repository.broken:
        return
    held = {one.id: one.manifest_sha256 for one in mine.points if one.snapshot in repository.snapshots}
    for gone in rules.lost(mine, held, known.rule, moment, noun="snapshot"):
        if gone.point in there:
            found.lost.append(gone)


def _manifest_trouble(store: BackupStore, name: str, gone: Lost) -> tuple[Why, str]:
    """Why a point we expect is not listed: its manifest is gone, or is there and does not verify."""
    point = RecoveryPoint(
        id=gone.point, asset=name, source=store.name, taken_at=now(), key=f"{name}/{gone.point}/object",
        sha256="0" * 64, bytes=0, manifest_sha256="0" * 64,
    )  # fmt: skip
    try:
        store.manifest(point)
    except Damaged as error:
        if "missing" not in error.what:
            return Why.MANIFEST_DAMAGED, error.what.rstrip(".")
    return Why.MANIFEST_GONE, "its manifest is gone"


def _judge(
    number: int, point: RecoveryPoint, manifests: _Manifests, machine_id: str, inventory: Inventory | None,
    verdicts: Verdicts, repository: Repository | None, known: Knowledge, findings: Sequence[Finding],
) -> Judgement:  # fmt: skip
    judgement = Judgement(asset=point.asset, point=point.id, source=point.source, taken_at=point.taken_at)
    try:
        manifest = manifests.at(number)
    except Damaged as error:
        reason = rules.refuses(Why.MANIFEST_DAMAGED, error.what.rstrip("."))
        return judgement.model_copy(update={"reasons": (reason,)})
    measure = measured(manifest)
    reasons: list[Reason] = []
    if manifest.machine_id != machine_id:
        reasons.append(
            rules.refuses(
                Why.WRONG_HOST, f"it is another host's ({manifest.host}, machine-id {manifest.machine_id})"
            )
        )
    reasons += rules.expectations(point, inventory)
    if manifest.kept_by_tool:
        reasons += list(_by_tool(manifest, repository))
    holds = rules.holds_damage(manifest, findings)
    reasons += holds
    mistaken = any(finding.code is Code.OPERATOR_MISTAKE for finding in findings)  # no manifest shows that
    spotless = bool(findings) and manifest.format in FILE_FORMATS and not holds and not mistaken
    onset = known.onsets.get(point.asset)
    reasons += rules.in_time(point, known.detected_at, known.rpo, onset, spotless)
    reasons += rules.shrunk(measure, _earlier(point, number, manifests, inventory), known.rule)
    reasons += rules.silent_changes(manifest, manifests.before(number))
    judgement = judgement.model_copy(update={"measure": measure, "reasons": tuple(reasons)})
    return rules.with_proofs(judgement, point.manifest_sha256, verdicts.proofs)


def _by_tool(manifest: Manifest, repository: Repository | None) -> Iterator[Reason]:
    """What the tool says of a point it keeps."""
    if repository is None:
        yield rules.note(Why.TOOL_NOT_ASKED, f"whether {manifest.format} still has it was not asked")
        return
    if repository.broken:
        yield rules.refuses(Why.TOOL_REFUSED, printable(repository.broken))
        return
    if manifest.repository and manifest.repository != repository.id:
        yield rules.refuses(
            Why.REPOSITORY_REPLACED,
            f"it was made in repository {manifest.repository[:16]}, this is {printable(repository.id)[:16]}",
        )
    snapshot = repository.snapshots.get(manifest.snapshot)
    if snapshot is None:
        yield rules.refuses(
            Why.SNAPSHOT_GONE, f"snapshot {manifest.snapshot[:16]} is not in the repository any more"
        )
    elif snapshot.error:
        yield rules.refuses(
            Why.SNAPSHOT_DAMAGED, f"the tool itself says that snapshot {snapshot.id[:16]} is damaged"
        )


def _earlier(
    point: RecoveryPoint, number: int, manifests: _Manifests, inventory: Inventory | None
) -> list[Measure]:
    """How much the points before this one held; from the manifest before it while there is no inventory."""
    if inventory is not None:
        before = [one for one in inventory.points if one.id < point.id]
        return [one.measure for one in before if not one.doubtful] or [one.measure for one in before]
    older = manifests.before(number)
    return [measured(older)] if older is not None else []


def _offer(
    store: BackupStore, engine: FileEngine | None, connection: Connection | None,
    usable: Mapping[str, RecoveryPoint], known: Knowledge, verdicts: Verdicts, found: Looked,
) -> None:  # fmt: skip
    """Those that may be used, best first, each seen to be there; the first is read as the plan says."""
    for judgement in rules.order(found.judged):
        if len(found.supplies) == OFFERED:
            break
        point = usable[judgement.point]
        manifest = store.manifest(point)
        try:
            if not manifest.kept_by_tool:
                there(store, manifest)
            if not found.supplies:
                for proof in trials(
                    store, engine, connection, point, manifest, known, verdicts, judgement, found
                ):
                    found.proofs.append(proof)
                    tried = rules.with_proofs(judgement, point.manifest_sha256, [proof])
                    found.judged[found.judged.index(judgement)] = tried
                    judgement = tried
                if judgement.refused:
                    continue
        except Damaged as error:
            gone = "missing" in error.what
            reason = rules.refuses(Why.OBJECT_GONE if gone else Why.SNAPSHOT_DAMAGED, error.what.rstrip("."))
            refused = judgement.model_copy(update={"reasons": (*judgement.reasons, reason)})
            found.judged[found.judged.index(judgement)] = refused
            if gone:
                found.lost.append(
                    Lost(
                        asset=point.asset, point=point.id, why=Why.OBJECT_GONE,
                        sentence=f"the object of recovery point {point.id} is gone.",
                    )
                )  # fmt: skip
            continue
        found.supplies.append(
            PointSupply(asset=point.asset, point=point, manifest=manifest, judgement=judgement)
        )


def reference(
    name: str, machine_id: str, store: BackupStore, rule: PointRule, ledger: Ledger | None
) -> Manifest | None:
    """The newest manifest a check compares with: of this host, not doubtful, not shrunk; else the newest there is.

    Nothing but the manifests and our inventory is looked at: a check runs often, and on a host that may be broken.

    Raises:
        Transient: the store cannot be reached.
    """
    known = Knowledge(rule=rule, ledger=ledger)
    inventory, verdicts = _ledger(name, known, Looked())
    listed = store.points(name)
    manifests = _Manifests(store, listed)
    for number, point in enumerate(listed[:LOOKED]):
        judged = _judge(number, point, manifests, machine_id, inventory, verdicts, None, known, ())
        if not judged.refused and not judged.says_against(Why.DOUBTFUL, Why.SILENT_CHANGE):
            return manifests.at(number)
    for number in range(len(listed)):
        try:
            return manifests.at(number)
        except Damaged:
            continue
    return None
