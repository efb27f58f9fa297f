"""When something runs by itself: cron lines in a time zone, spread over many plans, not in blackout windows. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from typing import Annotated, ClassVar, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from model.assets import Seconds
from model.canonical import Value

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: tuple[Mapping[str, int], ...] = (
    {}, {}, {}, {name: n for n, name in enumerate(_MONTHS, 1)}, {name: n for n, name in enumerate(_DAYS)},
)  # fmt: skip
_PART = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/([0-9]{1,2}))?")
_DAY_MINUTES = 24 * 60
_LOOK_AHEAD = 5 * 366
"""Days; the rarest day of a calendar, 29 February, comes within them (but for the year 2100)."""

_MOST_LOOKED_AT = 50_000
"""Runs after which a schedule that was held back every time is taken to be held back for ever."""


def cron(text: str) -> str:
    """A cron line as Prefect has them; empty stays empty.

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


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; give a name such as `UTC` or `Europe/Berlin`") from error
    return name


def _jitter(seconds: float) -> float:
    if 0 < seconds < 60 or seconds > 86400:
        raise ValueError("a schedule counts in minutes: give 0, or one minute to one day, such as `20m`")
    return seconds


class Cron(NamedTuple):
    """The numbers that each field of a cron line stands for."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def every_day(self) -> bool:
        """Whether it does not matter which day it is."""
        return len(self.days) == 31 and len(self.months) == 12 and len(self.weekdays) == 7

    def falls_on(self, day: date) -> bool:
        """Whether it runs on a day; where both kinds of day are given, either will do, as in cron."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        either = len(self.days) < 31 and len(self.weekdays) < 7
        return in_month or in_week if either else in_month and in_week


@cache
def read_cron(line: str) -> Cron:
    """The meaning of a cron line that is right."""
    found = []
    fields = zip(line.lower().split(), _RANGES, _NAMES, strict=True)
    for field, (low, high), names in fields:
        numbers: set[int] = set()
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            begin = low if span == "*" else int(names.get(first, first))
            end = high if span == "*" or (step and not last) else int(names.get(last, last or begin))
            numbers.update(range(begin, end + 1, int(step or 1)))
        found.append(numbers)
    found[4] = {number % 7 for number in found[4]}
    return Cron(*map(frozenset, found))


def runs(lines: tuple[str, ...], timezone: str, after: datetime) -> Iterator[datetime]:
    """The moments of some cron lines after a moment, in their zone, as Prefect has them.

    A time that comes twice (end of summer time) counts once, the first one. One that the clock leaves out comes by the
    offset that holds after the change.
    """
    zone, crons = ZoneInfo(timezone), [read_cron(line) for line in lines]
    start = after.astimezone(zone).date() - timedelta(days=1)
    for number in range(_LOOK_AHEAD):
        day = start + timedelta(days=number)
        times = {(h, m) for cron in crons if cron.falls_on(day) for h in cron.hours for m in cron.minutes}
        moments = {_moment(day, hour, minute, zone) for hour, minute in times}
        yield from (one.astimezone(zone) for one in sorted(moments) if one > after)


def _moment(day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime:
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    moment = local.astimezone(UTC)
    left_out = moment.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None)
    return local.replace(fold=1).astimezone(UTC) if left_out else moment


def shortest(line: str) -> timedelta | None:
    """The least time between two runs of a cron line, were every day one of its days; None: it is empty."""
    if not line:
        return None
    of_day = read_cron(line)
    minutes = sorted(60 * hour + minute for hour in of_day.hours for minute in of_day.minutes)
    return timedelta(minutes=min(b - a for a, b in pairwise([*minutes, minutes[0] + _DAY_MINUTES])))


