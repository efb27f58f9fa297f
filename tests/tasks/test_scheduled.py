"""A run that nobody asked for now keeps out of blackout windows, judged when it is due and when it comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows import scheduled
from flows.scheduled import SKIPPED, skipped
from model.scanning import ScanRule

NIGHT = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
RULE = ScanRule.model_validate(
    {"schedule": "0 */3 * * *", "timezone": "Europe/Berlin", "blackout": [{"from": "08:00", "to": "18:00"}]}
)


@pytest.mark.parametrize(
    ("due", "comes", "following"),
    [
        (NIGHT, NIGHT, None),
        (NIGHT + timedelta(hours=5), NIGHT + timedelta(hours=5), "2026-11-27 18:00 Europe/Berlin"),
        (NIGHT, NIGHT + timedelta(hours=9), "2026-11-27 18:00 Europe/Berlin"),
        (NIGHT + timedelta(hours=13), NIGHT + timedelta(hours=15), "2026-11-27 21:00 Europe/Berlin"),
    ],
    ids=["outside", "inside", "comes late and inside", "was due inside"],
)
def test_scheduled_run_is_skipped_in_a_window_and_says_when_the_next_one_is(
    monkeypatch: pytest.MonkeyPatch, due: datetime, comes: datetime, following: str | None
) -> None:
    monkeypatch.setattr(scheduled, "now", lambda: comes)
    monkeypatch.setattr(scheduled, "_due", lambda: due)
    end = skipped(RULE, "shop")
    if following is None:
        assert end is None
        return
    assert end is not None
    assert (SKIPPED, True) == (end.name, end.is_completed())
    assert (
        f"Not run: it falls into the blackout window 08:00–18:00. The next run: {following}." == end.message
    )


def test_without_a_window_everything_runs() -> None:
    assert skipped(ScanRule(schedule="0 * * * *"), "shop") is None
