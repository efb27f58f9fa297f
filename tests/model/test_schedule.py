"""When things run by themselves: cron lines as Prefect reads them, spread by a jitter, held back by blackouts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule
from pydantic import ValidationError

from model.errors import BadPlan
from model.planfile import read_plan
from model.scanning import BackUpRule, ScanRule
from model.schedule import Blackout, Schedule, read_cron, runs, shifted, shortest
from tests.model.builders import PLAN_TEXT

WEDNESDAY = datetime(2026, 11, 25, 12, tzinfo=UTC)


def shown(rule: Schedule, after: datetime, count: int = 4, plan: str = "shop") -> list[str]:
    """The next moments, those held back in brackets."""
    return [
        f"[{moment:%a %H:%M%z}]" if held else f"{moment:%a %H:%M%z}"
        for moment, held in islice(rule.upcoming(plan, after), count)
    ]


@pytest.mark.parametrize(
    ("line", "zone", "after", "due"),
    [
        ("30 3 * * *", "UTC", "2026-11-25T03:30Z", ["26T03:30+0000", "27T03:30+0000"]),
        ("30 3 * * *", "Asia/Kolkata", "2026-11-25T00:00Z", ["26T03:30+0530", "27T03:30+0530"]),
        ("0 0 29 2 *", "UTC", "2026-11-25T00:00Z", ["29T00:00+0000"]),
        ("0 6 1 * mon", "UTC", "2026-11-25T00:00Z", ["30T06:00+0000", "01T06:00+0000", "07T06:00+0000"]),
        ("0 0 * * 7", "UTC", "2026-11-25T00:00Z", ["29T00:00+0000"]),
        # Berlin: 02:30 is left out on 29 March, and comes twice on 25 October.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["29T01:30+0100", "30T02:30+0200"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["25T02:30+0200", "26T02:30+0100"]),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:30Z",
            ["25T02:00+0200", "25T03:00+0100", "25T04:00+0100"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-28T23:30Z",
            ["29T01:00+0100", "29T03:00+0200", "29T04:00+0200"],
        ),
        # Lord Howe moves by half an hour.
        (
            "15 */1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00Z",
            ["05T01:15+1100", "05T02:15+1030", "05T03:15+1030"],
        ),
    ],
)
def test_moments_of_a_cron_line(line: str, zone: str, after: str, due: list[str]) -> None:
    """R-PREV-1: also where clocks change."""
    found = islice(runs((line,), zone, datetime.fromisoformat(after)), len(due))
    assert due == [f"{moment:%dT%H:%M%z}" for moment in found]


QUICK = settings(max_examples=40, deadline=None)
NUMBERS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of a cron line."""
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    plain = st.one_of(number.map(str), span, st.just("*"))
    stepped = st.tuples(st.one_of(span, st.just("*")), st.integers(1, 20)).map(
        lambda both: f"{both[0]}/{both[1]}"
    )
    return st.one_of(st.just("*"), plain, stepped, st.lists(plain, min_size=1, max_size=3).map(",".join))


LINES = st.tuples(*(field(*ends) for ends in NUMBERS.values())).map(" ".join)


@QUICK
@given(
    LINES,
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    st.integers(0, 2 * 365 * 1440).map(lambda minutes: WEDNESDAY - timedelta(minutes=minutes, seconds=20)),
)
def test_moments_are_those_of_prefect(line: str, zone: str, after: datetime) -> None:
    """What `reinstate schedules` shows without a server is what the server will do; away from changes of the clock."""
    ours = list(islice(runs((line,), zone, after), 3))
    assume(ours)  # a day that no month has is refused in a plan, and an error of Prefect's
    (plain,) = shifted(line, 0)
    theirs = asyncio.run(CronSchedule(cron=plain, timezone=zone).get_dates(n=3, start=after))
    for one, other in zip(ours, theirs, strict=False):
        if not (_usual(one) and _usual(other)):
            break
        assert one == other


def _usual(moment: datetime) -> bool:
    """Whether the clock does not change near a moment."""
    hours = [moment.astimezone(moment.tzinfo) + timedelta(hours=number) for number in (-3, 3)]
    return len({one.utcoffset() for one in hours}) == 1


