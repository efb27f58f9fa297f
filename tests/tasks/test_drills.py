"""A drill does real damage to staging, recovers as from a real incident, and leaves nothing behind (R-DRILL-1…3)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flows.drill import DrillStops, drill, reap
from flows.gate import WaitingForSignOff
from flows.recover import recover
from model.canonical import now
from model.errors import Refused
from model.finding import Verdict
from model.incident import Kind, Source
from model.journal import Voted
from model.outcome import Gate
from model.signoff import Decision, Vote
from tasks.simulated_votes import simulate_if_due
from tasks.staging_facts import NotStaging, prove_staging
from tasks.voting import gate_digest, gate_standing
from tasks.work import PlanFile, load_plan, open_incident, open_work
from tests.support.drillworld import STAGING_ID, DrillSite, mark, servers, site, staging_server
from tests.support.sshservers import Server, find_sshd, openssh_server

__all__ = ["servers", "site"]


def begin(site: DrillSite, **given: object) -> str:
    return asyncio.run(drill.fn(plan=site.plan, **given))  # type: ignore[arg-type]  # any parameter of the flow


@pytest.mark.parametrize("kind", ["deleted-directory", "overwritten-documents", "permissions"])
def test_drill_plants_recovers_and_leaves_nothing(site: DrillSite, kind: str) -> None:
    """R-DRILL-1: detected by the ordinary checks, restored from production's recovery point, nothing left behind."""
    before = site.content()
    said = begin(site, seed=7, faults=[kind])
    assert said.startswith("RECOVERED: ")
    (done,) = site.drills()
    assert done.ended is not None
    assert ("done", ()) == (done.ended.outcome, done.ended.left_behind)
    assert done.before is not None
    assert done.after is not None
    assert (True, True) == (done.before.ok, done.after.ok)
    (plant,) = done.plants
    assert plant.planted is not None
    assert plant.undone is not None
    assert kind == plant.fault.kind
    assert before == site.content()
    assert {} == done.tokens
    assert not (site.staging.folder / "state/drill").exists() or not list(
        (site.staging.folder / "state/drill").iterdir()
    )
    state = open_work(done.incident).state()
    assert state.confirmed is not None
    found = [finding for result in state.confirmed.results for finding in result.findings]
    assert found
    assert all(plant.planted.explains(finding) for finding in found)
    assert Kind.DRILL is state.require_incident().kind
    assert {"simulated"} == {vote.proof for vote in state.votes}
    assert all(r.verdict is Verdict.PASSED for r in done.after.results)


FACTS = ("plan", "marker", "credentials")


@pytest.mark.parametrize(
    "wrong", [tuple(f for n, f in enumerate(FACTS) if bits >> n & 1) for bits in range(1, 8)], ids="+".join
)
def test_drill_with_wrong_facts_is_refused_by_name_before_anything_is_touched(
    site: DrillSite, wrong: tuple[str, ...]
) -> None:
    """G12: each of the 7 wrong combinations of the three facts; one record, production and staging as they were."""
    if "plan" in wrong:  # what is published says another stand-in
        site.stand_in(machine_id="0" * 32)
        site.publish()
        site.stand_in(machine_id=STAGING_ID)
    if "marker" in wrong:
        mark(site.staging, "production" if len(wrong) > 1 else "")
    if "credentials" in wrong:
        known = site.production.folder / "client.pub"
        known.write_bytes(known.read_bytes() + (site.staging.folder / "client.pub").read_bytes())
    before, states = site.content(), [tree(site.production), tree(site.staging)]
    with pytest.raises(NotStaging) as refused:
        begin(site, seed=7)
    assert list(wrong) == [fact for fact in FACTS if f"{fact}: " in refused.value.what]
    (known_drill,) = site.drills()
    assert known_drill.ended is not None
    assert "refused" == known_drill.ended.outcome
    assert (None, (), "", {}) == (
        known_drill.proven, known_drill.plants, known_drill.incident, known_drill.tokens,
    )  # fmt: skip
    kinds = [record.payload.type for record in site.store.read(known_drill.id)]
    assert ["opened", "drill_began", "drill_ended"] == kinds
    assert (before, states) == (site.content(), [tree(site.production), tree(site.staging)])
    assert [] == site.store.incidents()


