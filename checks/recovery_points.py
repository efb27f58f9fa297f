"""Looking at the recovery points of an asset: what its store, its tool and our inventory say of each. Read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blocks.backups.base import BackupStore
from blocks.backups.engine import FileEngine, Snapshot, engine_of
from blocks.hosts.base import Connection
from blocks.ledger import Ledger, Verdicts
from blocks.scanners import Scanner
from model import points as rules
from model.canonical import now
from model.command import printable
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError
from model.finding import Finding
from model.manifest import FILE_FORMATS, FileType, Manifest, RecoveryPoint
from model.points import Inventory, Judgement, Lost, Measure, PointRule, Proof, Reason, Why
from model.supplies import PointSupply

OFFERED = 3
"""Recovery points offered per asset: the best one, and what a person may prefer to it."""

LOOKED = 12
"""Recovery points judged per asset, newest first; it ends earlier once three have nothing against them."""

SAMPLED_FILES = 16
SAMPLED_BYTES = 64 << 20


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
    measure = rules.measured(manifest)
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
    spotless = bool(findings) and manifest.format in FILE_FORMATS and not holds
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
    return [rules.measured(older)] if older is not None else []


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
                for proof in _trials(
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


def there(store: BackupStore, manifest: Manifest) -> None:
    """See that the object of a point is there in its whole length.

    Raises:
        Damaged: it is missing or too short.
    """
    if manifest.object_bytes:
        for _ in store.read(manifest.object_key, manifest.object_bytes - 1, 1):
            pass


def _trials(
    store: BackupStore, engine: FileEngine | None, connection: Connection | None, point: RecoveryPoint,
    manifest: Manifest, known: Knowledge, verdicts: Verdicts, judgement: Judgement, found: Looked,
) -> Iterator[Proof]:  # fmt: skip
    """What the plan wants to be tried before a point is proposed, as far as it was not tried before."""
    if not judgement.says(Why.PROVEN):
        proof = _trial(store, engine, connection, point, manifest, known.rule)
        if proof is not None:
            yield proof
    scanned = any(
        (p.point, p.manifest_sha256, p.how) == (point.id, point.manifest_sha256, "scanned")
        for p in verdicts.proofs
    )
    if known.scanner is None or scanned:
        return
    if manifest.kept_by_tool:
        found.remarks.append(
            f"{point.asset}: {manifest.format} keeps the bytes, so no scanner looked at them"
        )
        return
    try:
        named = known.scanner.look(store.read(manifest.object_key))
    except PreconditionFailed as error:
        found.remarks.append(f"{point.asset}: no scanner looked at {point.id}: {error.what}")
        return
    yield Proof(
        point=point.id,
        manifest_sha256=point.manifest_sha256,
        at=now(),
        how="scanned",
        ok=not named,
        sentence=named,
    )


def _trial(
    store: BackupStore, engine: FileEngine | None, connection: Connection | None, point: RecoveryPoint,
    manifest: Manifest, rule: PointRule,
) -> Proof | None:  # fmt: skip
    """Read the point as the plan says; None when it says that seeing it there is enough."""
    sampled = rule.verify == "sampled" and manifest.format in FILE_FORMATS
    asked = engine is not None and connection is not None and not sampled
    if rule.verify == "listed" or (manifest.kept_by_tool and not asked):
        return None
    said, ok = "", True
    try:
        if engine is not None and connection is not None:
            engine.verify(connection, manifest, lambda _done, _total: None)
        elif sampled:
            _sample(store, manifest)
        else:
            _whole(store, manifest)
    except Damaged as error:
        said, ok = error.what.rstrip("."), False
    return Proof(
        point=point.id, manifest_sha256=point.manifest_sha256, at=now(), how="sampled" if sampled else "read", ok=ok,
        sentence=said,
    )  # fmt: skip


def _whole(store: BackupStore, manifest: Manifest) -> None:
    told, count = hashlib.sha256(), 0
    for chunk in store.read(manifest.object_key):
        told.update(chunk)
        count += len(chunk)
    if (told.hexdigest(), count) != (manifest.object_sha256, manifest.object_bytes):
        raise Damaged("its bytes are not what was backed up.", f"{store.name}:{manifest.object_key}")


def _sample(store: BackupStore, manifest: Manifest) -> None:
    """Read some files, spread by their hashes: nobody can know which, and each run of one point reads the same."""
    files = [e for e in manifest.entries if e.type is FileType.FILE and e.size and e.offset >= 0]
    spread = sorted(
        files,
        key=lambda e: hashlib.sha256(
            (manifest.point + e.path + e.sha256).encode("utf-8", "surrogateescape")
        ).digest(),
    )
    left = SAMPLED_BYTES
    for entry in spread[:SAMPLED_FILES]:
        if entry.size > left:
            continue
        left -= entry.size
        told = hashlib.sha256()
        for chunk in store.read(manifest.object_key, entry.offset, entry.size):
            told.update(chunk)
        if told.hexdigest() != entry.sha256:
            raise Damaged(
                f"{printable(entry.path)} in it is not what was backed up.",
                f"{store.name}:{manifest.object_key}",
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
