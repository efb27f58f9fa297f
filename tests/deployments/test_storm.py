"""A storm of alerts at a tenth of its size; `make bench` has it whole (N4, guarantees: bars)."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.alerts.spool import Spool
from blocks.home import open_store
from deployments.demo.processes import free_port
from model.journal import Noted
from tasks.alerting import MOST_NOTES, Alerting
from tasks.work import load_plan
from tests.support.storm import Gateway, Size, incidents, kept, rage, write_plan

TENTH = Size(alerts=2_000, seconds=1.0)


def test_gateway_killed_in_a_storm_loses_nothing_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 6, must show 2: 2,000 alerts `kill -9` in the middle, one incident per host and cause."""
    home, port = tmp_path / "home", free_port()
    monkeypatch.setenv("REINSTATE_HOME", str(home))
    plan = write_plan(tmp_path, TENTH)
    file, store, started = load_plan(str(plan)), open_store(), list[str]()
    gateway = Gateway(plan, home, port)
    held: list[set[str]] = []

    def deal() -> None:
        spool = Spool(home / "alerts")
        alerting = Alerting(
            store, spool, lambda: {file.plan.name: file}, lambda name, ident: started.append(ident)
        )
        alerting.deal()
        spool.close()

    def kill() -> None:
        gateway.kill_and_start()
        held.append(kept(home))
        deal()

    gateway.start()
    try:
        gateway.wait()
        storm = rage(port, TENTH, kill, 0.5)
    finally:
        gateway.stop()
    deal()
    deal()
    assert [] == storm.given_up
    assert storm.cut > 0, "it was killed while messages were under way"
    assert set(storm.before) <= held[0], "acknowledged before the kill, and on the disk after it"
    assert TENTH.alerts == len(storm.taken) == len(kept(home))
    assert {1} == set(incidents(store).values())
    assert TENTH.hosts * TENTH.causes == len(incidents(store)) == len(started) == len(set(started))
    for ident in store.incidents():
        assert MOST_NOTES >= sum(isinstance(r.payload, Noted) for r in store.read(ident))