@pytest.mark.parametrize(
    ("line", "minutes", "wanted"),
    [
        ("30 3 * * *", 0, ["30 3 * * *"]),
        ("*/20 5-5 1 */1 sun-sat", 0, ["0,20,40 5 1 * *"]),
        ("30 3 * * *", 45, ["15 4 * * *"]),
        ("30 23 * * *", 45, ["15 0 * * *"]),
        ("30 23 * * fri", 45, ["15 0 * * 6"]),
        ("30 23 * * sat", 45, ["15 0 * * 0"]),
        ("30 23 1 * *", 45, ["59 23 1 * *"]),
        ("*/15 * * * *", 20, ["5,20,35,50 * * * *"]),
        ("0,30 2-4 * * *", 40, ["40 2 * * *", "10,40 3,4 * * *", "10 5 * * *"]),
        ("0 22,23 * * mon-fri", 90, ["30 23 * * 1,2,3,4,5", "30 0 * * 2,3,4,5,6"]),
    ],
)
def test_cron_line_is_shifted(line: str, minutes: int, wanted: list[str]) -> None:
    assert wanted == list(shifted(line, minutes))


@QUICK
@given(LINES, st.integers(0, 1439))
def test_shifted_line_says_the_same_later(line: str, minutes: int) -> None:
    """Every moment, that much later; where days of the month are named, as much as the day allows."""
    cron = read_cron(line)
    if not cron.every_day and (len(cron.days) < 31 or len(cron.months) < 12):
        minutes = min(minutes, 1439 - max(cron.hours) * 60 - max(cron.minutes))
    before = islice(runs((line,), "UTC", WEDNESDAY), 20)
    after = islice(runs(shifted(line, minutes), "UTC", WEDNESDAY + timedelta(minutes=minutes)), 20)
    assert [one + timedelta(minutes=minutes) for one in before] == list(after)


def test_jitter_is_the_same_for_ever_and_other_for_others() -> None:
    rule = ScanRule.model_validate({"schedule": "0 3 * * *", "jitter": "30m"})
    late = {f"plan-{number}": rule.late(f"plan-{number}") for number in range(200)}
    assert late == {plan: rule.late(plan) for plan in late}
    assert set(range(31)) == set(late.values()), "a fleet is spread over the whole of it"
    assert BackUpRule(schedule="0 3 * * *", jitter=1800).late("shop") != rule.late("shop")
    (line,) = rule.lines("shop")
    assert f"{rule.late('shop')} 3 * * *" == line


BERLIN = {"schedule": "0 */6 * * *", "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("window", "due"),
    [
        ({"from": "05:00", "to": "06:00"}, ["Wed 18:00+0100", "Thu 00:00+0100", "Thu 06:00+0100"]),
        ({"from": "05:00", "to": "06:01"}, ["Wed 18:00+0100", "Thu 00:00+0100", "[Thu 06:00+0100]"]),
        ({"from": "18:00", "to": "24:00"}, ["[Wed 18:00+0100]", "Thu 00:00+0100"]),
        ({"from": "22:00", "to": "06:01"}, ["Wed 18:00+0100", "[Thu 00:00+0100]", "[Thu 06:00+0100]"]),
        (
            {"from": "22:00", "to": "06:01", "days": ["wed"]},
            ["Wed 18:00+0100", "[Thu 00:00+0100]", "[Thu 06:00+0100]", "Thu 12:00+0100", "Thu 18:00+0100",
             "Fri 00:00+0100"],
        ),
        ({"from": "00:00", "to": "24:00", "days": ["thu"]}, ["Wed 18:00+0100", "[Thu 00:00+0100]", "[Thu 06:00+0100]"]),
        ({"from": "17:01", "to": "18:30", "timezone": "UTC"}, ["Wed 18:00+0100", "Thu 00:00+0100"]),
        ({"from": "16:30", "to": "17:30", "timezone": "UTC"}, ["[Wed 18:00+0100]", "Thu 00:00+0100"]),
    ],
)  # fmt: skip
def test_blackout_holds_back_what_falls_into_it(window: dict[str, object], due: list[str]) -> None:
    rule = ScanRule.model_validate(BERLIN | {"blackout": [window]})
    assert due == shown(rule, WEDNESDAY, len(due))


