"""Choosing a recovery point: each reason by its name, and which point comes first (R-RESP-6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model.finding import Code, Finding
from model.manifest import Entry, Manifest, RecoveryPoint
from model.point_rules import (
    content_text,
    expectations,
    holds_damage,
    in_time,
    lost,
    order,
    overdue,
    refuses,
    shrunk,
    silent_changes,
    span,
    with_proofs,
)
from model.points import (
    Expected,
    Inventory,
    Judgement,
    Measure,
    PointRule,
    Proof,
    Reason,
    Weight,
    Why,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HASH, OTHER = "a" * 64, "b" * 64
RULE = PointRule()


def at(hours: float) -> datetime:
    """So many hours before now."""
    return NOW - timedelta(hours=hours)


def named(hours: float) -> str:
    return f"{at(hours):%Y%m%dT%H%M%SZ}"


def point(hours: float) -> RecoveryPoint:
    return RecoveryPoint(
        id=named(hours), asset="data", source="disk", taken_at=at(hours), key="k", sha256=HASH, bytes=1,
        manifest_sha256=HASH,
    )  # fmt: skip


def entry(path: str, sha256: str = HASH, mtime: int = 5) -> Entry:
    return Entry.model_validate(
        {"path": path, "type": "file", "size": 10, "sha256": sha256, "mtime_ns": mtime}
    )


def manifest(*entries: Entry, hours: float = 1) -> Manifest:
    return Manifest(
        asset="data", point=named(hours), format="tar", host="web", machine_id="0" * 32, root="/srv/data",
        taken_at=at(hours), object_key="k", object_sha256=HASH, object_bytes=1, entries=entries,
    )  # fmt: skip


def expected(hours: float, rows: int = 100, doubtful: str = "") -> Expected:
    return Expected(
        id=named(hours), source="disk", taken_at=at(hours), manifest_sha256=HASH, measure=Measure(rows=rows),
        doubtful=doubtful,
    )  # fmt: skip


def judged(hours: float, *reasons: Reason) -> Judgement:
    return Judgement(asset="data", point=named(hours), source="disk", taken_at=at(hours), reasons=reasons)


def reason(why: Why, weight: Weight = Weight.AGAINST) -> Reason:
    return Reason(why=why, weight=weight, sentence="so")


@pytest.mark.parametrize(
    ("rows", "why", "verdict"),
    [
        (1000, None, "good"),
        (500, None, "good"),
        (499, Why.SHRUNK, "usable"),
        (101, Why.SHRUNK, "usable"),
        (100, Why.SHRUNK, "refused"),
        (1, Why.SHRUNK, "refused"),
        (0, Why.EMPTY, "refused"),
        (9000, None, "good"),
    ],
)
def test_rows_below_the_trailing_median_warn_at_half_and_refuse_at_a_tenth(
    rows: int, why: Why | None, verdict: str
) -> None:
    before = [Measure(rows=count) for count in (1, 1000, 1000, 1000, 900, 1100, 1000, 1000)]
    found = shrunk(Measure(rows=rows), before, RULE)
    assert ([why] if why else []) == [one.why for one in found]
    assert verdict == judged(1, *found).verdict
    assert [] == shrunk(Measure(rows=rows), [], RULE), "nothing is known before the first"


def test_thresholds_are_the_plans() -> None:
    before = [Measure(files=100)]
    assert [] == shrunk(Measure(files=20), before, PointRule(shrunk_warns=90, shrunk_refuses=95))
    assert judged(
        1, *shrunk(Measure(files=79), before, PointRule(shrunk_warns=10, shrunk_refuses=20))
    ).refused


def test_content_that_changed_without_its_time_changing_speaks_against_a_point() -> None:
    """A disk that rots changes no time of a file: such a backup holds the damage (rule 5)."""
    old = manifest(entry("a"), entry("b"), hours=2)
    (found,) = silent_changes(manifest(entry("a", OTHER), entry("b")), old)
    assert (Why.SILENT_CHANGE, Weight.AGAINST) == (found.why, found.weight)
    assert "a changed since" in found.sentence
    assert [] == silent_changes(manifest(entry("a", OTHER, mtime=6)), old), "written by somebody"
    assert [] == silent_changes(manifest(entry("a", OTHER)), None)


def test_point_that_holds_what_is_damaged_now_is_refused() -> None:
    def damaged(path: str, sha256: str) -> Finding:
        return Finding(
            code=Code.FILE_CONTENT_DIFFERS, host="web", asset="data", subject=f"/srv/data/{path}",
            expected=content_text(HASH, 10), actual=content_text(sha256, 10),
        )  # fmt: skip

    assert [] == holds_damage(manifest(entry("a")), [damaged("a", OTHER)])
    (found,) = holds_damage(manifest(entry("a", OTHER)), [damaged("a", OTHER)])
    assert (Why.HOLDS_DAMAGE, Weight.REFUSES) == (found.why, found.weight)
    gone = Finding(code=Code.FILE_MISSING, host="web", asset="data", subject="/srv/data/z")
    (found,) = holds_damage(manifest(entry("a")), [gone])
    assert (Why.LACKS_FILES, Weight.AGAINST) == (found.why, found.weight)


def test_moment_of_a_point_is_weighed_against_rpo_detection_and_onset() -> None:
    hour = 3600.0
    assert [] == in_time(point(1), NOW, 2 * hour, None, False)
    (stale,) = in_time(point(3), NOW, 2 * hour, None, False)
    assert (Why.STALE, Weight.NOTE) == (stale.why, stale.weight)
    assert "3 h old, the plan allows 2 h" in stale.sentence
    (late,) = in_time(point(-1), NOW, hour, None, False)
    assert (Why.NEWER_THAN_DAMAGE, Weight.REFUSES) == (late.why, late.weight)
    window = (at(5), at(3))
    assert [Why.AFTER_ONSET] == [r.why for r in in_time(point(2), NOW, 9 * hour, window, False)]
    assert [Why.MAYBE_AFTER_ONSET] == [r.why for r in in_time(point(4), NOW, 9 * hour, window, False)]
    assert [] == in_time(point(5), NOW, 9 * hour, window, False)
    assert [] == in_time(point(2), NOW, 9 * hour, window, True), "its manifest shows that it is whole"


def test_newest_without_anything_against_it_comes_first_and_refused_ones_never() -> None:
    newest = judged(1, refuses(Why.WRONG_HOST, "so"))
    late, doubtful = judged(2, reason(Why.AFTER_ONSET)), judged(3, reason(Why.DOUBTFUL))
    good, older = judged(4), judged(5)
    chosen = order([newest, late, doubtful, good, older])
    assert [good, older, doubtful, late] == chosen


def test_proven_point_is_preferred_inside_the_rpo_and_not_beyond_it() -> None:
    """R-PREV-1: what was restored once counts more than a newer promise; not at the price of the RPO."""
    proven = reason(Why.PROVEN, Weight.FOR)
    assert named(2) == order([judged(1), judged(2, proven)])[0].point
    stale = judged(2, proven, reason(Why.STALE, Weight.NOTE))
    assert named(1) == order([judged(1), stale])[0].point


def test_proof_counts_for_the_very_manifest_it_was_made_of() -> None:
    def proof(how: str, ok: bool = True, sha256: str = HASH, minute: int = 0) -> Proof:
        return Proof.model_validate(
            {
                "point": named(1),
                "manifest_sha256": sha256,
                "at": NOW + timedelta(minutes=minute),
                "how": how,
                "ok": ok,
            }
        )

    assert with_proofs(judged(1), HASH, [proof("restored")]).says(Why.PROVEN)
    assert not with_proofs(judged(1), HASH, [proof("restored", sha256=OTHER)]).says(Why.PROVEN)
    assert with_proofs(judged(1), HASH, [proof("read", ok=False)]).refused
    again = with_proofs(judged(1), HASH, [proof("read", ok=False), proof("restored", minute=1)])
    assert (False, True) == (again.refused, again.says(Why.PROVEN))
    doubtful = judged(1, reason(Why.DOUBTFUL), refuses(Why.SHRUNK, "so"))
    assert "good" == with_proofs(doubtful, HASH, [proof("trusted")]).verdict
    assert with_proofs(judged(1, refuses(Why.WRONG_HOST, "so")), HASH, [proof("trusted")]).refused


def test_replaced_manifest_and_doubtful_point_are_known_from_the_inventory() -> None:
    inventory = Inventory(plan="p", asset="data", points=(expected(1, doubtful="an incident is open"),))
    assert [Why.DOUBTFUL] == [one.why for one in expectations(point(1), inventory)]
    other = point(1).model_copy(update={"manifest_sha256": OTHER})
    assert [Why.MANIFEST_REPLACED] == [one.why for one in expectations(other, inventory)]
    assert [Why.NOT_IN_INVENTORY] == [one.why for one in expectations(point(2), inventory)]
    assert [] == expectations(point(1), None)


def test_newest_that_vanish_are_a_roll_back_and_old_ones_may_be_retention() -> None:
    """R-PREV-1: every retention keeps the newest; a tool's own pruning of old snapshots is no alarm."""
    inventory = Inventory(plan="p", asset="data", points=tuple(expected(h) for h in (500, 400, 300, 3, 1)))
    everything = {one.id: HASH for one in inventory.points}

    def gone(*hours: float) -> list[tuple[str, bool]]:
        left = {ident: HASH for ident in everything if ident not in {named(h) for h in hours}}
        return [(one.point, one.grave) for one in lost(inventory, left, RULE, NOW, noun="snapshot")]

    assert [] == gone()
    assert [(named(400), False)] == gone(400)
    assert [(named(3), True)] == gone(3)
    found = lost(inventory, {named(500): HASH}, RULE, NOW, noun="snapshot")
    assert [True] * 4 == [one.grave for one in found]
    assert "rolled back" in found[-1].sentence
    assert [True] == [
        one.grave for one in lost(inventory, {i: HASH for i in everything if i != named(400)}, RULE, NOW)
    ]


def test_backups_are_overdue_when_the_newest_sound_one_is_older_than_the_rpo() -> None:
    inventory = Inventory(plan="p", asset="data", points=(expected(5), expected(1, doubtful="so")))
    assert "" == overdue(inventory, 6 * 3600, NOW)
    assert "5 h old, and the plan allows 4 h" in overdue(inventory, 4 * 3600, NOW)
    assert "no recovery point" in overdue(Inventory(plan="p", asset="data"), 1, NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "5 s"),
        (90, "90 s"),
        (300, "5 min"),
        (3600, "1 h"),
        (5400, "1.5 h"),
        (86400, "24 h"),
        (10**6, "12 days"),
    ],
)
def test_spans_are_for_people(seconds: float, text: str) -> None:
    assert text == span(seconds)