def shifted(line: str, minutes: int) -> tuple[str, ...]:
    """The cron lines that say what this one says, so many minutes later (less than a day).

    Where days of the month are named nothing moves into the next day: it comes as late as that day allows. They have
    only stars and lists, which nobody reads otherwise: Prefect takes `5-5` for everything, `0-6` not for every day.
    """
    cron = read_cron(line)
    if not cron.every_day and (len(cron.days) < 31 or len(cron.months) < 12):
        minutes = min(minutes, _DAY_MINUTES - 1 - max(cron.hours) * 60 - max(cron.minutes))
    of_hour: dict[tuple[int, int], set[int]] = {}
    for hour in cron.hours:
        for minute in cron.minutes:
            day, rest = divmod(hour * 60 + minute + minutes, _DAY_MINUTES)
            of_hour.setdefault((0 if cron.every_day else day, rest // 60), set()).add(rest % 60)
    alike: dict[tuple[int, frozenset[int]], set[int]] = {}
    for (day, hour), found in of_hour.items():
        alike.setdefault((day, frozenset(found)), set()).add(hour)
    return tuple(
        " ".join(
            (_field(found, 0, 59), _field(hours, 0, 23), _field(cron.days, 1, 31), _field(cron.months, 1, 12),
             _field({(number + day) % 7 for number in cron.weekdays}, 0, 6))
        )
        for (day, found), hours in sorted(alike.items(), key=lambda item: (item[0][0], min(item[1])))
    )  # fmt: skip


def _field(numbers: set[int] | frozenset[int], low: int, high: int) -> str:
    return "*" if len(numbers) == high - low + 1 else ",".join(map(str, sorted(numbers)))


class Blackout(Value):
    """A window in which nothing starts by itself; one that ends before it begins goes on past midnight.

    Attributes:
        days: on which it begins, `mon` to `sun`; empty: every day.
        from: its first minute, such as `08:00`.
        to: when it is over; `24:00` is the end of the day.
        timezone: of its times; empty: of the schedule.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    begin: str = Field(alias="from", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    end: str = Field(alias="to", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")
    timezone: Annotated[str, AfterValidator(lambda name: name and _zone(name))] = ""

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.begin == self.end:
            raise ValueError(
                f"the window from {self.begin} to {self.end} has no length; a whole day is 00:00 to 24:00"
            )
        return self

    def holds(self, at: datetime, timezone: str) -> bool:
        """Whether a moment lies in it.

        Args:
            at: the moment.
            timezone: of the schedule.
        """
        local = at.astimezone(ZoneInfo(self.timezone or timezone))
        time, today = f"{local:%H:%M}", self._begins_on(local.date())
        if self.begin < self.end:
            return today and self.begin <= time < self.end
        return (today and time >= self.begin) or (
            time < self.end and self._begins_on(local.date() - timedelta(days=1))
        )

    def _begins_on(self, day: date) -> bool:
        return not self.days or _DAYS[day.isoweekday() % 7] in self.days

    def __str__(self) -> str:
        """`mon, tue 08:00–18:00 Europe/Berlin`."""
        words = (", ".join(self.days), f"{self.begin}–{self.end}", self.timezone)
        return " ".join(word for word in words if word)


class Schedule(Value):
    """When something runs by itself.

    Attributes:
        schedule: when, as a cron line; empty: only by hand.
        timezone: of the schedule.
        jitter: each plan starts up to so much later, always by the same minutes, so that not all start at once.
        blackout: windows in which it does not start by itself; what falls into one is left out. By hand it starts.
    """

    flow: ClassVar[str]
    """Name of the flow that it starts."""

    schedule: Annotated[str, AfterValidator(cron)] = ""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    jitter: Annotated[Seconds, AfterValidator(_jitter)] = 0.0
    blackout: tuple[Blackout, ...] = ()

    def late(self, plan: str) -> int:
        """The minutes by which this plan starts later than its cron line says: the same for ever, other for others."""
        drawn = hashlib.sha256(f"{self.flow}/{plan}".encode()).digest()
        return int.from_bytes(drawn[:8]) % (int(self.jitter) // 60 + 1)

    def lines(self, plan: str) -> tuple[str, ...]:
        """The cron lines by which this plan starts; none: only by hand."""
        return shifted(self.schedule, self.late(plan)) if self.schedule else ()

    def held(self, at: datetime) -> Blackout | None:
        """The window that a moment lies in."""
        return next((window for window in self.blackout if window.holds(at, self.timezone)), None)

    def upcoming(self, plan: str, after: datetime) -> Iterator[tuple[datetime, Blackout | None]]:
        """The moments at which it is due, in its time zone, each with the window that holds it back."""
        for moment in runs(self.lines(plan), self.timezone, after):
            yield moment, self.held(moment)

    def following(self, plan: str, after: datetime) -> datetime | None:
        """The next moment at which it really starts."""
        due = islice(self.upcoming(plan, after), _MOST_LOOKED_AT)
        return next((moment for moment, held in due if held is None), None)

    def wrong(self, plan: str) -> Iterator[tuple[str, str]]:
        """What lets it never run, as (key, sentence)."""
        if not self.schedule or self.following(plan, _SOME_MONDAY) is not None:
            return
        if next(self.upcoming(plan, _SOME_MONDAY), None) is None:
            yield "schedule", f"{self.schedule!r} never comes"
        else:
            windows = "; ".join(map(str, self.blackout))
            yield (
                "blackout",
                f"it holds back every run of {self.schedule!r} ({windows}): nothing would ever run",
            )


_SOME_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
"""A plan is right or wrong whatever day it is."""
