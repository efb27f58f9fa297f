"""A gate that nobody signs: three days, reminders, escalation, and what the plan says for its deadline (R-RESP-3)."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.home import open_store
from deployments.server.informer import keep_gates, tell_open
from model.errors import Refused
from model.journal import GateOpened, GateReminded, GateSettled
from model.outcome import Gate, RunVerdict
from model.signoff import Decision, Standing
from model.steps import Ask, next_step
from tasks import deadlines
from tasks.deadlines import keep_gate
from tasks.report import build_report
from tasks.report_pages import report_markdown
from tasks.voting import gate_standing
from tasks.work import open_work
from tests.support.labworld import write_secret
from tests.support.locally import begin
from tests.support.receivers import SmtpServer, mail
from tests.support.site import Later, Site, later, server, site

__all__ = ["later", "mail", "server", "site"]

HOUR = timedelta(hours=1)


def waiting(site: Site, gate: Gate = Gate.DECIDE, **rule: object) -> str:
    """A damaged host whose recovery waits at a gate with this rule; returns the incident's id."""
    site.write(signoff={gate.value: {"roles": ["leading_group"], "quorum": 2, "deadline": "4h", **rule}})
    site.world.back_up()
    site.damage()
    incident = begin(site.plan)
    if gate is Gate.ACCEPT:
        site.sign(incident, "omar")
        begin(site.plan, incident)
    step = next_step(open_work(incident).state())
    assert isinstance(step, Ask)
    assert gate is step.gate
    return incident


def look() -> list[str]:
    """What `up` says at one look, having just been started: it remembers nothing."""
    said: list[str] = []
    keep_gates(open_store(), set(), said.append)
    return said


def done(incident: str) -> list[tuple[str, float]]:
    """(what, seconds before the deadline) of everything that was done at gates."""
    records = open_store().read(incident)
    return [(p.what, p.before) for r in records if isinstance(p := r.payload, GateReminded)]


def test_gate_waits_three_days_across_restarts_reminds_and_escalates_once(site: Site, later: Later) -> None:
    """Issue 5, must show 2: nothing is lost, nothing twice, and the signatures of the third day still count."""
    incident = waiting(site, Gate.ACCEPT, deadline="72h", remind=["48h", "1h"], escalate="24h")
    for _ in range(72 * 2 - 1):
        later(HOUR / 2)
        look()
    assert [("reminder", 48 * 3600.0), ("escalation", 24 * 3600.0), ("reminder", 3600.0)] == done(incident)
    later(HOUR / 2)
    assert [f"{incident}: The deadline of accept passed; by the plan it goes on waiting."] == [
        said.partition(" Approved")[0].partition(" Needs")[0].partition(" 0 of")[0] for said in look()
    ]
    assert [] == look()
    site.sign(incident, "lena")
    assert [] == look(), "one of two has signed; nothing is due twice"
    site.sign(incident, "omar")
    begin(site.plan, incident)
    ended = open_work(incident).state().ended
    assert ended is not None
    assert RunVerdict.RECOVERED is ended.verdict


def test_proposal_that_expired_while_nobody_signed_is_made_anew(site: Site, later: Later) -> None:
    """Three days at *decide*: what the first proposal said may be wrong by now, so it is not signed but made again."""
    incident = waiting(site, deadline="4h")
    later(HOUR * 72)
    assert 1 == len(look())
    with pytest.raises(Refused, match="expired"):
        site.sign(incident, "lena")
    begin(site.plan, incident)
    for person in ("lena", "omar"):
        site.sign(incident, person)
    assert open_work(incident).state().signed(Gate.DECIDE) is Decision.APPROVE


