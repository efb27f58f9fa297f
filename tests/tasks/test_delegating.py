"""Signing in another's place: proven by that person, for a while, and a seat counts once (R-ORG-1, R-RESP-3, G6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given as given_that
from hypothesis import strategies as st

from blocks.people import sign_statement
from flows.gate import description
from model.canonical import now
from model.delegation import Delegation, stand_ins
from model.errors import BadInput, Damaged, Refused
from model.outcome import Gate
from model.plan import GateRule
from model.signoff import Decision, Vote, admit, seats, standing
from tasks.delegating import delegate, delegation_statement, delegations_of, draft
from tasks.proofs import change_book, revoke
from tasks.signed import require_signed
from tasks.voting import gate_standing
from tasks.work import PlanFile, Work, load_plan, open_work
from tests.model.builders import plan as model_plan
from tests.model.builders import vote
from tests.support.keys import make_key
from tests.support.locally import begin
from tests.support.site import Later, Site, later, server, site

__all__ = ["later", "server", "site"]

DAY = timedelta(days=1)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def file_of(site: Site) -> PlanFile:
    return load_plan(site.plan)


def hand_on(
    site: Site, giver: str, to: str, until: timedelta = DAY, *gates: Gate, ahead: int = 0
) -> Delegation:
    """A delegation by a code of the giver."""
    given = draft(file_of(site), giver, to, now() + until, gates, "On holiday.")
    secret = (site.world.folder / "secrets" / f"totp-{giver}").read_text().strip()
    code = str(pyotp.TOTP(secret).at(now() + timedelta(seconds=30 * ahead)))
    return delegate(file_of(site), site.store, given, code=code)


@pytest.fixture
def waiting(site: Site) -> Work:
    """Two of the leading group must sign; Mia is the monitor and no person."""
    site.write(signoff={"decide": {"roles": ["leading_group"], "quorum": 2}})
    site.world.back_up()
    site.damage()
    return open_work(begin(site.plan))


def test_stand_in_signs_and_the_worker_counts_it_also_when_it_is_over(
    site: Site, waiting: Work, later: Later
) -> None:
    incident = waiting.incident.id
    hand_on(site, "lena", "rita")
    where = gate_standing(waiting, waiting.state(), Gate.DECIDE)
    assert ("omar", "rita") == where.may_sign
    with pytest.raises(Refused, match="rita signs in the place of lena at this time") as caught:
        site.sign(incident, "lena")
    assert "people recall" in caught.value.remedy
    site.sign(incident, "rita")
    shown = description(waiting, waiting.state(), Gate.DECIDE)
    assert "**Lena** (lena): rita signs in their place" in shown
    assert "**Rita** (rita): approved at " in shown
    assert "leading_group for lena" == waiting.state().votes[-1].role
    site.sign(incident, "omar")
    later(timedelta(days=2))
    require_signed(waiting, waiting.state())
    begin(site.plan, incident)
    assert "all is well\n" == (site.world.files / "a.txt").read_text()


def test_it_ends_by_itself(site: Site, waiting: Work, later: Later) -> None:
    hand_on(site, "lena", "rita", timedelta(hours=2))
    later(timedelta(hours=3))
    assert ("lena", "omar") == gate_standing(waiting, waiting.state(), Gate.DECIDE).may_sign
    with pytest.raises(Refused, match="does not hold a role"):
        site.sign(waiting.incident.id, "rita")


def test_it_is_for_the_gates_it_names(site: Site, waiting: Work) -> None:
    hand_on(site, "lena", "rita", DAY, Gate.ACCEPT)
    with pytest.raises(Refused, match="does not hold a role"):
        site.sign(waiting.incident.id, "rita")


def test_giver_takes_it_back(site: Site, waiting: Work) -> None:
    hand_on(site, "lena", "rita")
    given = draft(file_of(site), "lena", "", now(), (), "I am back.")
    secret = (site.world.folder / "secrets/totp-lena").read_text().strip()
    delegate(file_of(site), site.store, given, code=str(pyotp.TOTP(secret).at(now() + timedelta(seconds=30))))
    assert ("lena", "omar") == gate_standing(waiting, waiting.state(), Gate.DECIDE).may_sign


def test_seat_counts_once_whoever_sits_on_it(site: Site, waiting: Work) -> None:
    """Lena signs, then hands on: Rita is no second signature."""
    site.sign(waiting.incident.id, "lena")
    hand_on(site, "lena", "rita", ahead=1)
    with pytest.raises(Refused, match="lena already signed for lena"):
        site.sign(waiting.incident.id, "rita")
    assert "1 of 2 signed; may sign: omar" in gate_standing(waiting, waiting.state(), Gate.DECIDE).sentence


def test_one_person_has_one_voice_for_two_seats(site: Site, waiting: Work) -> None:
    hand_on(site, "lena", "omar")
    site.sign(waiting.incident.id, "omar")
    where = gate_standing(waiting, waiting.state(), Gate.DECIDE)
    assert (None, ("omar",)) == (where.settled, where.approvals)
    with pytest.raises(Refused, match="already signed"):
        site.sign(waiting.incident.id, "omar")


def test_revoking_the_giver_ends_it(site: Site, waiting: Work) -> None:
    """A stolen phone hands nothing on."""
    hand_on(site, "lena", "rita")
    revoke(file_of(site), site.store, "lena", "omar", "The phone was stolen.")
    assert "rita" not in gate_standing(waiting, waiting.state(), Gate.DECIDE).may_sign


def test_by_signature_and_not_twice_by_the_same(site: Site) -> None:
    line = make_key(site.world.folder, "lena")
    site.write(
        people={**site.changes["people"], "lena": {**site.changes["people"]["lena"], "ssh_keys": [line]}}
    )
    given = draft(file_of(site), "lena", "rita", now() + DAY, (), "On holiday.")
    signature = sign_statement(delegation_statement("small", given), site.world.folder / "lena")
    delegate(file_of(site), site.store, given, signature=signature)
    assert ("rita",) == tuple(one.to for one in delegations_of(site.store, file_of(site).plan))
    with pytest.raises(Refused, match="this very signature was given before"):
        delegate(file_of(site), site.store, given, signature=signature)
    other = given.model_copy(update={"to": "paul"})
    with pytest.raises(Refused, match="SSH signature is not one of"):
        delegate(file_of(site), site.store, other, signature=signature)


def test_forged_ones_do_not_count(site: Site, waiting: Work) -> None:
    """Written past the command: no code was taken for it, or the book's seal does not fit."""
    at = now()
    forged = Delegation(
        giver="lena", to="rita", at=at, until=at + DAY, reason="x", proof="totp", proof_ref="totp:59000000"
    )
    change_book(site.store, "small", lambda book: book.model_copy(update={"delegations": (forged,)}))
    assert () == delegations_of(site.store, file_of(site).plan)
    with pytest.raises(Refused, match="does not hold a role"):
        site.sign(waiting.incident.id, "rita")
    raw = site.store.get("people/small.json")
    assert raw is not None
    site.store.put("people/small.json", raw.replace(b"rita", b"paul"))
    with pytest.raises(Damaged, match="was altered"):
        site.sign(waiting.incident.id, "omar")


