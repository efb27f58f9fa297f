"""Choosing a recovery point: what speaks against one, what for it, and which comes first. Pure (R-RESP-6).

Each point is judged alone, against what our own inventory says of it and of those before it; a point that is refused
keeps its reason, and one that is used although something speaks against it says what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median

from model.command import printable
from model.finding import Code, Finding
from model.manifest import FILE_FORMATS, Entry, FileType, Manifest, RecoveryPoint
from model.points import Inventory, Judgement, Lost, Measure, PointRule, Proof, Reason, Weight, Why


def refuses(why: Why, sentence: str) -> Reason:
    """A reason not to use a point at all."""
    return Reason(why=why, weight=Weight.REFUSES, sentence=sentence)


def _against(why: Why, sentence: str) -> Reason:
    return Reason(why=why, weight=Weight.AGAINST, sentence=sentence)


def note(why: Why, sentence: str) -> Reason:
    """Something that is said and changes nothing."""
    return Reason(why=why, weight=Weight.NOTE, sentence=sentence)


def shrunk(measure: Measure, before: Sequence[Measure], rule: PointRule) -> list[Reason]:
    """Whether a point holds so much less than those before it that it may be of a damaged asset.

    Args:
        measure: of the point.
        before: of the points before it, newest last; doubtful ones are left out by the caller.
        rule: the plan's.
    """
    found: list[Reason] = []
    trailing = before[-rule.trailing :]
    for noun in ("rows", "files", "bytes"):
        usual = median(getattr(one, noun) for one in trailing) if trailing else 0
        have = getattr(measure, noun)
        if not usual or have >= usual:
            continue
        lost = (usual - have) * 100 / usual
        said = f"it has {have:,} {noun}, the points before it had {usual:,.0f} (−{_percent(lost)} %)"
        if not have:
            found.append(
                refuses(Why.EMPTY, f"it has no {noun} at all, the points before it had {usual:,.0f}")
            )
        elif lost >= rule.shrunk_refuses:
            found.append(refuses(Why.SHRUNK, said))
        elif lost > rule.shrunk_warns:
            found.append(_against(Why.SHRUNK, said))
    return found


def _percent(value: float) -> str:
    return f"{int(value * 10) / 10:g}" if value >= 99 else f"{value:.0f}"


def silent_changes(manifest: Manifest, before: Manifest | None) -> list[Reason]:
    """Files whose content is another than in the point before, though size and time of change are the same.

    A program that writes changes the time; a disk, a memory cell or somebody who hides a change does not.
    """
    if before is None or manifest.format not in FILE_FORMATS or manifest.root != before.root:
        return []
    known = {entry.path: entry for entry in before.entries if entry.type is FileType.FILE}
    hit = [e.path for e in manifest.entries if (old := known.get(e.path)) is not None and _silent(e, old)]
    if not hit:
        return []
    more = f" and {len(hit) - 1} more" if len(hit) > 1 else ""
    return [
        _against(
            Why.SILENT_CHANGE,
            f"the content of {printable(hit[0])}{more} changed since {before.point} without its time or size changing",
        )
    ]


def _silent(entry: Entry, old: Entry) -> bool:
    return (
        entry.type is FileType.FILE
        and (entry.size, entry.mtime_ns) == (old.size, old.mtime_ns)
        and entry.mtime_ns != 0
        and entry.sha256 != old.sha256
    )


def holds_damage(manifest: Manifest, findings: Iterable[Finding]) -> list[Reason]:
    """Whether the point holds the very content that the findings call damaged, or lacks what they say is lost."""
    if manifest.format not in FILE_FORMATS:
        return []
    root = manifest.root.rstrip("/")
    entries = {f"{root}/{e.path}" if e.path != "." else manifest.root: e for e in manifest.entries}
    lacking: list[str] = []
    for finding in findings:
        entry = entries.get(finding.subject)
        if entry is not None and entry.sha256 and finding.code is Code.FILE_CONTENT_DIFFERS:
            if finding.actual == content_text(entry.sha256, entry.size):
                said = f"it holds {printable(finding.subject)} as it is now, damaged"
                return [refuses(Why.HOLDS_DAMAGE, said)]
        elif entry is None and finding.code is Code.FILE_MISSING:
            lacking.append(finding.subject)
    if not lacking:
        return []
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return [_against(Why.LACKS_FILES, f"it does not hold {printable(lacking[0])}{more} either")]


def content_text(sha256: str, size: int) -> str:
    """How a finding writes a content."""
    return f"sha256 {sha256[:16]}… ({size} bytes)"


def in_time(
    point: RecoveryPoint, detected_at: datetime, rpo: float, onset: tuple[datetime | None, datetime] | None,
    spotless: bool,
) -> list[Reason]:  # fmt: skip
    """What the moment it was taken says.

    Args:
        point: the point.
        detected_at: when the damage was noticed; now when nothing was.
        rpo: seconds of data that may be lost.
        onset: last moment at which the asset was whole (None: not known), first one at which it was damaged.
        spotless: its manifest shows that it does not hold the damage.
    """
    found: list[Reason] = []
    age = detected_at - point.taken_at
    if age < timedelta(0):
        return [refuses(Why.NEWER_THAN_DAMAGE, "it was taken after the damage was noticed")]
    if age.total_seconds() > rpo:
        found.append(
            note(Why.STALE, f"it is {span(age.total_seconds())} old, the plan allows {span(rpo)} (RPO)")
        )
    if onset is not None and not spotless:
        earliest, latest = onset
        if point.taken_at > latest:
            found.append(
                _against(
                    Why.AFTER_ONSET,
                    f"it was taken after the damage began ({latest:%Y-%m-%d %H:%M:%S} UTC) and may hold it",
                )
            )
        elif earliest is not None and point.taken_at > earliest:
            found.append(
                _against(
                    Why.MAYBE_AFTER_ONSET,
                    f"the damage began after {earliest:%Y-%m-%d %H:%M:%S} UTC, perhaps before it was taken",
                )
            )
    return found


def span(seconds: float) -> str:
    """A time span for people: `5 min`, `3.5 h`, `12 days`."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "h" and seconds >= length):
            count = seconds / length
            return f"{round(count, 1) if count < 10 else round(count):g} {unit}"
    return f"{seconds:.0f} s"


