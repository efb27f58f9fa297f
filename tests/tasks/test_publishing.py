"""Versions of a plan: published by signature, followed by real incidents, set aside only by two people (R-REV-3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.home import open_store, signing_key
from blocks.journals.documents import seal
from flows.gate import WaitingForSignOff, description
from flows.publish_plan import publish_plan
from model.canonical import now
from model.errors import BadInput, Damaged, Refused
from model.incident import Kind, Source
from model.journal import PlanPublished, Voted
from model.outcome import Gate, RunVerdict, Stage
from model.plan_diff import compare_plans
from model.planfile import plan_digest, read_plan
from model.revision import revise
from model.signoff import Decision, Vote
from model.steps import Ask, Run, next_step
from tasks.act import act
from tasks.publishing import open_publication, publish
from tasks.report import build_report
from tasks.signed import require_signed
from tasks.versions import glass_needed, key_of, versions_of
from tasks.voting import claim, gate_digest, open_gate
from tasks.work import Work, load_plan, open_incident, open_work
from tests.support.locally import begin
from tests.support.site import Later, Site, later, server, site

__all__ = ["later", "server", "site"]


def test_whole_cycle_from_an_incident_to_the_next_version_of_its_plan(site: Site) -> None:
    """Issue 5, must show 6: incident → end → review → plan diff → publish v2 → the next run names v2 (R-REV-1…3)."""
    site.world.back_up()
    site.publish("lena")
    site.write()
    site.damage()
    first = begin(site.plan)
    assert 1 == open_work(first).incident.published
    for person in ("lena", "omar"):
        site.sign(first, person)
        begin(site.plan, first)
    state = open_work(first).state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED is state.ended.verdict
    assert state.reviewed is not None
    assert "plan small version 1 (published as 1)" in build_report(open_work(first)).incident.follows

    before = site.world.plan_file.read_text()
    revision = revise(before, site.plan, state)
    assert "2" == revision.version
    found = compare_plans(read_plan(before, "before"), read_plan(revision.text, "after"))
    assert ["version"] == [change.path for change in found.changes]
    site.world.plan_file.write_text(revision.text)
    site.publish("omar", proposed_by="paul")
    assert [(1, "1", "rita", "lena"), (2, "2", "paul", "omar")] == [
        (one.number, one.version, one.proposed_by, one.signed[0].person)
        for one in versions_of(site.store, "small")
    ]

    site.damage()
    second = begin("small")  # by its name: publishing made the file known
    work = open_work(second)
    assert (2, "2") == (work.incident.published, work.incident.plan_version)
    assert "published as 2" in description(work, open_gate(work, Gate.DECIDE), Gate.DECIDE)
    assert None is work.state().glass


def test_plan_that_was_never_published_is_followed_and_that_is_said(site: Site) -> None:
    site.world.back_up()
    site.damage()
    work = open_work(begin(site.plan))
    assert Ask(Gate.DECIDE, "The proposal waits for its sign-off.") == next_step(work.state())
    assert "not published" in description(work, open_gate(work, Gate.DECIDE), Gate.DECIDE)


def changed(site: Site) -> str:
    """An incident that follows a plan which was changed after it was published; the monitor reported it."""
    site.world.back_up()
    site.publish()
    site.write(objectives={"rto": "31m", "rpo": "1h"})
    site.damage()
    return begin(site.plan)


def test_changed_plan_waits_for_two_people_who_break_the_glass(site: Site) -> None:
    """G6: one person is not enough, the form says why, the proposal is signed after it, and the review has an item."""
    incident = changed(site)
    work = open_work(incident)
    assert None is work.incident.published
    shown = description(work, open_gate(work, Gate.BREAK_GLASS), Gate.BREAK_GLASS)
    assert "is not the published version 1" in shown
    assert "0 of 2 signed; may sign: lena, omar, rita, paul." in shown
    assert None is site.sign(incident, "paul").settled
    assert Gate.BREAK_GLASS in {step.gate for step in [next_step(work.state())] if isinstance(step, Ask)}
    assert Decision.APPROVE is site.sign(incident, "lena").settled
    begin(site.plan, incident)
    assert "⚠ This plan is not the published version 1" in description(
        work, open_gate(work, Gate.DECIDE), Gate.DECIDE
    )
    site.sign(incident, "omar")
    begin(site.plan, incident)
    site.sign(incident, "lena")
    begin(site.plan, incident)
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED is state.ended.verdict
    assert any("The glass was broken" in item for item in build_report(work).items)


def test_glass_that_stays_whole_changes_nothing(site: Site) -> None:
    incident = changed(site)
    site.sign(incident, "paul", Decision.DENY)
    begin(site.plan, incident)
    state = open_work(incident).state()
    assert state.ended is not None
    assert "Nothing was changed: Denied by paul." == state.ended.sentence
    assert "damaged\n" == (site.world.files / "a.txt").read_text()


def decided(site: Site) -> Work:
    """The changed plan's incident, its proposal signed, its glass whole."""
    incident = changed(site)
    open_gate(open_work(incident), Gate.DECIDE)
    site.sign(incident, "omar", gate=Gate.DECIDE)
    return open_work(incident)