@pytest.mark.parametrize(
    ("gate", "rule", "decision", "verdict"),
    [
        (Gate.DECIDE, "hold", None, None),
        (Gate.DECIDE, "deny", Decision.DENY, RunVerdict.STOPPED_SAFE),
        (Gate.ACCEPT, "hold", None, None),
        (Gate.ACCEPT, "deny", Decision.DENY, RunVerdict.ROLLED_BACK),
        (Gate.ACCEPT, "roll_back", Decision.DENY, RunVerdict.ROLLED_BACK),
        (Gate.ACCEPT, "proceed", Decision.APPROVE, RunVerdict.RECOVERED),
    ],
)
def test_deadline_does_what_the_plan_says(
    site: Site, later: Later, gate: Gate, rule: str, decision: Decision | None, verdict: RunVerdict | None
) -> None:
    """R-RESP-3: hold | deny | roll back | proceed; and the files are what that means."""
    incident = waiting(site, gate, on_timeout=rule)
    site.sign(incident, "lena")
    later(HOUR * 4 - timedelta(seconds=30))
    look()
    assert open_work(incident).state().signed(gate) is None
    later(timedelta(seconds=31))
    assert 1 == len(look())
    begin(site.plan, incident)
    state = open_work(incident).state()
    assert decision is state.signed(gate)
    assert verdict is (state.ended.verdict if state.ended else None)
    healed = gate is Gate.ACCEPT and rule in {"hold", "proceed"}
    assert ("all is well\n" if healed else "damaged\n") == (site.world.files / "a.txt").read_text()
    if decision is None:
        return
    assert state.settled[gate].timed_out
    assert "in time; by the plan" in report_markdown(build_report(open_work(incident)))
    with pytest.raises(Refused, match="settled"):
        site.sign(incident, "omar", gate=gate)


def test_answer_after_the_deadline_counts_only_where_the_gate_is_held(site: Site, later: Later) -> None:
    """Late answers: also before anybody looked at the clock."""
    incident = waiting(site, on_timeout="deny")
    later(HOUR * 4 + timedelta(seconds=1))
    with pytest.raises(Refused, match="the deadline of decide passed"):
        site.sign(incident, "lena")
    assert 1 == len(look())
    assert Decision.DENY is open_work(incident).state().signed(Gate.DECIDE)


def test_last_signature_in_time_settles_and_the_deadline_finds_nothing_to_do(
    site: Site, later: Later
) -> None:
    incident = waiting(site, on_timeout="deny")
    later(HOUR * 4 - timedelta(seconds=20))
    site.sign(incident, "lena")
    site.sign(incident, "omar")
    later(HOUR)
    assert [] == look()
    assert Decision.APPROVE is open_work(incident).state().signed(Gate.DECIDE)


ROUNDS = 25