def test_blackout_goes_by_the_clock_of_its_zone_when_that_changes() -> None:
    """Berlin's nights of 28 March (02:00 is left out) and 24 October (02:00 comes twice)."""
    rule = ScanRule.model_validate(
        {"schedule": "30 * * * *", "timezone": "UTC",
         "blackout": [{"from": "02:00", "to": "04:00", "timezone": "Europe/Berlin"}]}
    )  # fmt: skip
    spring = shown(rule, datetime(2026, 3, 29, 0, 0, tzinfo=UTC), 4)
    assert ["Sun 00:30+0000", "[Sun 01:30+0000]", "Sun 02:30+0000", "Sun 03:30+0000"] == spring
    autumn = shown(rule, datetime(2026, 10, 24, 23, 0, tzinfo=UTC), 5)
    assert [
        "Sat 23:30+0000", "[Sun 00:30+0000]", "[Sun 01:30+0000]", "[Sun 02:30+0000]", "Sun 03:30+0000",
    ] == autumn  # fmt: skip


@QUICK
@given(
    st.lists(
        st.builds(
            lambda begin, end, days: {
                "from": f"{begin:02}:00",
                "to": f"{end:02}:30",
                "days": sorted(days),
            },
            st.integers(0, 23),
            st.integers(0, 23),
            st.sets(st.sampled_from(["mon", "tue", "sat", "sun"])),
        ),
        max_size=3,
    )
)
def test_following_is_the_first_that_is_not_held(windows: list[dict[str, object]]) -> None:
    rule = ScanRule.model_validate({"schedule": "17 */5 * * *", "blackout": windows})
    following = rule.following("shop", WEDNESDAY)
    due = list(islice(rule.upcoming("shop", WEDNESDAY), 100))
    assert following == next((moment for moment, held in due if held is None), None)
    assert all((held is None) == (rule.held(moment) is None) for moment, held in due)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"jitter": "30s"}, "one minute to one day"),
        ({"jitter": "2d"}, "one minute to one day"),
        ({"blackout": [{"from": "08:00", "to": "08:00"}]}, "has no length; a whole day is 00:00 to 24:00"),
        ({"blackout": [{"from": "8:00", "to": "18:00"}]}, "pattern"),
        ({"blackout": [{"from": "24:00", "to": "18:00"}]}, "pattern"),
        ({"blackout": [{"from": "08:00", "to": "18:00", "days": ["monday"]}]}, "'mon', 'tue'"),
        ({"blackout": [{"from": "08:00", "to": "18:00", "timezone": "Mars/Base"}]}, "is no time zone"),
        ({"blackout": [{"begin": "08:00", "to": "18:00"}]}, "Field required"),
    ],
)
def test_schedule_that_is_wrong_is_refused(section: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ScanRule.model_validate({"schedule": "0 3 * * *"} | section)


@pytest.mark.parametrize(
    ("section", "path", "words"),
    [
        (
            'back_up: {schedule: "0 9 * * mon,fri", blackout: [{days: [mon, fri], from: "08:00", to: "18:00"}]}',
            "back_up.blackout",
            "holds back every run of '0 9 * * mon,fri' (mon, fri 08:00–18:00)",
        ),
        (
            'scan: {schedule: "* * * * *", blackout: [{from: "00:00", to: "24:00"}]}',
            "scan.blackout",
            "nothing would ever run",
        ),
        ('verification: {schedule: "0 4 31 2 *"}', "verification.schedule", "'0 4 31 2 *' never comes"),
    ],
)  # fmt: skip
def test_plan_of_which_nothing_would_ever_run_is_refused_with_the_line(
    section: str, path: str, words: str
) -> None:
    with pytest.raises(BadPlan) as caught:
        read_plan(f"{PLAN_TEXT}{section}\n", "plan.yaml")
    (problem,) = caught.value.problems
    assert path == problem.path
    assert words in problem.what
    assert problem.line == len(PLAN_TEXT.splitlines()) + 1


@pytest.mark.parametrize(
    "section",
    [
        'scan: {schedule: "0 9 * * *", blackout: [{days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:00"}]}',
        'scan: {schedule: "0 0 29 2 *"}',
        'scan: {schedule: "* * * * *", blackout: [{days: [mon, tue, wed, thu, fri, sat], from: "00:00", to: "24:00"}]}',
        'scan: {blackout: [{from: "00:00", to: "24:00"}]}',
    ],
)
def test_plan_that_runs_now_and_then_is_right(section: str) -> None:
    assert "shop" == read_plan(f"{PLAN_TEXT}{section}\n").name


def test_window_is_written_as_it_was_read() -> None:
    data = {"from": "08:00", "to": "18:00", "days": ["mon"], "timezone": "UTC"}
    window = Blackout.model_validate(data)
    assert window == Blackout.model_validate(window.model_dump(mode="json"))
    assert "mon 08:00–18:00 UTC" == str(window)


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