def tree(server: Server) -> list[str]:
    """Everything below a server's state directory."""
    return sorted(str(path) for path in (server.folder / "state").rglob("*"))


@pytest.mark.parametrize("shared", ["machine_id", "host_key", "address"])
def test_stand_in_that_is_a_production_host_is_refused(site: DrillSite, shared: str) -> None:
    """G12: machine-id, host key and address of a stand-in are those of no production host of the plan."""
    there = site.production.host.model_dump(mode="json")
    same = {key: there[key] for key in (("address", "port") if shared == "address" else (shared,))}
    site.stand_in(**same)
    with pytest.raises(NotStaging, match=f"its {shared.replace('_', '[- ]')} is that of production host web"):
        begin(site, seed=7)
    assert "refused" == site.drills()[0].outcome


def test_plan_without_stand_in_for_a_host_is_refused(site: DrillSite) -> None:
    """R-DRILL-3: a host of an asset without stand-in would be production."""
    site.write(drill={"sign_off": "simulated"})
    with pytest.raises(Refused, match="nothing stands in for web"):
        begin(site)
    assert [] == site.store.incidents()
    assert ["refused"] == [known.outcome for known in site.drills()]
    assert [] == asyncio.run(reap(print))


def test_drill_connects_to_no_production_host(site: DrillSite) -> None:
    """G12: whatever asks for it, the plan of a drill opens no connection to a host that is not staging."""
    begin(site, seed=7, faults=["permissions"])
    file = open_work(site.drills()[0].incident).file
    hosts = {"web": file.plan.hosts["web"].model_copy(update={"role": "production"})}
    changed = PlanFile(file.plan.model_copy(update={"hosts": hosts}), file.text, file.path)
    with pytest.raises(Refused, match="connects to staging only"):
        changed.connect("web")


def test_incident_of_a_drill_never_says_what_was_planted(site: DrillSite) -> None:
    """What people sign, are told and see says no more than that a drill began, beyond what the checks found."""
    begin(site, seed=7, faults=["deleted-directory"])
    (done,) = site.drills()
    records = "\n".join(record.model_dump_json() for record in site.store.read(done.incident))
    files = [path for path in site.store.folder(done.incident).rglob("*") if path.is_file()]
    pages = "\n".join(path.read_text(errors="replace") for path in files)
    assert "A drill began." in records
    plant = done.plants[0]
    assert plant.planted is not None
    for text in (records, pages):
        assert plant.planted.sentence not in text
        assert plant.fault.id not in text
        assert str(plant.fault.kind) not in text


def test_simulated_vote_settles_no_real_incident(site: DrillSite) -> None:
    """G6: a vote cast by policy is written down as such, and counts in no real incident."""
    site.damage()
    work = open_incident(load_plan(site.plan), site.store, "Damaged.", "rita", Source.CLI)
    with pytest.raises(WaitingForSignOff):
        asyncio.run(recover.fn(incident=work.incident.id))
    state = work.state()
    simulate_if_due(work, Gate.DECIDE)
    assert () == work.state().votes
    vote = Vote(
        gate=Gate.DECIDE, digest=gate_digest(state, Gate.DECIDE), person="lena", role="leading_group",
        decision=Decision.APPROVE, reason="Forged.", proof="simulated", proof_ref="drl-20260101-000000-0000", at=now(),
    )  # fmt: skip
    work.record(Voted(vote=vote))
    standing = gate_standing(work, work.state(), Gate.DECIDE)
    assert None is standing.settled
    assert "a simulated sign-off counts in a drill that allows it only" in standing.sentence
    with pytest.raises(WaitingForSignOff):
        asyncio.run(recover.fn(incident=work.incident.id))