@pytest.mark.parametrize(
    ("giver", "to", "until", "reason", "words"),
    [
        ("eve", "rita", DAY, "x", "not a person of the plan"),
        ("lena", "eve", DAY, "x", "not a person of the plan"),
        ("lena", "lena", DAY, "x", "nobody stands in for themselves"),
        ("lena", "rita", -DAY, "x", "it would end"),
        ("lena", "rita", DAY * 91, "x", "it would end"),
        ("lena", "rita", DAY, "  ", "no reason"),
        ("guest", "rita", DAY, "x", "holds no role"),
        ("lena", "guest", DAY, "x", "no code and no key"),
    ],
)
def test_delegation_that_makes_no_sense_says_what_to_do(
    site: Site, giver: str, to: str, until: timedelta, reason: str, words: str
) -> None:
    site.write(people={**site.changes["people"], "guest": {"name": "Guest"}})
    with pytest.raises(BadInput, match=words) as caught:
        draft(file_of(site), giver, to, now() + until, (), reason)
    assert caught.value.remedy


def word(giver: str, to: str, start: int, end: int, *gates: Gate) -> Delegation:
    return Delegation(
        giver=giver,
        to=to,
        gates=gates,
        at=AT + DAY * start,
        until=AT + DAY * end,
        proof="totp",
        proof_ref="totp:1",
    )


def test_newest_word_of_a_person_counts() -> None:
    given = [
        word("ann", "dan", 0, 5),
        word("ann", "cyd", 1, 3, Gate.ACCEPT),
        word("bob", "dan", 0, 2),
        word("bob", "", 1, 1),
    ]
    assert {"ann": "dan", "bob": "dan"} == stand_ins(given, Gate.DECIDE, AT)
    assert {"ann": "cyd"} == stand_ins(given, Gate.ACCEPT, AT + DAY)
    assert {} == stand_ins(given, Gate.DECIDE, AT + DAY)
    assert {} == stand_ins(given, Gate.ACCEPT, AT + DAY * 3)
    assert {} == stand_ins(given[:1], Gate.DECIDE, AT + DAY * 2, [("ann", AT + DAY)])
    assert {"ann": "dan"} == stand_ins(given[:1], Gate.DECIDE, AT + DAY * 2, [("bob", AT + DAY)])


def test_separation_of_duties_holds_through_it() -> None:
    """Neither who reported nor who stands in for them signs; a stand-in is not replaced again."""
    rule = GateRule(roles=("leading_group",), quorum=2)  # ann, bob, cyd
    assert {"bob": "bob", "cyd": "cyd"} == seats(model_plan(), rule, "ann", {"ann": "dan"})
    assert {"bob": "bob", "cyd": "cyd"} == seats(model_plan(), rule, "dan", {"ann": "dan"})
    assert {"bob": "bob", "cyd": "cyd", "dan": "ann"} == seats(
        model_plan(), rule, "", {"ann": "dan", "dan": "eve"}
    )


@given_that(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(list(Decision))), max_size=12),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("abcd"), max_size=3),
)
def test_quorum_of_two_needs_two_seats_and_two_people(
    words: list[tuple[str, Decision]], instead: dict[str, str]
) -> None:
    """Whatever is delegated to whom and in whatever order people answer."""
    names = {"a": "ann", "b": "bob", "c": "cyd", "d": "dan"}
    places = {names[giver]: names[to] for giver, to in instead.items() if giver != to}
    rule = GateRule(roles=("leading_group",), quorum=2)
    admitted: list[Vote] = []
    for person, decision in words:
        new = vote(names[person], decision, "a" * 64)
        try:
            admit(model_plan(), rule, "eve", "a" * 64, admitted, new, lambda at: places)
        except Refused:
            continue
        admitted.append(new)
    where = standing(model_plan(), rule, "eve", "a" * 64, admitted, lambda at: places, AT)
    if where.settled is Decision.APPROVE:
        whose = seats(model_plan(), rule, "eve", places)
        assert 2 <= len(set(where.approvals))
        assert 2 <= len({whose[person] for person in where.approvals})
