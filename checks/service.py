"""Services: does the service manager, or the service's own status command, say that it runs?"""

from __future__ import annotations

from dataclasses import dataclass

from blocks.hosts.base import Connection
from model.assets import ServiceAsset
from model.command import Command, Result
from model.finding import CheckResult, Code, Degree, Finding, judged

STATUS_TIMEOUT = 30.0
"""Seconds for one status command."""

LSB = {
    1: "dead, its pid file is left",
    2: "dead, its lock is left",
    3: "stopped",
    4: "unknown",
}
"""Exit codes of a status action (LSB Core 5.0, 22.2); systemctl is-active uses 3 for anything but active."""


@dataclass(frozen=True)
class ServiceData:
    """Answers of the status commands, in their order."""

    answers: tuple[Result, ...]


def collect(connection: Connection, asset: ServiceAsset) -> ServiceData:
    """Ask for the service's status.

    Raises:
        Transient: the connection was lost.
    """
    commands = asset.command("status")
    return ServiceData(
        tuple(connection.run(Command(words, sudo=True, timeout=STATUS_TIMEOUT)) for words in commands)
    )


def judge(name: str, asset: ServiceAsset, data: ServiceData) -> CheckResult:
    """A service that does not say it runs is down."""
    findings = tuple(
        Finding(
            code=Code.SERVICE_DOWN, host=asset.host, asset=name, subject=asset.unit or name, degree=Degree.TOTAL,
            expected="running", actual=LSB.get(answer.status or -1, f"status {answer.status}"), detail=answer.tail(2),
        )
        for answer in data.answers
        if not answer.ok
    )  # fmt: skip
    return judged("service", asset.host, name, len(data.answers), findings, "services")