def test_real_people_sign_a_drill_that_asks_them(site: DrillSite) -> None:
    """R-DRILL-1: with `sign_off: people` the drill waits, and goes on when they signed."""
    with pytest.raises(WaitingForSignOff):
        begin(site, seed=7, faults=["permissions"], sign_off="people")
    (waiting,) = site.drills()
    assert waiting.ended is None
    assert [] == asyncio.run(reap(print))
    site.sign(waiting.incident, "lena")
    assert [] == asyncio.run(reap(print)), "it is signed, and its run is about to go on"
    with pytest.raises(WaitingForSignOff):
        asyncio.run(drill.fn(drill=waiting.id))
    site.sign(waiting.incident, "omar")
    assert asyncio.run(drill.fn(drill=waiting.id)).startswith("RECOVERED: ")
    assert "done" == site.drills()[0].outcome
    assert {"totp"} == {vote.proof for vote in open_work(waiting.incident).state().votes}


def test_unhealthy_staging_is_not_damaged_further(site: DrillSite) -> None:
    """The hypothesis comes first: what is broken before would be taken for the drill's own."""
    site.damage()
    before = site.content()
    with pytest.raises(DrillStops, match="Staging is not well"):
        begin(site, seed=7)
    (ended,) = site.drills()
    assert ("unhealthy", (), "") == (ended.outcome, ended.plants, ended.incident)
    assert before == site.content()
    assert [] == site.store.incidents()


def test_staging_without_room_for_a_recovery_is_not_damaged(site: DrillSite) -> None:
    """Whether the recovery could be done there is asked first, as by `readiness`."""
    site.write(readiness={"head_room": 1 << 50})
    before = site.content()
    with pytest.raises(DrillStops, match="Staging is not ready: DISK_FULL web /"):
        begin(site, seed=7)
    (ended,) = site.drills()
    assert ("unhealthy", (), "") == (ended.outcome, ended.plants, ended.incident)
    assert (False, ()) == (ended.before and ended.before.ok, ended.before and ended.before.results)
    assert before == site.content()


def test_tabletop_is_played_through_without_any_host(site: DrillSite) -> None:
    """R-DRILL-1: people answer and sign a scenario told as a report; no host is connected to."""
    site.write(drill={"count": 2, "mode": "tabletop"})  # not even staging is needed
    before = site.content(), log(site.production), log(site.staging)
    with pytest.raises(WaitingForSignOff):
        begin(site, seed=3)
    (known,) = site.drills()
    work = open_work(known.incident)
    assert work.incident.summary.startswith("A tabletop exercise. On web, files: ")
    state = work.state()
    assert state.proposal is not None
    assert ((), 1) == (state.proposal.actions, len(state.proposal.unmet))
    assert state.proposal.unmet[0].remedy.startswith("In earnest: ")
    with pytest.raises(Refused, match="connects to no host"):
        work.file.connect("web")
    site.sign(known.incident, "lena")
    with pytest.raises(WaitingForSignOff):
        asyncio.run(drill.fn(drill=known.id))
    site.sign(known.incident, "omar")
    said = asyncio.run(drill.fn(drill=known.id))
    assert "RECOVERED: Played through on paper; nothing was done to any host." == said
    assert "done" == site.drills()[0].outcome
    assert (site.content(), log(site.production), log(site.staging)) == before
    assert {} == open_work(known.incident).state().intents


def log(server: Server) -> str:
    """What a server wrote."""
    return (server.folder / "log").read_text()


def test_staging_key_is_refused_by_production_in_the_words_of_its_own_sshd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12, R-DRILL-3: a drill that is given production's address cannot log in there; nothing was run."""
    sshd = find_sshd()
    if sshd is None:
        pytest.skip("OpenSSH's sshd is not installed")
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    with (
        openssh_server(tmp_path / "production", sshd) as production,
        staging_server(tmp_path / "staging") as staging,
    ):
        site = DrillSite(production, staging, tmp_path / "world")
        prove_staging(load_plan(site.plan), site.store)
        assert "Failed publickey" in log(production)
        assert "Accepted publickey" not in log(production)
        known = production.folder / "client.pub"
        known.write_bytes(known.read_bytes() + (staging.folder / "client.pub").read_bytes())
        with pytest.raises(NotStaging, match="the staging key logs in at production host web"):
            prove_staging(load_plan(site.plan), site.store)
        accepted = log(production).partition("Accepted publickey")[2]
        assert accepted
        assert "Starting session" not in accepted, "a login that succeeds is closed at once"
