"""Asking for more leads back to the diagnosis; an approval can be taken back until the repair begins (R-RESP-3)."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta

import pytest

from blocks.hosts.base import Connection
from flows import stages
from flows.gate import description
from model.errors import Refused, ReinstateError, Withdrawn
from model.journal import Confirmed, Intent, State
from model.outcome import Gate, RunVerdict, Stage
from model.signoff import Decision
from model.steps import Ask, Run, next_step
from tasks import act as acting
from tasks.act import act, take_leases
from tasks.report import build_report
from tasks.report_pages import report_markdown
from tasks.voting import gate_digest, open_gate
from tasks.work import Work, open_work
from tests.support.locally import begin
from tests.support.site import Later, Site, later, server, site

__all__ = ["later", "server", "site"]


@pytest.fixture
def asked(site: Site) -> Work:
    """A recovery that waits for two signatures on its proposal."""
    site.write(signoff={"decide": {"roles": ["leading_group"], "quorum": 2}})
    site.world.back_up()
    site.damage()
    return open_work(begin(site.plan))


def step(work: Work) -> object:
    found = next_step(work.state())
    return found.gate if isinstance(found, Ask) else found.stage if isinstance(found, Run) else found


def test_question_leads_to_a_new_diagnosis_and_a_new_proposal(site: Site, asked: Work) -> None:
    """What was signed before does not count for it, and whoever signs sees what was asked."""
    incident = asked.incident.id
    site.sign(incident, "lena")
    before = gate_digest(asked.state(), Gate.DECIDE)
    (site.world.files / "below" / "b.bin").write_bytes(b"also damaged")  # what omar suspects
    site.sign(incident, "omar", Decision.ASK)
    assert Stage.CONFIRM is step(asked)
    assert "omar asked for more: omar says so." in next_step(asked.state()).reason
    begin(site.plan, incident)
    state = asked.state()
    assert Gate.DECIDE is step(asked)
    assert before != gate_digest(state, Gate.DECIDE)
    assert 2 == sum(isinstance(r.payload, Confirmed) for r in asked.store.read(incident))
    shown = description(asked, open_gate(asked, Gate.DECIDE), Gate.DECIDE)
    for words in (
        "### Asked for more", "**Omar** at ", "omar says so.", "After this question everything was examined",
        "**Lena** (lena): has not signed", "0 of 2 signed", "b.bin",
    ):  # fmt: skip
        assert words in shown
    for person in ("lena", "omar"):
        site.sign(incident, person)
    begin(site.plan, incident)
    assert bytes(range(256)) * 16 == (site.world.files / "below" / "b.bin").read_bytes()
    assert "ask for more" in report_markdown(build_report(asked))


def test_nothing_is_signed_between_a_question_and_what_it_leads_to(site: Site, asked: Work) -> None:
    incident = asked.incident.id
    site.sign(incident, "omar", Decision.ASK)
    with pytest.raises(Refused, match="omar asked for more, so this is looked at again"):
        site.sign(incident, "lena", gate=Gate.DECIDE)
    assert asked.state().signed(Gate.DECIDE) is None


def test_question_about_the_result_checks_it_again(site: Site, asked: Work) -> None:
    incident = asked.incident.id
    for person in ("lena", "omar"):
        site.sign(incident, person)
    begin(site.plan, incident)
    assert Gate.ACCEPT is step(asked)
    before = gate_digest(asked.state(), Gate.ACCEPT)
    site.sign(incident, "lena", Decision.ASK)
    assert Stage.VERIFY is step(asked)
    begin(site.plan, incident)
    assert Gate.ACCEPT is step(asked)
    assert before != gate_digest(asked.state(), Gate.ACCEPT)
    shown = description(asked, open_gate(asked, Gate.ACCEPT), Gate.ACCEPT)
    assert "After this question the result was checked again" in shown
    site.sign(incident, "lena")
    begin(site.plan, incident)
    ended = asked.state().ended
    assert ended is not None
    assert RunVerdict.RECOVERED is ended.verdict


def test_damage_that_is_gone_when_asked_again_ends_the_incident(site: Site, asked: Work) -> None:
    site.sign(asked.incident.id, "omar", Decision.ASK)
    (site.world.files / "a.txt").write_text("all is well\n")
    begin(site.plan, asked.incident.id)
    ended = asked.state().ended
    assert ended is not None
    assert RunVerdict.STOPPED_SAFE is ended.verdict


def test_approval_taken_back_opens_the_gate_and_what_is_signed_then_is_preserved_anew(
    site: Site, asked: Work, later: Later
) -> None:
    """Even after everything was preserved; the snapshot of the next proposal holds what that one touches (G4)."""
    incident = asked.incident.id
    for person in ("lena", "omar"):
        site.sign(incident, person)
    asyncio.run(stages.preserve.fn(incident))
    assert Stage.REPAIR is step(asked)
    site.sign(incident, "lena", Decision.WITHDRAW, gate=Gate.DECIDE)
    assert Gate.DECIDE is step(asked)
    shown = description(asked, asked.state(), Gate.DECIDE)
    assert "**Lena** (lena): took it back at " in shown
    assert "**Omar** (omar): approved at " in shown
    (site.world.files / "below" / "b.bin").write_bytes(b"also damaged")
    site.sign(incident, "lena", Decision.ASK)
    begin(site.plan, incident)
    later(timedelta(minutes=2))  # for fresh codes
    for person in ("lena", "omar"):
        site.sign(incident, person)
    begin(site.plan, incident)
    assert Gate.ACCEPT is step(asked)
    assert bytes(range(256)) * 16 == (site.world.files / "below" / "b.bin").read_bytes()
    site.sign(incident, "omar", Decision.DENY)
    begin(site.plan, incident)
    ended = asked.state().ended
    assert ended is not None
    assert RunVerdict.ROLLED_BACK is ended.verdict
    assert b"also damaged" == (site.world.files / "below" / "b.bin").read_bytes()
    assert "damaged\n" == (site.world.files / "a.txt").read_text()


def test_approval_taken_back_may_be_given_again(site: Site, asked: Work) -> None:
    incident = asked.incident.id
    for person, decision in (
        ("lena", Decision.APPROVE), ("omar", Decision.APPROVE), ("lena", Decision.WITHDRAW), ("lena", Decision.APPROVE),
    ):  # fmt: skip
        site.sign(incident, person, decision, gate=Gate.DECIDE)
    begin(site.plan, incident)
    assert "all is well\n" == (site.world.files / "a.txt").read_text()


def test_repair_that_has_begun_is_not_taken_back(site: Site, asked: Work) -> None:
    incident = asked.incident.id
    for person in ("lena", "omar"):
        site.sign(incident, person)
    begin(site.plan, incident)
    with pytest.raises(Refused, match="the repair has begun") as caught:
        site.sign(incident, "lena", Decision.WITHDRAW, gate=Gate.DECIDE)
    assert "deny at accept" in caught.value.remedy
    assert Gate.ACCEPT is step(asked)


def test_action_is_refused_once_an_approval_was_taken_back(site: Site, asked: Work) -> None:
    """At the worker: the stage stops, nothing is changed, and the gate is open."""
    incident = asked.incident.id
    for person in ("lena", "omar"):
        site.sign(incident, person)
    asyncio.run(stages.preserve.fn(incident))
    proposal = asked.state().proposal
    assert proposal is not None
    site.sign(incident, "omar", Decision.WITHDRAW, gate=Gate.DECIDE)
    with pytest.raises(Withdrawn, match="omar took their approval back before anything was changed"):
        act(asked, proposal.actions[0].id, lambda done, total: None)
    assert not any(isinstance(r.payload, Intent) for r in asked.store.read(incident))
    assert "damaged\n" == (site.world.files / "a.txt").read_text()


def test_approval_taken_back_after_the_guard_and_before_the_intent_stops_the_action(
    site: Site, asked: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent is written only while the proposal is signed, whatever was true a moment before."""
    incident = asked.incident.id
    for person in ("lena", "omar"):
        site.sign(incident, person)
    asyncio.run(stages.preserve.fn(incident))
    take_leases(asked)
    proposal, guard, passed = asked.state().proposal, acting.guard, list[int]()
    assert proposal is not None

    def guarded(work: Work, state: State, host: str, connection: Connection) -> int:
        passed.append(guard(work, state, host, connection))
        site.sign(incident, "omar", Decision.WITHDRAW, gate=Gate.DECIDE)
        return passed[-1]

    monkeypatch.setattr(acting, "guard", guarded)
    with pytest.raises(Withdrawn, match="omar took their approval back"):
        act(asked, proposal.actions[0].id, lambda done, total: None)
    assert 1 == len(passed)
    assert not any(isinstance(r.payload, Intent) for r in asked.store.read(incident))
    assert "damaged\n" == (site.world.files / "a.txt").read_text()