def test_vote_in_the_moment_of_the_deadline_has_one_outcome(
    site: Site, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 5, must show 2: the clock of one side stands just before the deadline, that of the other just after."""
    seen: Counter[Decision] = Counter()
    site.write(
        signoff={"decide": {"roles": ["leading_group"], "quorum": 1, "deadline": "4h", "on_timeout": "deny"}}
    )
    site.world.back_up()
    site.damage()
    refused: list[str] = []
    for turn in range(ROUNDS):
        incident = begin(site.plan)
        later(timedelta(seconds=60))  # for fresh codes
        late = datetime.now(UTC) + HOUR * 240
        start, refused = threading.Barrier(2), []

        def sign(
            incident: str = incident, start: threading.Barrier = start, refused: list[str] = refused
        ) -> None:
            start.wait()
            try:
                site.sign(incident, "lena", gate=Gate.DECIDE)
            except Refused as refusal:
                refused.append(refusal.what)

        def time_out(incident: str = incident, start: threading.Barrier = start, turn: int = turn) -> None:
            work = open_work(incident)
            start.wait()
            threading.Event().wait(turn * 0.003)
            keep_gate(work)

        threads = [threading.Thread(target=each) for each in (sign, time_out)]
        with monkeypatch.context() as clock:
            clock.setattr(deadlines, "now", lambda late=late: late)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        records = open_store().read(incident)
        settled = [p for r in records if isinstance(p := r.payload, GateSettled)]
        assert 1 == len({(one.decision, one.timed_out) for one in settled})
        state = open_work(incident).state()
        outcome = state.signed(Gate.DECIDE)
        assert outcome is (Decision.DENY if settled[0].timed_out else Decision.APPROVE)
        assert bool(refused) is settled[0].timed_out, "who signed in vain is told so, and nobody else"
        assert outcome is not None
        seen[outcome] += 1
    assert {Decision.APPROVE, Decision.DENY} == set(seen), f"no race: {seen}; {refused}"


def test_signature_between_the_look_at_the_clock_and_its_record_counts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is written down only when nobody wrote since the journal was read."""
    incident = waiting(site, on_timeout="deny", quorum=1)
    late = datetime.now(UTC) + HOUR * 5
    looked: list[Gate] = []

    def standing(*args: Any) -> Standing:  # noqa: ANN401 - handed on as they are
        if not looked:
            looked.append(Gate.DECIDE)
            site.sign(incident, "lena", gate=Gate.DECIDE)
        return gate_standing(*args)

    monkeypatch.setattr(deadlines, "now", lambda: late)
    monkeypatch.setattr(deadlines, "gate_standing", standing)
    assert [] == keep_gate(open_work(incident))
    assert [Gate.DECIDE] == looked
    assert Decision.APPROVE is open_work(incident).state().signed(Gate.DECIDE)


def test_many_lookers_write_each_reminder_once(site: Site, later: Later) -> None:
    """`up`, a recovery and a second `up` look in the same moment."""
    incident = waiting(site)
    later(HOUR * 3.9)
    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [("reminder", 900.0), ("escalation", 1800.0)] == done(incident)


def test_people_are_asked_reminded_and_others_told(site: Site, later: Later, mail: SmtpServer) -> None:
    """R-RESP-8: those who may sign at once and before the deadline, the others when it comes near; each once."""
    write_secret(site.world.folder, "mail", mail.url)
    people = {one: {"email": f"{one}@example.org"} for one in ("lena", "omar", "rita", "paul")}
    incident = waiting(
        site, on_timeout="deny", roles=["leading_group"], escalate_to=["working_group"], remind=["1h"]
    )  # fmt: skip
    del incident
    site.write(
        people={one: site.changes["people"][one] | more for one, more in people.items()},
        communication={
            "channels": {"mail": {"url": "file:secrets/mail", "reaches": "email"}}, "fall_back": ["mail"],
            "audiences": {"users": {"members": ["paul"], "moments": ["ended"]}},
        },
    )  # fmt: skip
    incident = begin(site.plan)
    for _ in range(9):
        look()
        tell_open(open_store(), set(), lambda text: None)
        later(HOUR / 2)
    found = Counter((one.to.partition("@")[0], one.subject.partition(": ")[2]) for one in mail.mails)
    assert {
        ("lena", "your sign-off is needed"): 1, ("omar", "your sign-off is needed"): 1,
        ("lena", "your sign-off is still missing"): 1, ("omar", "your sign-off is still missing"): 1,
        ("rita", "nobody has signed yet"): 1, ("paul", "nobody has signed yet"): 1,
    } == found  # fmt: skip
    asked = next(one for one in mail.mails if "still missing" in one.subject)
    for words in ("Lena, Omar", "it counts as denied", f"reinstate approve {incident}", "UTC"):
        assert words in asked.text
    opened = [p for r in open_store().read(incident) if isinstance(p := r.payload, GateOpened)]
    assert f"{opened[0].deadline:%Y-%m-%d %H:%M} UTC" in asked.text


def test_journal_that_was_altered_stops_its_own_gate_only(site: Site, later: Later, tmp_path: Path) -> None:
    """One journal's trouble is said, and the other incidents are looked after."""
    first, second = waiting(site), begin(site.plan)
    folder = next(path for path in tmp_path.rglob(first) if path.is_dir())
    record = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix in {".json", ".jsonl"}
    )[0]
    record.write_bytes(record.read_bytes().replace(b"damaged", b"dAmaged").replace(b"shop", b"sh0p") + b" ")
    later(HOUR * 5)
    said = look()
    assert [f"The gate of {first} cannot be kept"] == [one.partition(":")[0] for one in said if first in one]
    assert any(one.startswith(f"{second}: The deadline of decide passed") for one in said)
