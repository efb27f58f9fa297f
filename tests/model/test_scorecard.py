"""The scorecard of a drill, from journals as they are written (R-DRILL-2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from model.drill_journal import Drill, Plant
from model.drill_records import DrillBegan, DrillEnded, FaultRefused, Outcome, StagingLooked
from model.fault_kinds import FaultKind
from model.faults import Expected, Fault, Left, Planted
from model.finding import CheckResult, Code, Finding, Verdict
from model.incident import Kind
from model.journal import Confirmed, Ended, Payload, Proposed, Record, Voted, fold
from model.messages import Moment, Telling, Told
from model.mistake import Mistake
from model.outcome import RunVerdict
from model.proposal import Unmet
from model.scorecard import Scorecard, score
from model.signoff import Vote
from tests.model import builders

DRILL = "drl-20250101-115900-00aa"
HARM = Fault(kind=FaultKind.PACKAGE_FILE, asset="packages", host="web-1", seed=1)
MISTAKE = Fault(
    kind=FaultKind.WRONG_UPDATE, asset="database", host="web-1", seed=1, target="orders", wrong="null"
)


def planted(fault: Fault = HARM, *, mistake: bool = False) -> Planted:
    """What was done; by default just what the good run finds."""
    code = Code.EXPECTATION_FAILED if mistake else Code.FILE_CONTENT_DIFFERS
    subject = "orders" if mistake else builders.finding().subject
    return Planted(
        fault=fault, subjects=("x",), sentence="It was broken.", at=builders.AT, left=Left(folder="/var/lib/x"),
        expected=(Expected(code=code, asset=fault.asset, subject=subject),),
        follows=(Expected(code=Code.OPERATOR_MISTAKE, asset=fault.asset),) if mistake else (),
        mistake=Mistake(asset=fault.asset, at=builders.AT) if mistake else None,
    )  # fmt: skip


def drill(
    *plants: Plant, after: Sequence[CheckResult] | None = (builders.result(Verdict.PASSED),),
    outcome: Outcome = "done", left: tuple[str, ...] = (),
) -> Drill:  # fmt: skip
    """A drill that ended."""
    began = DrillBegan(
        mode="full", sign_off="people", seed=1, count=1, hosts={"web-1": "0" * 32}, sentence="x",
        expires_at=builders.AT + timedelta(hours=4),
    )  # fmt: skip
    return Drill(
        opened=builders.incident(Kind.DRILL).model_copy(update={"id": DRILL}), began=began, plants=plants,
        incident=builders.ID, ended=DrillEnded(outcome=outcome, left_behind=left, sentence="x"), ended_at=builders.AT,
        after=None if after is None else StagingLooked(when="after", ok=True, results=tuple(after), sentence="x"),
    )  # fmt: skip


def plant(what: Planted | None, fault: Fault = HARM, refused: str = "") -> Plant:
    """One damage as the journal has it."""
    return Plant(
        number=1, fault=fault, planting_at=builders.AT, planted=what, planted_at=builders.AT,
        refused=FaultRefused(number=1, sentence=refused) if refused else None,
    )  # fmt: skip


def records(*more: Payload, instead: dict[type, Payload] | None = None) -> list[Record]:
    """A good run, ten seconds from record to record."""
    payloads = [(instead or {}).get(type(p), p) for _, p in builders.good_run()] + list(more)
    chained = builders.chain(payloads)
    return [one.model_copy(update={"at": builders.AT + timedelta(seconds=10 * one.seq)}) for one in chained]


def card(known: Drill, run: list[Record]) -> Scorecard:
    return score(builders.plan(), known, run, fold(run))


def test_drill_in_which_all_is_found_repaired_and_in_time_passes() -> None:
    found = card(drill(plant(planted())), records())
    assert [("found", "repaired")] == [(one.seen, one.mended) for one in found.faults]
    assert "PASSED" == found.verdict
    assert (8, 8) == found.points
    assert () == found.unexplained
    assert () == found.items
    # Ann, Bob and Cyd signed; Eve's two answers did not count.
    assert 5 == len(found.by_hand)


def test_times_run_from_mark_to_mark_of_the_journal() -> None:
    run = records()
    at = {type(one.payload).__name__: one.at for one in run}
    found = card(drill(plant(planted())), run)
    assert (at["Confirmed"] - run[0].at).total_seconds() == found.lap("detect")
    assert 60.0 == found.lap("whole")
    assert {"detect", "decide", "repair", "accept", "whole"} == {one.name for one in found.laps}
    assert all(one.seconds for one in found.laps)
    assert [None, True, None, True, True] == [one.kept for one in found.laps]


def test_damage_nobody_noticed_fails_the_drill_and_is_to_be_looked_at() -> None:
    other = planted().model_copy(
        update={"expected": (Expected(code=Code.FILE_MISSING, asset="files"),), "follows": ()}
    )
    found = card(drill(plant(planted()), plant(other)), records())
    assert ["found", "missed"] == [one.seen for one in found.faults]
    assert "FAILED" == found.verdict
    assert any("nobody noticed" in item for item in found.items)


def test_finding_that_nothing_planted_explains_fails_the_drill() -> None:
    stranger = builders.finding("/usr/bin/other")
    results = (builders.result().model_copy(update={"findings": (builders.finding(), stranger)}),)
    run = records(instead={Confirmed: Confirmed(results=results, severity=builders.SEVERITY)})
    found = card(drill(plant(planted())), run)
    assert (stranger.sentence,) == found.unexplained
    assert "FAILED" == found.verdict
    assert any(item.startswith("False alarm") for item in found.items)


def test_mistake_that_people_reported_counts_as_noticed() -> None:
    reported = Finding(code=Code.OPERATOR_MISTAKE, host="web-1", asset="database", subject="2025-01-01")
    results = (builders.result().model_copy(update={"findings": (reported,)}),)
    run = records(instead={Confirmed: Confirmed(results=results, severity=builders.SEVERITY)})
    found = card(drill(plant(planted(MISTAKE, mistake=True), MISTAKE)), run)
    assert [("reported", "repaired")] == [(one.seen, one.mended) for one in found.faults]
    assert "PASSED" == found.verdict


def test_damage_seen_only_afterwards_is_late() -> None:
    failed = builders.result(Verdict.FAILED)
    empty = Confirmed(results=(builders.result(Verdict.PASSED),), severity=None)
    found = card(drill(plant(planted()), after=[failed]), records(instead={Confirmed: empty}))
    assert [("late", "still there")] == [(one.seen, one.mended) for one in found.faults]
    assert "FAILED" == found.verdict


@pytest.mark.parametrize("honest", [True, False])
def test_damage_that_stays_counts_only_when_the_proposal_said_so(honest: bool) -> None:
    unmet = Unmet(finding=builders.finding().id, sentence="No package holds it.", remedy="Ask.")
    proposal = builders.proposal().model_copy(update={"unmet": (unmet,) if honest else ()})
    run = records(instead={Proposed: Proposed(proposal=proposal, digest=proposal.digest)})
    found = card(drill(plant(planted()), after=[builders.result(Verdict.FAILED)]), run)
    assert ["declared" if honest else "still there"] == [one.mended for one in found.faults]
    assert ("PASSED" if honest else "FAILED") == found.verdict
    assert found.items


def test_objectives_that_were_missed_fail_the_drill() -> None:
    ended = Ended(verdict=RunVerdict.RECOVERED, sentence="Late.", rto=5 * 3600.0, rpo=2 * 86400.0)
    found = card(drill(plant(planted())), records(instead={Ended: ended}))
    assert "FAILED" == found.verdict
    assert {"RTO kept", "RPO kept"} == {one.name for one in found.criteria if one.ok is False}
    assert 2 == sum("kept: no" in item for item in found.items)


@pytest.mark.parametrize("outcome", ["refused", "unhealthy", "pre-empted", "expired", "reaped", "failed"])
def test_drill_that_was_not_carried_through_has_no_score(outcome: Outcome) -> None:
    """G11: what was not shown is not passed."""
    assert "NO SCORE" == card(drill(plant(planted()), outcome=outcome), records()).verdict


def test_damage_that_could_not_be_done_is_no_miss() -> None:
    found = card(drill(plant(planted()), plant(None, refused="There is no such table.")), records())
    assert ["found", "refused"] == [one.seen for one in found.faults]
    assert "PASSED" == found.verdict
    assert any("could not be done: There is no such table." in item for item in found.items)


def test_drill_without_damage_shows_nothing_of_detection() -> None:
    found = card(drill(), records())
    shown = {one.name: one.ok for one in found.criteria}
    assert shown["everything planted was noticed"] is None
    assert shown["everything was repaired, or honestly declared"] is None


def test_what_was_left_behind_fails_the_drill() -> None:
    found = card(drill(plant(planted()), left=("/srv/filler",)), records())
    assert "FAILED" == found.verdict
    assert "Left behind: /srv/filler" in found.items


def test_messages_are_counted_and_those_that_failed_are_to_be_looked_at() -> None:
    telling = Telling(
        message="opened/leaders", moment=Moment.OPENED, audience="leaders", channel="mail", language="en",
        subject="s", sha256="0" * 64,
    )  # fmt: skip
    lost = Told(message="opened/leaders", channel="mail", result="failed")
    found = card(drill(plant(planted())), records(telling, lost))
    assert (1, 1) == (found.messages, found.unsent)
    assert any("1 of 1 messages" in item for item in found.items)


def test_simulated_signature_is_nobodys_hand() -> None:
    vote: Vote = builders.vote().model_copy(update={"proof": "simulated", "proof_ref": DRILL})
    run = records(Voted(vote=vote))
    assert 5 == len(card(drill(plant(planted())), run).by_hand)