def test_taking_back_and_beginning_in_the_same_moment_have_one_outcome(
    site: Site, asked: Work, later: Later
) -> None:
    """Either the repair begins and the withdrawal is refused, or it counts and nothing is changed."""
    seen: Counter[str] = Counter()
    incident = asked.incident.id
    for turn in range(8):
        later(timedelta(minutes=2))
        for person in ("lena", "omar"):
            site.sign(incident, person)
        if step(asked) is Stage.PRESERVE:  # kept once for one proposal
            asyncio.run(stages.preserve.fn(incident))
        proposal = asked.state().proposal
        assert proposal is not None
        take_leases(asked)
        action, said, start = proposal.actions[0].id, list[str](), threading.Barrier(2)

        def repair(
            incident: str = incident, action: str = action, start: threading.Barrier = start,
            said: list[str] = said,
        ) -> None:  # fmt: skip
            start.wait()
            try:
                act(open_work(incident), action, lambda done, total: None)
            except ReinstateError as error:
                said.append(error.code)

        def take_back(
            incident: str = incident,
            start: threading.Barrier = start,
            said: list[str] = said,
            turn: int = turn,
        ) -> None:
            start.wait()
            threading.Event().wait(turn * 0.045)
            try:
                site.sign(incident, "omar", Decision.WITHDRAW, gate=Gate.DECIDE)
            except Refused:
                said.append("too late")

        threads = [threading.Thread(target=each) for each in (repair, take_back)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = asked.state()
        begun = bool(state.intents)
        assert (["too late"] if begun else ["WITHDRAWN"]) == said
        assert (Decision.APPROVE if begun else None) is state.signed(Gate.DECIDE)
        assert begun is ("all is well\n" == (site.world.files / "a.txt").read_text())
        seen[said[0]] += 1
        if begun:
            begin(site.plan, incident)
            site.sign(incident, "lena", Decision.DENY)
            begin(site.plan, incident)
            asked = open_work(begin(site.plan))
            incident = asked.incident.id
        else:
            site.sign(incident, "lena", Decision.WITHDRAW, gate=Gate.DECIDE)
    assert seen.keys() <= {"too late", "WITHDRAWN"}
