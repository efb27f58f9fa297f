"""Regular checks: valid schedules, fair rotation, what is new and what was reported already (R-PREV-2)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from model.finding import CheckResult, Code, Degree, Finding, Verdict
from model.scanning import History, ScanRule, due, forget_cured, new_damage, remember

NOW = datetime(2025, 6, 1, 3, tzinfo=UTC)


def finding(subject: str = "/x", degree: Degree = Degree.SERIOUS, asset: str = "app") -> Finding:
    return Finding(code=Code.FILE_MISSING, host="web-1", asset=asset, subject=subject, degree=degree)


def result(*findings: Finding, asset: str = "app", verdict: Verdict | None = None) -> CheckResult:
    return CheckResult(
        check="files", host="web-1", asset=asset, verdict=verdict or (Verdict.FAILED if findings else Verdict.PASSED),
        examined=3, findings=findings, sentence="s",
    )  # fmt: skip


@pytest.mark.parametrize("line", ["30 3 * * *", "*/15 0-6,22 1 jan-jun mon-fri", "0 4 * * 7", ""])
def test_cron_lines_that_are_right(line: str) -> None:
    assert line == ScanRule(schedule=line).schedule


@pytest.mark.parametrize(
    "line", ["* * * *", "60 3 * * *", "0 24 * * *", "0 3 0 * *", "0 3 * 13 *", "@daily", "0 3 * * foo", "*/0 3 * * *",
             "5-1 3 * * *", "0 3 * * 1-foo", "; reboot * * * *"],
)  # fmt: skip
def test_cron_lines_that_are_wrong_are_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        ScanRule(schedule=line)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", ""])
def test_time_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError):
        ScanRule(timezone=zone)


def test_hosts_are_rotated_the_longest_unseen_first_and_every_one_has_its_turn() -> None:
    hosts, history, seen = ["a", "b", "c", "d", "e"], History(), list[str]()
    for day in range(3):
        chosen = due(hosts, history, 2)
        assert 2 == len(chosen)
        seen += chosen
        history = remember(history, NOW + timedelta(days=day), chosen, ())
    assert set(hosts) == set(seen), "five hosts, two at a time, are through after three runs"
    assert hosts == due(hosts, history, 0)


@pytest.mark.parametrize(
    ("rule", "count"), [("never", 0), ("serious", 1), ("any", 2)]
)  # fmt: skip
def test_new_damage_counts_by_the_plans_rule(rule: Any, count: int) -> None:  # noqa: ANN401 - a literal
    results = [result(finding("/a"), finding("/b", Degree.SLIGHT))]
    assert count == len(new_damage(results, ScanRule(open_incident=rule), History(), ()))


def test_damage_is_reported_once_until_it_is_gone_and_comes_back() -> None:
    """Repeated scans open one incident for a set of findings."""
    rule, history = ScanRule(open_incident="any"), History()

    def scan(*findings: Finding, elsewhere: Iterable[str] = ()) -> list[Finding]:
        nonlocal history
        new = new_damage([result(*findings)], rule, history, elsewhere)
        history = remember(history, NOW, ["web-1"], [result(*findings)], new=new, incident="inc-1")
        return new

    assert ["/a"] == [f.subject for f in scan(finding("/a"))]
    assert [] == scan(finding("/a"))
    assert ["/b"] == [f.subject for f in scan(finding("/a"), finding("/b"))]
    assert [] == scan()
    assert ["/a"] == [f.subject for f in scan(finding("/a"))]
    assert [] == scan(finding("/c"), elsewhere=[finding("/c").id]), "a person reported it already"


def test_what_could_not_be_looked_at_is_neither_clean_nor_forgotten() -> None:
    """G11."""
    history = remember(History(), NOW, ["web-1"], [result()])
    history = remember(history, NOW, ["web-1"], [result(finding())], new=[finding()], incident="inc-1")
    later = NOW + timedelta(days=1)
    history = remember(history, later, ["web-1"], [result(verdict=Verdict.ERROR)])
    assert {finding().id} == set(history.reported)
    assert (Verdict.ERROR, NOW, later) == (
        history.assets["app"].verdict, history.assets["app"].last_clean, history.assets["app"].last_scanned
    )  # fmt: skip


def test_damage_of_a_recovered_incident_is_new_again_but_not_what_people_let_be() -> None:
    gone, kept = finding("/a"), finding("/b")
    history = remember(History(), NOW, ["web-1"], [result(gone, kept)], new=[gone, kept], incident="inc-1")
    assert {kept.id} == set(forget_cured(history, ["inc-1"], [kept.id]).reported)
    assert {gone.id, kept.id} == set(forget_cured(history, ["inc-2"], []).reported)
