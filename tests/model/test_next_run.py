"""When a schedule runs next, as Prefect itself has it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from prefect.server.schemas.schedules import CronSchedule

from model.next_run import next_run
from model.scanning import Schedule

AT = (datetime(2026, 2, 27, 23, 59, 30, tzinfo=UTC), datetime(2026, 7, 1, 12, 0, tzinfo=UTC))


@pytest.mark.parametrize("at", AT)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Shanghai"])
@pytest.mark.parametrize(
    "cron",
    ["30 3 * * *", "0 9 1 * *", "*/15 * * * *", "0 0 29 2 *", "0 8 1,15 * mon-fri", "5 4 * * sun", "0 6 * jan-mar 7",
     "10-20/5 1 31 * *"],
)  # fmt: skip
def test_next_run_is_the_next_moment_of_the_cron_line(cron: str, zone: str, at: datetime) -> None:
    """R-DRILL-1: the report names the next drill."""
    schedule = CronSchedule(cron=cron, timezone=zone)
    expected = next(d for d in asyncio.run(schedule.get_dates(2, start=at)) if d > at)
    assert expected.astimezone(UTC) == next_run(Schedule(schedule=cron, timezone=zone), at)


def test_no_schedule_has_no_next_run() -> None:
    """By hand only."""
    assert None is next_run(Schedule(), AT[0])
