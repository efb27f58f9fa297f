"""Who must be told what now: a pure answer from journal, plan and clock (R-RESP-8, R-ORG-4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from model.communication import Audience, Channel, Communication, Route
from model.errors import BadPlan
from model.informing import interrupted, late, messages, occasions, progress_due, sends, unreached
from model.journal import Confirmed, Ended, Opened, Payload, Record, StageStarted, fold
from model.messages import Moment, Telling, Told
from model.outcome import Gate, RunVerdict, Stage
from model.plan import Person
from model.planfile import read_plan
from model.severity import Level, Scope
from model.signoff import Decision
from model.steps import next_step

from .builders import AT, PLAN_TEXT, SEVERITY, chain, gate, good_run, incident, ok, plan, proposal, result

PEOPLE = {"ann": Person(name="Ann", email="ann@example.org", phone="+491"), "cyd": Person(name="Cyd")}
PLAN = Communication(
    channels={
        "mail": Channel(url="env:A", reaches="email"), "sms": Channel(url="env:B", reaches="phone"),
        "room": Channel(url="env:C"), "wall": Channel(url="env:D"),
    },
    fall_back=("mail", "sms", "wall"),
    audiences={"all": Audience(members=("ann", "room"), moments=tuple(Moment), every=600)},
)  # fmt: skip


def opened(*more: Payload) -> list[Record]:
    return chain([Opened(incident=incident()), *more])


def telling(
    channel: str, to: str = "", message: str = "opened/all", moment: Moment = Moment.OPENED
) -> Telling:
    return Telling(
        message=message, moment=moment, audience="all", channel=channel, to=to, language="en", subject="s",
        sha256="0" * 64,
    )  # fmt: skip


def told(channel: str, how: str, to: str = "", message: str = "opened/all") -> Told:
    return Told.model_validate({"message": message, "channel": channel, "to": to, "result": how})


def due(records: Sequence[Record], minutes: float = 0) -> list[tuple[str, str, str]]:
    at = AT + timedelta(minutes=minutes)
    return [(s.message.name, s.route.channel, s.route.to) for s in sends(records, PLAN, PEOPLE, at)]


def test_good_run_tells_each_moment_once_and_in_order() -> None:
    """R-RESP-8: what happened, the decision, the recovery, the end."""
    happened = occasions(chain([payload for _, payload in good_run()]))
    assert [
        ("opened", None), ("confirmed", None), ("asked", Gate.DECIDE), ("decided", None), ("asked-2", Gate.ACCEPT),
        ("recovered", None), ("ended", None),
    ] == [(one.key, one.gate) for one in happened]  # fmt: skip


def test_nothing_is_told_to_an_incident_without_damage_but_its_end() -> None:
    end = Ended(verdict=RunVerdict.STOPPED_SAFE, sentence="Nothing was found.")
    records = opened(Confirmed(results=(result(),), severity=None), ok(Stage.CONFIRM), end)
    assert ["opened", "ended"] == [one.key for one in occasions(records)]


def test_denial_is_a_decision_and_a_question_is_none() -> None:
    asked = gate(Gate.DECIDE, proposal().digest, "ann", decision=Decision.ASK)
    denied = gate(Gate.DECIDE, proposal().digest, "bob", decision=Decision.DENY)
    assert ["opened", "asked", "decided"] == [one.key for one in occasions(opened(*asked, *denied, *denied))]


def test_graver_damage_and_a_rollback_change_the_impact() -> None:
    grave = SEVERITY.model_copy(update={"level": Level.I, "scope": Scope.SEVERAL})
    records = opened(
        Confirmed(results=(result(),), severity=SEVERITY), ok(Stage.CONFIRM),
        Confirmed(results=(result(),), severity=SEVERITY), Confirmed(results=(result(),), severity=grave),
        StageStarted(stage=Stage.ROLL_BACK), StageStarted(stage=Stage.ROLL_BACK),
    )  # fmt: skip
    assert ["opened", "confirmed", "impact_changed", "impact_changed-2"] == [
        one.key for one in occasions(records)
    ]


def test_first_channel_of_each_recipient_comes_first() -> None:
    """R-ORG-4."""
    assert [("opened/all", "mail", "ann"), ("opened/all", "room", "")] == due(opened())


@pytest.mark.parametrize("how", ["failed", "unknown"])
def test_channel_that_did_not_surely_deliver_is_followed_by_the_next(how: str) -> None:
    records = opened(telling("mail", "ann"), told("mail", how, "ann"))
    assert ("opened/all", "sms", "ann") in due(records)


def test_intent_without_outcome_is_never_sent_again_there() -> None:
    """At most once per channel: it may have been sent."""
    records = opened(telling("mail", "ann"), telling("room"))
    assert [("opened/all", "sms", "ann"), ("opened/all", "wall", "")] == due(records)
    assert ["mail", "room"] == [left.channel for left in interrupted(records)]


def test_whoever_was_reached_is_left_alone_and_who_was_not_is_named() -> None:
    records = opened(
        telling("mail", "ann"), told("mail", "delivered", "ann"),
        telling("room"), told("room", "failed"), telling("wall"), told("wall", "failed"),
    )  # fmt: skip
    assert [] == due(records)
    assert [("opened/all", "room")] == unreached(records, PLAN, PEOPLE)


def test_no_journal_has_two_intents_for_one_message_channel_and_recipient() -> None:
    """Whatever becomes of each: following `sends` to its end ends, with every route tried once."""
    for how in ("failed", "unknown", "delivered", ""):
        records, seen = opened(), list[tuple[str, str, str]]()
        while todo := due(records):
            seen += todo
            new = [(telling(c, to), told(c, how or "unknown", to)) for _, c, to in todo]
            records = chain(
                [*(r.payload for r in records), *(one for pair in new for one in pair[: 1 + bool(how)])]
            )
        assert len(seen) == len(set(seen))
        assert {"delivered": 2}.get(how, 4) == len(seen), "the wall is shared: one message hangs there once"


def test_routes_leave_out_channels_that_have_no_address_of_a_person() -> None:
    assert (Route("wall"),) == PLAN.routes("cyd", PEOPLE)
    assert (Route("mail", "ann"), Route("sms", "ann"), Route("wall")) == PLAN.routes("ann", PEOPLE)
    assert (Route("room"), Route("wall")) == PLAN.routes("room", PEOPLE)


def test_progress_is_due_after_the_last_message_and_ends_with_the_incident() -> None:
    """R-RESP-8: timely notices, every N minutes of silence."""
    records = opened(
        telling("mail", "ann"), told("mail", "delivered", "ann"), telling("room"), told("room", "delivered")
    )
    audience = PLAN.audiences["all"]
    assert AT + timedelta(minutes=10) == progress_due(records, "all", audience)
    assert [] == due(records, 9)
    assert [("progress-1/all", "mail", "ann"), ("progress-1/all", "room", "")] == due(records, 10)
    over = chain([*(r.payload for r in records), Ended(verdict=RunVerdict.RECOVERED, sentence="Back.")])
    assert progress_due(over, "all", audience) is None
    assert {"ended/all"} == {message for message, _, _ in due(over, 100)}


def test_progress_that_was_begun_goes_on_for_those_who_were_not_told() -> None:
    done: list[Payload] = [
        telling("mail", "ann"),
        told("mail", "delivered", "ann"),
        telling("room"),
        told("room", "delivered"),
    ]
    begun = telling("mail", "ann", "progress-1/all", Moment.PROGRESS)
    records = opened(*done, begun, told("mail", "delivered", "ann", "progress-1/all"))
    assert [("progress-1/all", "room", "")] == due(records, 1)


def test_progress_nobody_sent_is_overdue() -> None:
    """Overdue alarm: a minute of grace, or a tenth of the time between two messages."""
    assert () == late(opened(), PLAN, AT + timedelta(minutes=11))
    (one,) = late(opened(), PLAN, AT + timedelta(minutes=11, seconds=1))
    assert ("all", AT + timedelta(minutes=10)) == (one.audience, one.due)


def test_messages_change_nothing_of_what_comes_next() -> None:
    payloads = [payload for _, payload in good_run()]
    for cut in range(1, len(payloads)):
        before = chain(payloads[:cut])
        after = chain([*payloads[:cut], telling("mail", "ann"), told("mail", "failed", "ann")])
        assert next_step(before) == next_step(after)
        assert fold(before) == fold(after)


def test_audience_is_told_only_at_its_moments() -> None:
    communication = plan().communication
    assert communication is not None
    names = [m.name for m in messages(chain([p for _, p in good_run()]), communication, AT)]
    assert ["opened/leaders", "decided/leaders", "ended/leaders"] == [
        n for n in names if n.endswith("leaders")
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("members: [ann]", "members: [dan]", "leaders.members", "'dan' cannot be reached"),
        ("room: {url", "ann: {url", "leaders.members", "'ann' is both a person and a channel"),
    ],
)
def test_people_nobody_can_reach_are_a_problem_of_the_plan(old: str, new: str, path: str, words: str) -> None:
    """R-ORG-4."""
    text = PLAN_TEXT.replace(old, new).replace("fall_back: [mail, room]", "fall_back: [mail]")
    with pytest.raises(BadPlan) as caught:
        read_plan(text)
    assert f"communication.audiences.{path}: {words}" in str(caught.value)
