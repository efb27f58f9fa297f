"""When a schedule runs next. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from model.scanning import RANGES, Schedule, ends_of

DAYS = 366 * 8
"""So far is looked ahead: 29 February may be eight years away."""


def next_run(rule: Schedule, after: datetime) -> datetime | None:
    """The next moment of a schedule, in UTC; None when it has none.

    As cron has it: where day of month and day of week are both given, one of them is enough.
    """
    if not rule.schedule:
        return None
    minutes, hours, days, months, weekdays = (_numbers(n, f) for n, f in enumerate(rule.schedule.split()))
    weekdays = {number % 7 for number in weekdays}
    fields = rule.schedule.split()
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    zone = ZoneInfo(rule.timezone)
    first = after.astimezone(zone).date()
    for offset in range(DAYS):
        day = first + timedelta(days=offset)
        by_month, by_week = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month not in months or not (by_month or by_week if either else by_month and by_week):
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
                if moment > after:
                    return moment
    return None


def _numbers(number: int, field: str) -> set[int]:
    low, high = RANGES[number]
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        begin, end = (low, high) if span == "*" else ends_of(number, span)
        if step and span != "*" and "-" not in span:
            end = high
        found |= set(range(begin, end + 1, int(step or 1)))
    return found
