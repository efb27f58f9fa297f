"""Sign-off rules: who may vote, when a gate is settled (R-RESP-3, G6; attacks on sign-off)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import Refused
from model.plan import GateRule
from model.signoff import Decision, Vote, admit, signers, standing

from .builders import plan, vote

YES, NO, ASK, BACK = Decision.APPROVE, Decision.DENY, Decision.ASK, Decision.WITHDRAW
TWO = GateRule(roles=("leading_group",), quorum=2)
DIGEST = "a" * 64
OTHER = "b" * 64


def cast(*words: tuple[str, Decision], digest: str = DIGEST) -> list[Vote]:
    return [vote(person, decision, digest) for person, decision in words]


def test_signers_leave_out_the_requester_and_count_a_person_once() -> None:
    """Separation of duties: no self-approval."""
    rule = GateRule(roles=("leading_group", "working_group", "leading_group"))
    assert ("ann", "bob", "cyd", "dan") == signers(plan(), rule, "somebody")
    assert ("ann", "cyd", "dan") == signers(plan(), rule, "bob")


@pytest.mark.parametrize(
    ("requester", "earlier", "new", "sentence"),
    [
        ("dan", [], vote("eve", YES, DIGEST), "not a person of the plan"),
        ("dan", [], vote("", YES, DIGEST), "not a person of the plan"),
        ("ann", [], vote("ann", YES, DIGEST), "reported or proposed this and may not sign"),
        ("eve", [], vote("dan", YES, DIGEST), "does not hold a role"),
        ("dan", [], vote("ann", YES, OTHER), "it changed"),
        ("dan", cast(("ann", YES)), vote("ann", YES, DIGEST), "already signed"),
        ("dan", cast(("ann", YES)), vote("ann", NO, DIGEST), "already signed"),
        ("dan", cast(("ann", NO)), vote("ann", YES, DIGEST), "already signed"),
        ("dan", cast(("ann", ASK), ("ann", YES)), vote("ann", YES, DIGEST), "already signed"),
        ("dan", [], vote("ann", BACK, DIGEST), "nothing here that could be withdrawn"),
        (
            "dan",
            cast(("ann", YES), ("ann", BACK)),
            vote("ann", BACK, DIGEST),
            "nothing here that could be withdrawn",
        ),
        ("dan", cast(("bob", YES)), vote("ann", BACK, DIGEST), "nothing here that could be withdrawn"),
        ("dan", cast(("ann", YES), ("ann", BACK), ("ann", YES)), vote("ann", NO, DIGEST), "already signed"),
    ],
)
def test_admit_refuses(requester: str, earlier: list[Vote], new: Vote, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        admit(plan(), TWO, requester, DIGEST, earlier, new)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("earlier", "new"),
    [
        ([], vote("ann", YES, DIGEST)),
        (cast(("bob", YES)), vote("ann", YES, DIGEST)),
        (cast(("ann", YES), digest=OTHER), vote("ann", YES, DIGEST)),
        (cast(("ann", ASK)), vote("ann", YES, DIGEST)),
        (cast(("ann", YES)), vote("ann", BACK, DIGEST)),
        (cast(("ann", YES), ("ann", BACK)), vote("ann", NO, DIGEST)),
    ],
)
def test_admit_lets_in(earlier: list[Vote], new: Vote) -> None:
    admit(plan(), TWO, "dan", DIGEST, earlier, new)


@pytest.mark.parametrize(
    ("votes", "settled", "approvals", "may_sign"),
    [
        ([], None, (), ("ann", "bob", "cyd")),
        (cast(("ann", YES)), None, ("ann",), ("bob", "cyd")),
        (cast(("ann", YES), ("ann", YES)), None, ("ann",), ("bob", "cyd")),
        (cast(("ann", YES), ("bob", YES)), YES, ("ann", "bob"), ("cyd",)),
        (cast(("ann", YES), ("bob", NO)), NO, ("ann",), ("cyd",)),
        (cast(("ann", YES), ("bob", YES), ("cyd", NO)), NO, ("ann", "bob"), ()),
        (cast(("ann", ASK)), None, (), ("ann", "bob", "cyd")),
        (cast(("ann", YES), ("bob", YES), ("ann", BACK)), None, ("bob",), ("ann", "cyd")),
        (cast(("ann", NO), ("ann", BACK)), None, (), ("ann", "bob", "cyd")),
        (cast(("dan", YES), ("eve", YES)), None, (), ("ann", "bob", "cyd")),
        (cast(("dan", NO)), None, (), ("ann", "bob", "cyd")),
        (cast(("ann", YES), ("bob", YES), digest=OTHER), None, (), ("ann", "bob", "cyd")),
        (cast(("ann", NO), digest=OTHER) + cast(("bob", YES)), None, ("bob",), ("ann", "cyd")),
    ],
)
def test_standing(
    votes: list[Vote], settled: Decision | None, approvals: tuple[str, ...], may_sign: tuple[str, ...]
) -> None:
    stands = standing(plan(), TWO, "dan", DIGEST, votes)
    assert (settled, approvals, may_sign) == (stands.settled, stands.approvals, stands.may_sign)
    assert 2 == stands.needed
    assert stands.sentence


def test_the_requesters_own_vote_never_counts() -> None:
    stands = standing(plan(), TWO, "ann", DIGEST, cast(("ann", YES), ("bob", YES)))
    assert (None, ("bob",), ("cyd",)) == (stands.settled, stands.approvals, stands.may_sign)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ann", "bob", "cyd", "dan", "eve"]), st.sampled_from(list(Decision))),
        max_size=12,
    ),
    st.sampled_from(["ann", "dan", "eve"]),
)
def test_a_gate_opens_only_by_admitted_votes_of_two_different_people(
    words: list[tuple[str, Decision]], requester: str
) -> None:
    """Whatever comes in and in whatever order."""
    admitted: list[Vote] = []
    for new in cast(*words):
        try:
            admit(plan(), TWO, requester, DIGEST, admitted, new)
        except Refused:
            continue
        admitted.append(new)
    last = {v.person: v.decision for v in admitted if v.decision is not ASK}
    people = {person for person, said in last.items() if said is YES}
    denied = NO in last.values()
    settled = standing(plan(), TWO, requester, DIGEST, admitted).settled
    assert (NO if denied else YES if len(people) >= 2 else None) == settled
    assert people <= {"ann", "bob", "cyd"} - {requester}