def test_worker_refuses_a_changed_plan_without_two_people(site: Site, later: Later) -> None:
    """G6, the tasks called directly: nobody, one person, a vote past the form, too late; then it may."""
    work = decided(site)

    def refused(says: str) -> None:
        with pytest.raises(Refused, match=says):
            require_signed(work, work.state())
        with pytest.raises(Refused, match=says):
            act(work, "a01", lambda _done, _all: None)

    refused("0 of 2 signed|nobody signed that")
    site.sign(work.incident.id, "lena", gate=Gate.BREAK_GLASS)
    refused("1 of 2 signed")
    digest = gate_digest(work.state(), Gate.BREAK_GLASS)
    forged = Vote(
        gate=Gate.BREAK_GLASS, digest=digest, person="paul", role="working_group", decision=Decision.APPROVE,
        reason="yes", proof="totp", proof_ref="totp:1", at=now(),
    )  # fmt: skip
    assert work.store.use_code("paul", 1, claim(work, forged.model_copy(update={"digest": "f" * 64}), 0))
    work.record(Voted(vote=forged))
    refused("1 of 2 signed")
    assert Decision.APPROVE is site.sign(work.incident.id, "rita", gate=Gate.BREAK_GLASS).settled
    require_signed(work, work.state())
    later(timedelta(hours=4, seconds=1))
    refused("nothing was begun by then")


def test_reporter_breaks_no_glass_and_nobody_twice(site: Site) -> None:
    site.world.back_up()
    site.publish()
    site.write(objectives={"rto": "31m", "rpo": "1h"})
    work = open_incident(load_plan(site.plan), site.store, "Down.", "paul", Source.CLI)
    for person, says in (("paul", "may not sign it"), ("lena", "already signed")):
        if person == "lena":
            site.sign(work.incident.id, "lena", gate=Gate.BREAK_GLASS)
        with pytest.raises(Refused, match=says):
            site.sign(work.incident.id, person, gate=Gate.BREAK_GLASS)


def test_word_of_two_people_that_ran_out_is_asked_for_again(site: Site, later: Later) -> None:
    incident = changed(site)
    for person in ("paul", "lena"):
        site.sign(incident, person)
    later(timedelta(hours=5))
    begin(site.plan, incident)
    step = next_step(open_work(incident).state())
    assert isinstance(step, Ask)
    assert Gate.BREAK_GLASS is step.gate


def test_drill_may_follow_a_changed_plan(site: Site) -> None:
    """A changed plan is tried out before it is published."""
    work = decided(site)
    assert None is not glass_needed(site.store, work.incident)
    assert None is glass_needed(site.store, work.incident.model_copy(update={"kind": Kind.DRILL}))


def test_incident_goes_on_with_its_plan_when_a_newer_version_is_published_meanwhile(site: Site) -> None:
    site.world.back_up()
    site.publish()
    site.damage()
    incident = begin(site.plan)
    site.sign(incident, "lena")
    site.write(objectives={"rto": "31m", "rpo": "1h"})
    site.publish("omar")
    require_signed(open_work(incident), open_work(incident).state())


