"""Cron lines of a plan: what may stand there, when the next run is, how close two runs come. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: tuple[Mapping[str, int], ...] = (
    {}, {}, {}, {name: n for n, name in enumerate(_MONTHS, 1)}, {name: n for n, name in enumerate(_DAYS)},
)  # fmt: skip
_PART = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/([0-9]{1,2}))?")
_LONGEST = 8 * 366
"""Days looked ahead: 29 February may be eight years away."""


def checked(text: str) -> str:
    """A cron line that Prefect understands; empty stays empty.

    Raises:
        ValueError: it is none; says which part.
    """
    fields = text.lower().split()
    if not text:
        return text
    if len(fields) != 5:
        raise ValueError("give five fields: minute hour day-of-month month day-of-week, such as `30 3 * * *`")
    for field, (low, high), names in zip(fields, _RANGES, _NAMES, strict=True):
        for part in field.split(","):
            match = _PART.fullmatch(part)
            ends = [names.get(word, word) for word in match[1].split("-")] if match else []
            numbers = [int(end) for end in ends if str(end).isdigit()]
            right = match is not None and (match[1] == "*" or len(numbers) == len(ends))
            if not right or any(not low <= n <= high for n in numbers) or numbers != sorted(numbers):
                raise ValueError(f"{part!r} is no part of a cron line; here go numbers from {low} to {high}")
            if match is not None and match[2] == "0":
                raise ValueError(f"{part!r} steps by nothing")
    return " ".join(text.split())


Cron = Annotated[str, AfterValidator(checked)]
"""A cron line, or empty."""


def _numbers(field: str, place: int) -> frozenset[int]:
    (low, high), names = _RANGES[place], _NAMES[place]
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        assert match is not None  # noqa: S101 - the line was checked
        if match[1] == "*":
            ends = [low, high]
        else:
            ends = [int(names.get(word, word)) for word in match[1].split("-")]
        first, last = ends[0], ends[-1] if len(ends) > 1 or not match[2] else high
        found.update(range(first, last + 1, int(match[2] or 1)))
    return frozenset(found)


def _minutes(text: str) -> list[int]:
    """Minutes of a day at which it runs, on days on which it runs."""
    fields = text.lower().split()
    return sorted(60 * hour + minute for hour in _numbers(fields[1], 1) for minute in _numbers(fields[0], 0))


def shortest(text: str) -> timedelta | None:
    """The least time between two runs of a checked line, were every day one of its days; None: it never runs."""
    if not text:
        return None
    minutes = _minutes(text)
    gaps = [after - before for before, after in pairwise([*minutes, minutes[0] + 24 * 60])]
    return timedelta(minutes=min(gaps))


def following(text: str, timezone: str, after: datetime) -> datetime | None:
    """The first moment after another one at which a checked line runs (UTC); None: it never does."""
    if not text:
        return None
    fields = text.lower().split()
    days, months = _numbers(fields[2], 2), _numbers(fields[3], 3)
    weekdays = {number % 7 for number in _numbers(fields[4], 4)}
    minutes, zone = _minutes(text), ZoneInfo(timezone)
    start = after.astimezone(zone)
    for ahead in range(_LONGEST):
        day = (start + timedelta(days=ahead)).date()
        by_month, by_week = day.day in days, day.isoweekday() % 7 in weekdays
        # As every cron: with both given, one of them is enough.
        either = fields[2] != "*" and fields[4] != "*"
        if day.month not in months or not (by_month or by_week if either else by_month and by_week):
            continue
        for minute in minutes:
            local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
            if (moment := local.astimezone(UTC)) > after:
                return moment
    return None
