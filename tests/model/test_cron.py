"""Cron lines: the next run, and how close two runs come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prefect.server.schemas.schedules import CronSchedule

from model.cron import checked, following, shortest

FRIDAY = datetime(2026, 2, 27, 10, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "zone", "expected"),
    [
        ("*/30 * * * *", "UTC", datetime(2026, 2, 27, 10, 30, tzinfo=UTC)),
        ("5/20 * * * *", "UTC", datetime(2026, 2, 27, 10, 25, tzinfo=UTC)),
        ("17 10 * * *", "UTC", datetime(2026, 2, 28, 10, 17, tzinfo=UTC)),
        ("0 2 * * 0", "UTC", datetime(2026, 3, 1, 2, 0, tzinfo=UTC)),
        ("0 2 * * 7", "UTC", datetime(2026, 3, 1, 2, 0, tzinfo=UTC)),
        ("0 2 * * mon,sat", "UTC", datetime(2026, 2, 28, 2, 0, tzinfo=UTC)),
        ("0 0 1 * *", "Europe/Berlin", datetime(2026, 2, 28, 23, 0, tzinfo=UTC)),
        ("0 12 15 * mon", "UTC", datetime(2026, 3, 2, 12, 0, tzinfo=UTC)),
        ("0 12 29 2 *", "UTC", datetime(2028, 2, 29, 12, 0, tzinfo=UTC)),
        ("0 12 30 2 *", "UTC", None),
        ("", "UTC", None),
    ],
)
def test_following_is_the_first_run_after_a_moment(line: str, zone: str, expected: datetime | None) -> None:
    assert expected == following(checked(line), zone, FRIDAY)


@pytest.mark.parametrize(
    "line", ["*/30 * * * *", "15 3,9 1-7 * *", "0 22 * * 5", "1-59/29 */5 2 3 *", "0 4 13 * fri"]
)
def test_following_agrees_with_the_scheduler(line: str) -> None:
    """The server's own reading of the same line is what really runs."""
    ours, moment = [], FRIDAY
    for _ in range(6):
        found = following(checked(line), "Europe/Berlin", moment)
        assert found is not None
        ours.append(found)
        moment = found
    served = CronSchedule(cron=line, timezone="Europe/Berlin")
    theirs = asyncio.run(served.get_dates(n=6, start=FRIDAY + timedelta(seconds=1)))
    assert ours == [datetime.fromtimestamp(one.timestamp(), UTC) for one in theirs]


@pytest.mark.parametrize(
    ("line", "minutes"),
    [
        ("*/30 * * * *", 30), ("0 * * * *", 60), ("0,29 * * * *", 29), ("*/40 * * * *", 20), ("30 3 * * *", 1440),
        ("0 0,23 * * *", 60), ("* * * * *", 1),
    ],
)  # fmt: skip
def test_shortest_is_the_least_time_between_two_runs(line: str, minutes: int) -> None:
    assert timedelta(minutes=minutes) == shortest(line)


def test_shortest_of_no_schedule_is_none() -> None:
    assert shortest("") is None
