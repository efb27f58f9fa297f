"""From the alert to the end, a person only signs: a real Alertmanager, a running `up` (R-USE-6, R-RESP-1…3)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.alerts.spool import Spool
from deployments.demo.planning import HOST
from deployments.demo.processes import free_port
from flows.events import ALERTED
from model.incident import Source
from model.journal import Confirmed, Opened, Proposed
from model.outcome import Gate
from model.steps import Ask, next_step
from tasks.work import open_work
from tests.support.alertmanager import alertmanager, unpacked
from tests.support.installation import Installation
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.lab]

TOKEN = "alert-token-5d1c"


@pytest.fixture
def alerted(installation: Installation) -> Iterator[int]:
    """`up` takes alerts at this port, until the test ends."""
    before, port = installation.plan.read_text(), free_port()
    secret = installation.plan.parent / "alert-token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    installation.plan.write_text(
        f"{before}alerts:\n  sources:\n    prometheus: {{kind: alertmanager, secrets: ['file:alert-token']}}\n"
        f"  hosts: {{'shop.example.org:9100': {HOST}}}\n"
    )
    installation.stop()
    installation.start("--alerts", f"127.0.0.1:{port}")
    yield port
    installation.stop()
    installation.plan.write_text(before)
    installation.start()


def test_alertmanager_fires_and_a_person_only_signs(
    installation: Installation, alerted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 6, must show 1: opened, confirmed and proposed without a hand; the gateway was killed in between."""
    root = tmp_path / "alertmanager"
    if not unpacked(root):
        pytest.skip("Debian's prometheus-alertmanager cannot be fetched")
    before = set(installation.store.incidents())
    (gateway,) = installation.pids("deployments.gateway")
    os.kill(gateway, signal.SIGKILL)
    wait_for(
        "the gateway is back",
        lambda: [p for p in installation.pids("deployments.gateway") if p != gateway],
        60,
    )
    installation.damage("config")
    receiver = f"http://127.0.0.1:{alerted}/alerts/demo-shop/prometheus"
    with alertmanager(root, receiver, TOKEN) as monitor:
        fired = time.monotonic()
        monitor.fire(alertname="ShopDown", instance="shop.example.org:9100", severity="critical")
        new = wait_for("an incident is open", lambda: set(installation.store.incidents()) - before, 90)
        opened = time.monotonic() - fired
        (ident,) = new
        work = open_work(ident, installation.store)
        installation.gate(work, Gate.DECIDE)
        asked = time.monotonic() - fired
        monitor.fire(alertname="ShopDown", instance="shop.example.org:9100", severity="critical")
        monitor.fire(alertname="ShopDown", instance="elsewhere.example.org:9100")
        time.sleep(4)
    assert new == set(installation.store.incidents()) - before, "one incident for a host and a cause"
    assert ("prometheus", Source.WEBHOOK) == (work.incident.reported_by, work.incident.source)
    assert work.incident.summary.startswith(f"ShopDown on {HOST}: The shop does not answer")
    records = [r.payload for r in installation.store.read(ident)]
    assert [True] * 3 == [any(isinstance(p, kind) for p in records) for kind in (Opened, Confirmed, Proposed)]
    assert {} == installation.state(work).intents, "an alert repairs nothing"
    assert isinstance(next_step(installation.state(work)), Ask)
    told = installation.ask("events/filter", filter={"event": {"name": [ALERTED]}, "order": "DESC"})["events"]
    assert [(ident, HOST, "ShopDown")] == [
        (one["payload"]["incident"], one["payload"]["host"], one["payload"]["cause"]) for one in told
    ]
    installation.sign(work, Gate.DECIDE, "lena")
    installation.sign(work, Gate.ACCEPT, "omar")
    installation.finish(work)
    refused = Spool(installation.home / "alerts").refusals()
    assert any("elsewhere.example.org" in reason for *_, reason in refused)
    with capsys.disabled():
        print(f"\nalert to open incident {opened:.1f} s, to the proposal {asked:.1f} s")
