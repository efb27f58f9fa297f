"""Services: what supervisors answer, as cases."""

from __future__ import annotations

import pytest

from checks import service
from model.assets import ServiceAsset
from model.command import Command, Result
from model.errors import Transient
from model.finding import CheckResult, Code, Verdict
from tests.checks.local import LocalConnection


def commanded(status: str) -> ServiceAsset:
    return ServiceAsset(
        kind="service", host="web-1", start=("true",), stop=("true",), status=("sh", "-c", status)
    )


def check(host: LocalConnection, asset: ServiceAsset) -> CheckResult:
    return service.judge("web", asset, service.collect(host, asset))


def test_service_that_runs_passes(here: LocalConnection) -> None:
    assert Verdict.PASSED is check(here, commanded("exit 0")).verdict


@pytest.mark.parametrize(
    ("script", "actual"),
    [
        ("exit 3", "stopped"),
        ("exit 1", "dead, its pid file is left"),
        ("exit 4", "state unknown"),
        ("echo no such pid >&2; exit 3", "no such pid"),
    ],
)
def test_service_that_is_down_is_found(here: LocalConnection, script: str, actual: str) -> None:
    """LSB Core 5.0, 22.2."""
    result = check(here, commanded(script))
    assert [(Code.SERVICE_DOWN, "web", actual)] == [(f.code, f.subject, f.actual) for f in result.findings]


@pytest.mark.parametrize("script", ["exit 127", "exit 126", "kill -9 $$", "exit 77"])
def test_status_command_that_does_not_work_is_an_error_and_neither_up_nor_down(
    here: LocalConnection, script: str
) -> None:
    result = check(here, commanded(script))
    assert (Verdict.ERROR, ()) == (result.verdict, result.findings)


class Systemd(LocalConnection):
    """A systemctl whose unit goes through these states."""

    def __init__(self, *states: str) -> None:
        super().__init__()
        self.states = list(states)

    def run(self, command: Command, **_: object) -> Result:
        assert "--" == command.argv[-2]
        if "is-active" in command.argv:
            return Result("", 0 if self.states[0] == "active running success" else 3)
        return Result("", 0, "\n".join(self.states.pop(0).split()).encode())


def unit() -> ServiceAsset:
    return ServiceAsset(kind="service", host="web-1", unit="shop.service")


def test_unit_that_is_starting_is_waited_for() -> None:
    host = Systemd("activating start-pre success", "active running success")
    assert Verdict.PASSED is check(host, unit()).verdict


def test_unit_that_failed_is_found_with_what_systemd_says() -> None:
    finding = check(Systemd("failed failed exit-code"), unit()).findings[0]
    assert ("shop.service", "failed failed exit-code") == (finding.subject, finding.actual)


def test_lost_connection_is_no_finding() -> None:
    class Lost(LocalConnection):
        def run(self, command: Command, **_: object) -> Result:
            return Result(command.shown(), None)

    with pytest.raises(Transient):
        check(Lost(), unit())