def test_version_is_signed_by_the_rule_of_the_version_before_and_not_by_who_proposes_it(site: Site) -> None:
    """A plan cannot give itself other signers."""
    site.publish()
    site.write(roles={"leading_group": ["paul"], "working_group": ["rita", "paul"]})
    with pytest.raises(BadInput, match="is not a person of the published plan"):
        open_publication(load_plan(site.plan), site.store, "mallory", Source.CLI)
    ident = open_publication(load_plan(site.plan), site.store, "lena", Source.CLI).incident.id
    for person, says in (("paul", "does not hold a role"), ("lena", "may not sign")):
        with pytest.raises(Refused, match=says):
            site.sign(ident, person)
    shown = description(open_work(ident), open_gate(open_work(ident), Gate.PUBLISH), Gate.PUBLISH)
    assert "may now be signed by paul" in shown
    assert "was: lena, omar" in shown
    site.sign(ident, "omar")
    assert "is published" in publish(open_work(ident))


def test_denied_version_is_not_published_and_the_same_text_twice_is_none(site: Site) -> None:
    ident = open_publication(load_plan(site.plan), site.store, "rita", Source.CLI).incident.id
    with pytest.raises(BadInput, match="nothing is to be published"):
        publish(open_work(ident))
    with pytest.raises(WaitingForSignOff):
        asyncio.run(publish_plan.fn(publication=ident))
    site.sign(ident, "lena", Decision.DENY)
    assert "was not published. Denied by lena." in asyncio.run(publish_plan.fn(publication=ident))
    assert () == versions_of(site.store, "small")
    site.publish()
    with pytest.raises(BadInput, match="published version 1 already"):
        site.publish()


def test_of_two_versions_signed_at_once_one_is_published(site: Site) -> None:
    both = []
    for rto in ("31m", "32m"):
        site.write(objectives={"rto": rto, "rpo": "1h"})
        both.append(open_publication(load_plan(site.plan), site.store, "rita", Source.CLI).incident.id)
    for ident in both:
        site.sign(ident, "lena")
    said = [publish(open_work(ident)) for ident in reversed(both)]
    assert "is published" in said[0]
    assert f"was published by {both[1]} meanwhile" in said[1]
    assert [both[1]] == [one.publication for one in versions_of(site.store, "small")]


def test_publishing_that_was_killed_between_version_and_journal_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: the version is there and the journal does not say so yet; the next run ends it."""
    ident = open_publication(load_plan(site.plan), site.store, "rita", Source.CLI).incident.id
    site.sign(ident, "lena")

    def killed(_work: Work, payload: object) -> None:
        assert isinstance(payload, PlanPublished)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Work, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(open_work(ident))
    assert 1 == len(versions_of(site.store, "small"))
    assert "is published" in publish(open_work(ident))
    assert 1 == len(versions_of(site.store, "small"))


@pytest.mark.parametrize("how", ["altered", "removed", "swapped", "unsigned"])
def test_version_that_was_tampered_with_is_refused_by_name(site: Site, how: str) -> None:
    """Guarantees: an altered journal is found; no incident opens on a plan whose versions cannot be trusted."""
    site.publish()
    site.write(objectives={"rto": "31m", "rpo": "1h"})
    site.publish("omar")
    first, second = key_of("small", 1), key_of("small", 2)
    store, raw = site.store, site.store.get(second)
    assert raw is not None
    if how == "altered":
        store.put(second, raw.replace(b"31m", b"41m"))
    elif how == "removed":
        Path(open_store().root, "documents", second).unlink()  # type: ignore[attr-defined] # the folder's own
    elif how == "swapped":
        other = store.get(first)
        assert other is not None
        store.put(second, other)
    else:
        last = versions_of(store, "small")[-1]
        text = last.text.replace("31m", "41m")
        forged = last.model_copy(update={"text": text, "digest": plan_digest(text)})
        store.put(second, seal(second, forged, signing_key()))
    with pytest.raises(Damaged, match=r"plans/small/2\.json"):
        open_incident(load_plan(site.plan), store, "Down.", "rita", Source.CLI)


def test_stage_order_with_a_glass_is_diagnosis_first(site: Site) -> None:
    """People who break the glass see what is damaged and what is proposed."""
    state = open_work(changed(site)).state()
    assert {Stage.CONFIRM, Stage.DECIDE} <= set(state.ended_stages)
    assert not isinstance(next_step(state), Run)
