"""Drills that do not come to their end: pre-empted by a real incident, out of time, killed; nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from blocks.journals.directory import DirectoryJournal
from flows.drill import DrillStops, drill, reap
from flows.gate import WaitingForSignOff
from model.canonical import now
from model.errors import Refused
from model.incident import Source
from model.journal import Payload, Record, StageEnded
from model.outcome import RunVerdict
from tasks.work import load_plan, open_incident, open_work
from tests.support.drillworld import DrillSite, mark, servers, site
from tests.support.thorough import variants

__all__ = ["servers", "site"]

pytestmark = pytest.mark.slow
KIND = "deleted-directory"


def begin(site: DrillSite, **given: object) -> str:
    return asyncio.run(drill.fn(plan=site.plan, seed=7, faults=[KIND], **given))  # type: ignore[arg-type]


def report(site: DrillSite) -> str:
    """A real incident of the same plan."""
    return open_incident(load_plan(site.plan), site.store, "It is real.", "rita", Source.CLI).incident.id


def require_clean(site: DrillSite) -> None:
    """No lease is held, no folder of a drill is on the host, and another drill may begin."""
    for known in site.drills():
        assert known.ended is not None
        assert ({}, ()) == (known.tokens, known.ended.left_behind)
        if known.incident:
            assert open_work(known.incident).state().ended is not None
    folder = site.staging.folder / "state/drill"
    assert [] == (list(folder.iterdir()) if folder.exists() else [])


@pytest.mark.parametrize(
    "moment",
    variants(("fault_planting", "effect"), ("drill_incident", "confirmed", "gate_opened", "verified")),
)
def test_real_incident_preempts_the_drill_at_its_next_step(
    site: DrillSite, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real incident comes in at some moment: the drill stops, takes back what it did, and says why."""
    before, real = site.content(), list[str]()
    append = DirectoryJournal.append

    def watched(self: DirectoryJournal, ident: str, payload: Payload, expect: int | None = None) -> Record:
        record = append(self, ident, payload, expect)
        if payload.type == moment and not real:
            real.append("")
            real[0] = report(site)
        return record

    monkeypatch.setattr(DirectoryJournal, "append", watched)
    with pytest.raises(DrillStops, match="it is real"):
        begin(site)
    (known,) = site.drills()
    assert "pre-empted" == known.outcome
    assert known.ended is not None
    assert real[0] in known.ended.sentence
    assert before == site.content()
    require_clean(site)
    if moment == "fault_planting":
        assert "" == known.incident
    else:
        ended = open_work(known.incident).state().ended
        assert ended is not None
        assert RunVerdict.RECOVERED is not ended.verdict


def test_drill_does_not_begin_while_a_real_incident_is_open(site: DrillSite) -> None:
    """People are needed elsewhere: nothing is planted."""
    report(site)
    with pytest.raises(DrillStops, match="it is real"):
        begin(site)
    assert ((), "") == (site.drills()[0].plants, site.drills()[0].incident)
    require_clean(site)


def test_staging_is_held_by_one_drill(site: DrillSite) -> None:
    """A second drill is refused while the first one waits for people, and may begin afterwards."""
    with pytest.raises(WaitingForSignOff):
        begin(site, sign_off="people")
    with pytest.raises(Refused, match="holds it"):
        begin(site)
    first, second = site.drills()
    assert (None, "refused") == (first.outcome, second.outcome)


def test_drill_whose_lease_is_over_is_cleaned_up(site: DrillSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody signs: when the lease ends the reaper takes back what was planted, and gives the hosts back."""
    before = site.content()
    with pytest.raises(WaitingForSignOff):
        begin(site, sign_off="people")
    assert before != site.content()
    assert [] == asyncio.run(reap(print))
    (known,) = site.drills()
    assert known.began is not None
    expired = known.began.expires_at
    monkeypatch.setattr("tasks.drill_policy.now", lambda: expired)
    assert [known.id] == asyncio.run(reap(print))
    assert "expired" == site.drills()[0].outcome
    assert before == site.content()
    require_clean(site)
    stages = [r.payload for r in site.store.read(known.incident) if isinstance(r.payload, StageEnded)]
    assert ["EXPIRED"] == [stage.code for stage in stages if not stage.ok]
    assert now() < expired


@pytest.mark.parametrize(
    "cut",
    variants(
        ("after:fault_planting", "before:effect", "before:drill_ended"),
        ("after:drill_lease", "before:fault_planted", "before:drill_incident", "after:drill_incident",
         "after:intent", "before:fault_undone"),
    ),
)  # fmt: skip
def test_killed_drill_is_cleaned_up(site: DrillSite, cut: str) -> None:
    """`kill -9` anywhere: staging is as it was after `reinstate drill --reap`, and the incident has an end."""
    before = site.content()
    argv = [sys.executable, "-m", "tests.support.drill_cut", site.plan, KIND, cut]
    assert -signal.SIGKILL == subprocess.run(argv, check=False, timeout=300).returncode
    assert [site.drills()[0].id] == asyncio.run(reap(print))
    assert before == site.content()
    assert "reaped" == site.drills()[0].outcome
    require_clean(site)
    assert [] == asyncio.run(reap(print))


def test_host_that_no_longer_says_staging_is_not_repaired(site: DrillSite) -> None:
    """G12: the marker is asked for before every repair, and before anything is taken back."""
    before = site.content()
    with pytest.raises(WaitingForSignOff):
        begin(site, sign_off="people")
    (known,) = site.drills()
    damaged = site.content()
    mark(site.staging, "")
    site.sign(known.incident, "lena")
    with pytest.raises(Refused, match="does not say that it is staging"):
        asyncio.run(drill.fn(drill=known.id))
    assert damaged == site.content()
    assert None is site.drills()[0].outcome
    mark(site.staging, "staging")
    assert [known.id] == asyncio.run(reap(print))
    assert before == site.content()
    require_clean(site)


def test_drill_that_waits_for_people_gives_way_to_a_real_incident(site: DrillSite) -> None:
    """Nobody has to sign the drill away: the reaper ends it, and says why."""
    before = site.content()
    with pytest.raises(WaitingForSignOff):
        begin(site, sign_off="people")
    report(site)
    (known,) = site.drills()
    assert [known.id] == asyncio.run(reap(print))
    assert "pre-empted" == site.drills()[0].outcome
    assert before == site.content()
    require_clean(site)
