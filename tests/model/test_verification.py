"""Which recovery points are restored next, and what is said about their trials."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from model.verification import Trial, Trials, VerificationRule, choose, since_proven, slower, unproven

NOW = datetime(2026, 11, 26, 3, tzinfo=UTC)
POINTS = [f"p{number}" for number in range(9, 0, -1)]


def trial(
    point: str, days: float = 0, *, seconds: float = 10, outcome: str = "whole", size: int = 100
) -> Trial:
    return Trial.model_validate(
        {
            "asset": "files", "kind": "files", "host": "web", "source": "kept", "point": point, "sentence": "",
            "taken_at": NOW, "at": NOW - timedelta(days=days), "outcome": outcome, "seconds": seconds, "bytes": size,
        }
    )  # fmt: skip


def test_each_point_is_tried_once_before_one_is_tried_again() -> None:
    """The newest first, then the oldest; one at random takes its turn; then what was tried longest ago."""
    trials: list[Trial] = []
    for turn in range(len(POINTS)):
        (chosen,) = choose(POINTS, trials, 1)
        trials.append(trial(chosen, days=20 - turn))
    tried = [one.point for one in trials]
    assert sorted(POINTS) == sorted(tried)
    assert ["p9", "p1"] == tried[:2]
    assert tried != POINTS
    assert [tried[0], tried[1]] == choose(POINTS, trials, 2)
    assert ["p10"] == choose(["p10", *POINTS], trials, 1), "a new one comes first"
    assert [] == choose([], trials, 3)
    assert choose(POINTS, [], 4) == choose(POINTS, [], 4)
    assert 4 == len(set(choose(POINTS, [], 4)))


def test_restore_that_became_slow_is_told() -> None:
    """R-USE-5: the time to restore is compared with history; small ones and other hosts are no measure."""
    usual = [trial(f"p{n}", seconds=seconds) for n, seconds in enumerate((10, 12, 11))]
    assert "took 25 s, usual are 11 s" in slower(trial("p5", seconds=25), usual)
    assert "" == slower(trial("p5", seconds=21), usual)
    assert "" == slower(trial("p5", seconds=25), usual[:2])
    assert "" == slower(trial("p5", seconds=4), [trial("p", seconds=1)] * 3)
    assert "" == slower(trial("p5", seconds=25, size=300), usual), "it had three times as much to do"
    failed = [one.model_copy(update={"outcome": "damaged"}) for one in usual]
    assert "" == slower(trial("p5", seconds=25), failed)


def test_asset_that_was_not_proven_for_too_long_is_told() -> None:
    """R-PREV-1: only where the plan promises proofs."""
    rule = VerificationRule.model_validate({"schedule": "0 3 * * *", "window": "10d"})
    assert "no recovery point was ever restored" in unproven("files", rule, [], NOW)
    assert "11 days old, 10 are allowed" in unproven("files", rule, [NOW - timedelta(days=11)], NOW)
    assert "" == unproven("files", rule, [NOW - timedelta(days=30), NOW - timedelta(days=9)], NOW)
    assert "" == unproven("files", VerificationRule(), [], NOW)


def test_days_since_proven_count_whole_points_only() -> None:
    known = Trials()
    for one in (
        trial("p1", 5),
        trial("p2", 3),
        trial("p3", 1, outcome="damaged"),
        trial("p4", 0, outcome="blind"),
    ):
        known = known.with_trial(one)
    assert {"files": 3.0, "other": None} == since_proven(["files", "other"], known, NOW)