def expectations(point: RecoveryPoint, inventory: Inventory | None) -> list[Reason]:
    """What our own inventory says about a point whose manifest verifies."""
    if inventory is None:
        return []
    known = inventory.of(point.id)
    if known is None:
        return [note(Why.NOT_IN_INVENTORY, "our inventory does not know it")]
    if known.manifest_sha256 != point.manifest_sha256:
        return [
            refuses(Why.MANIFEST_REPLACED, "its manifest is not the one that was signed when it was taken")
        ]
    found = [note(Why.ADOPTED, "your own backups made it; it was taken over")] if known.adopted else []
    return [*found, _against(Why.DOUBTFUL, known.doubtful)] if known.doubtful else found


def with_proofs(judgement: Judgement, manifest_sha256: str, proofs: Iterable[Proof]) -> Judgement:
    """The judgement with what trials of this very point showed; what a person trusts is no longer doubtful."""
    mine = [p for p in proofs if (p.point, p.manifest_sha256) == (judgement.point, manifest_sha256)]
    reasons = list(judgement.reasons)
    for proof in sorted(mine, key=lambda one: one.at):
        when = f"{proof.at:%Y-%m-%d %H:%M} UTC"
        if proof.how == "trusted":
            reasons = [r if r.why not in _TRUST_MENDS else note(r.why, r.sentence) for r in reasons]
            reasons.append(note(Why.TRUSTED, printable(proof.sentence)))
        elif proof.how == "scanned":
            if not proof.ok:
                reasons.append(refuses(Why.INFECTED, f"the scanner found {printable(proof.sentence)} in it"))
        elif not proof.ok:
            reasons.append(
                refuses(Why.SNAPSHOT_DAMAGED, f"a trial on {when} failed: {printable(proof.sentence)}")
            )
        elif proof.how in {"restored", "read"}:
            verb = "restored and checked" if proof.how == "restored" else "read to its last byte"
            reasons = [r for r in reasons if r.why not in {Why.PROVEN, Why.SNAPSHOT_DAMAGED}]
            reasons.append(Reason(why=Why.PROVEN, weight=Weight.FOR, sentence=f"it was {verb} on {when}"))
    return judgement.model_copy(update={"reasons": tuple(reasons)})


_TRUST_MENDS = frozenset({Why.DOUBTFUL, Why.SHRUNK, Why.EMPTY, Why.SILENT_CHANGE})


def order(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Those that may be used, best first.

    Nothing against it before something against it; after the onset last. Among equals one that was proven, as long as
    it is no older than the plan allows, and then the newest.
    """

    def rank(one: Judgement) -> tuple[int, int, bool, float]:
        late = 2 if one.says(Why.AFTER_ONSET) else 1 if one.says(Why.MAYBE_AFTER_ONSET) else 0
        doubt = sum(r.why not in {Why.AFTER_ONSET, Why.MAYBE_AFTER_ONSET} for r in one.against)
        proven = one.says(Why.PROVEN) and not one.says(Why.STALE)
        return late, doubt, not proven, -one.taken_at.timestamp()

    return sorted((one for one in judgements if not one.refused), key=rank)


def lost(
    inventory: Inventory,
    there: Mapping[str, str],
    rule: PointRule,
    moment: datetime,
    *,
    noun: str = "manifest",
) -> list[Lost]:
    """What our inventory has and nobody else has any more.

    Args:
        inventory: ours.
        there: ids of the points that are there → the manifest's hash.
        rule: the plan's.
        moment: now.
        noun: what was looked for, `manifest` or `snapshot`.
    """
    gone = [one for one in inventory.points if one.id not in there]
    newest = max((one for one in there if inventory.of(one)), default="")
    found = []
    for one in gone:
        recent = (moment - one.taken_at).total_seconds() <= rule.kept_at_least
        why = Why.MANIFEST_GONE if noun == "manifest" else Why.SNAPSHOT_GONE
        said = f"the {noun} of recovery point {one.id} is gone"
        if newest and one.id > newest:
            said += f", while older ones are there: {one.source} was rolled back or its newest points were deleted"
        # Every retention keeps the newest; a manifest of ours is removed by nobody's retention.
        grave = recent or one.id > newest or noun == "manifest"
        found.append(Lost(asset=inventory.asset, point=one.id, why=why, sentence=f"{said}.", grave=grave))
    return found


def overdue(inventory: Inventory, rpo: float, moment: datetime) -> str:
    """One sentence when the newest point without doubt is older than the plan allows; else empty."""
    sound = [one for one in inventory.points if not one.doubtful]
    if not sound:
        return f"{inventory.asset} has no recovery point without doubt."
    newest = max(sound, key=lambda one: one.taken_at)
    age = (moment - newest.taken_at).total_seconds()
    if age <= rpo:
        return ""
    return (
        f"{inventory.asset} is overdue: its newest recovery point without doubt, {newest.id}, is {span(age)} old, and "
        f"the plan allows {span(rpo)}."
    )
