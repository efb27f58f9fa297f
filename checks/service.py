"""Services: does the service manager, or the service's own status command, say that it runs?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from blocks.hosts.base import Connection
from checks.stat import require
from model.assets import ServiceAsset
from model.command import Command
from model.finding import CheckResult, Code, Degree, Finding, Verdict, judged

SETTLE_SECONDS = 10.0
"""How long a unit that is just starting is waited for."""

_DOWN = {1: "dead, its pid file is left", 2: "dead, its lock file is left", 3: "stopped", 4: "state unknown"}


@dataclass(frozen=True, slots=True)
class ServiceData:
    """What the service's supervisor said: exit status (0 runs, 1 to 4 does not, LSB) and its words."""

    status: int
    words: str


def collect(connection: Connection, asset: ServiceAsset) -> ServiceData:
    """Ask the supervisor; a unit that is activating is asked again for up to SETTLE_SECONDS.

    Raises:
        Transient: the connection was lost.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        result = connection.run(Command(asset.command("status")[0], sudo=True, timeout=30.0))
        if result.status is None:
            require(result, connection.name, "asking for a service's state")
        words = "" if result.status == 0 else result.tail(1)
        if asset.unit is not None and result.status in {3, 4}:
            show = (
                "systemctl",
                "show",
                "--property=ActiveState,SubState,Result",
                "--value",
                "--",
                asset.unit,
            )
            words = " ".join(connection.run(Command(show, sudo=True, timeout=30.0)).text.split())
            if words.startswith(("activating", "reloading")) and time.monotonic() < deadline:
                time.sleep(0.5)
                continue
        return ServiceData(result.status if result.status is not None else -1, words)


def judge(name: str, asset: ServiceAsset, data: ServiceData) -> CheckResult:
    """A status other than 0 to 4 is no answer: ERROR, neither up nor down."""
    subject = asset.unit or name
    if data.status not in {0, *_DOWN}:
        return CheckResult(
            check="service", host=asset.host, asset=name, verdict=Verdict.ERROR, examined=0,
            sentence=f"The state of {subject} on {asset.host} is not known: its status command ended with "
            f"{data.status}{f' ({data.words})' if data.words else ''}.",
            not_checked=(f"{subject}: its supervisor gave no answer",),
        )  # fmt: skip
    if data.status == 0:
        return judged("service", asset.host, name, 1, (), "services")
    down = Finding(
        code=Code.SERVICE_DOWN, host=asset.host, asset=name, subject=subject, degree=Degree.TOTAL,
        expected="running", actual=data.words or _DOWN[data.status],
    )  # fmt: skip
    return judged("service", asset.host, name, 1, (down,), "services")
