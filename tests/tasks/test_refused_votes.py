"""Every class of false sign-off, refused where people answer and again where hosts are changed (G6, R-RESP-3).

At the worker the false vote is already in the journal, in order, sealed and signed, as an intruder with the rights of
the installation could write it: with a settlement that approves, and with a one-time code marked as used for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyotp
import pytest

from blocks.home import open_store
from blocks.people import STEP, sign_statement, statement
from flows.gate import description
from model.canonical import now
from model.errors import Refused
from model.incident import Source
from model.journal import GateSettled, Intent, Proposed, Voted
from model.outcome import Gate
from model.signoff import Decision, Standing, Vote
from tasks import voting
from tasks.act import act
from tasks.signed import require_signed
from tasks.voting import cast_vote, claim, gate_digest, open_gate
from tasks.work import Work, load_plan, open_incident
from tests.support.keys import make_key
from tests.support.labworld import write_secret
from tests.support.locally import begin
from tests.support.sshservers import Server, asyncssh_server
from tests.support.wrongworld import SmallWorld, make_small_world

OTHER = "b" * 64
PHONES = ("lena", "omar", "rita", "paul", "eve")


@dataclass
class Case:
    """An incident that waits for two signatures. Rita reported it; Paul signs nothing; Eve is nobody."""

    world: SmallWorld
    work: Work
    clock: Callable[[], datetime] = now

    @property
    def digest(self) -> str:
        return gate_digest(self.work.state(), Gate.DECIDE)

    def code(self, person: str, ahead: int = 0) -> str:
        secret = (self.world.folder / "secrets" / f"totp-{person}").read_text().strip()
        return str(pyotp.TOTP(secret).at(self.clock() + timedelta(seconds=ahead * STEP)))

    def signature(self, key: str, person: str = "mia") -> str:
        text = statement(self.work.incident.id, "decide", self.digest, person, "approve", "yes", nonce="")
        return sign_statement(text, self.world.folder / key)

    def answer(
        self,
        person: str,
        decision: Decision = Decision.APPROVE,
        *,
        digest: str = "",
        code: str = "",
        signature: str = "",
        given: datetime | None = None,
    ) -> Standing:
        """What the form does with an answer."""
        return cast_vote(
            self.work, Gate.DECIDE, person=person, decision=decision, reason="yes",
            signed_digest=digest or self.digest, code=code or self.code(person), signature=signature, given=given,
        )  # fmt: skip

    def write(
        self, person: str, *, digest: str = "", at: datetime | None = None, proof: str = "", used: bool = True
    ) -> None:
        """Write a vote past the form; `used` also marks a one-time code as used for this very vote."""
        step = int(now().timestamp()) // STEP + 1000 + len(self.work.state().votes)
        vote = Vote(
            gate=Gate.DECIDE, digest=digest or self.digest, person=person, role="leading_group",
            decision=Decision.APPROVE, reason="yes", proof="ssh" if proof.startswith("-") else "totp",
            proof_ref=proof or f"totp:{step}", at=at or now(),
        )  # fmt: skip
        if used and not proof:
            assert self.work.store.use_code(person, step, claim(self.work, vote, 0))
        self.work.record(Voted(vote=vote))

    def change(self) -> None:
        """The proposal becomes another one."""
        proposal = self.work.state().proposal
        assert proposal is not None
        later = proposal.model_copy(update={"expires_at": proposal.expires_at + timedelta(seconds=1)})
        self.work.record(Proposed(proposal=later, digest=later.digest))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def case(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "world"
    folder.mkdir()
    world = make_small_world(server, folder)
    people = {
        person: {"name": person.title(), "totp": f"file:secrets/totp-{person}"} for person in PHONES[:-1]
    }
    world.write_plan(
        {
            "people": {**people, "mia": {"name": "Mia", "ssh_keys": [make_key(folder, "mia")]}},
            "roles": {"leading_group": ["lena", "omar", "rita", "mia"], "working_group": ["paul"]},
            "signoff": {"decide": {"roles": ["leading_group"], "quorum": 2}},
        }
    )
    for person in PHONES[1:]:
        write_secret(folder, f"totp-{person}", pyotp.random_base32())
    make_key(folder, "stolen")
    world.back_up()
    (world.files / "a.txt").write_text("all is lost\n")
    work = open_incident(
        load_plan(str(world.plan_file)), open_store(), "It shows nonsense.", "rita", Source.CLI
    )
    assert work.incident.id == begin(str(world.plan_file), work.incident.id)
    return Case(world, work)


Attempt = Callable[[Case], object]


def _asked(case: Case) -> str:
    """Lena asks for more; returns the code she typed."""
    code = case.code("lena")
    case.answer("lena", Decision.ASK, code=code)
    case.change()  # what was asked for leads to another proposal
    return code


def _late(case: Case) -> datetime:
    proposal = case.work.state().proposal
    assert proposal is not None
    return proposal.expires_at + timedelta(seconds=1)


def _answer_late(case: Case) -> object:
    late = _late(case)
    with pytest.MonkeyPatch.context() as patch:
        case.clock = lambda: late
        patch.setattr(voting, "now", case.clock)
        return case.answer("lena")


def _old(case: Case) -> str:
    digest = case.digest
    case.change()
    return digest


def _sign_then_change(case: Case) -> None:
    case.answer("lena")
    case.answer("omar")
    require_signed(case.work, case.work.state())
    case.change()


def _write_again(case: Case) -> None:
    _asked(case)
    case.write("lena", proof=case.work.state().votes[-1].proof_ref)


def _taken_back(case: Case) -> str:
    """Mia approves by signature and takes it back; returns the signature."""
    signature = case.signature("mia")
    case.answer("mia", code="0", signature=signature)
    text = statement(case.work.incident.id, "decide", case.digest, "mia", "withdraw", "yes", nonce="")
    withdrawal = sign_statement(text, case.world.folder / "mia")
    case.answer("mia", Decision.WITHDRAW, code="0", signature=withdrawal)
    return signature


FALSE: dict[str, tuple[Attempt, str, Attempt, str]] = {
    "forged code": (
        lambda case: case.answer("lena", code=case.code("eve")), "is not right",
        lambda case: case.write("lena", used=False), "no one-time code was ever taken",
    ),
    "no proof at all": (
        lambda case: case.answer("lena", code="lena"), "not a one-time code",
        lambda case: case.write("lena", proof="lena", used=False), "carries no proof",
    ),
    "forged signature": (
        lambda case: case.answer("mia", code="0", signature=case.signature("stolen")), "SSH signature is not one of",
        lambda case: case.write("mia", proof=case.signature("stolen")), "SSH signature is not one of",
    ),
    "signature of another": (
        lambda case: case.answer("lena", code="0", signature=case.signature("mia", "lena")), "no SSH key",
        lambda case: case.write("lena", proof=case.signature("mia", "lena")), "no SSH key",
    ),
    "expired": (
        _answer_late, "has expired",
        lambda case: case.write("lena", at=_late(case)), "after the proposal had expired",
    ),
    "replayed": (
        lambda case: case.answer("lena", code=_asked(case)), "was used before",
        _write_again, "no one-time code was ever taken",
    ),
    "replayed after it was taken back": (
        lambda case: case.answer("mia", code="0", signature=_taken_back(case)), "this very signature was given before",
        lambda case: case.write("mia", proof=_taken_back(case)), "this very signature was given before",
    ),
    "taken back though never given": (
        lambda case: case.answer("lena", Decision.WITHDRAW), "has signed nothing here",
        _taken_back, "1 of 2 signed; may sign: lena, mia",
    ),
    "wrong role": (
        lambda case: case.answer("paul"), "does not hold a role",
        lambda case: case.write("paul"), "may sign: lena, mia",
    ),
    "self-approving": (
        lambda case: case.answer("rita"), "reported or proposed this",
        lambda case: case.write("rita"), "may sign: lena, mia",
    ),
    "nobody of the plan": (
        lambda case: case.answer("eve"), "not a person of the plan",
        lambda case: case.write("eve"), "no such person",
    ),
    "double-voting": (
        lambda case: (case.answer("lena"), case.answer("lena", code=case.code("lena", 1))), "already signed",
        lambda case: case.write("omar"), "1 of 2 signed; may sign: lena, mia",
    ),
    "other proposal": (
        lambda case: case.answer("lena", digest=OTHER), "it changed",
        lambda case: case.write("lena", digest=OTHER), "may sign: lena, mia",
    ),
    "after a change": (
        lambda case: case.answer("lena", digest=_old(case)), "it changed",
        _sign_then_change, "0 of 2 signed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attempt", "words"), [row[:2] for row in FALSE.values()], ids=FALSE)
def test_false_vote_is_refused_where_people_answer(case: Case, attempt: Attempt, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        attempt(case)
    assert caught.value.remedy
    state = case.work.state()
    assert words in state.refusal[Gate.DECIDE]
    assert state.signed(Gate.DECIDE) is None


@pytest.mark.parametrize(("attempt", "words"), [row[2:] for row in FALSE.values()], ids=FALSE)
def test_false_vote_in_the_journal_is_refused_where_hosts_are_changed(
    case: Case, attempt: Attempt, words: str
) -> None:
    """Omar approved in truth, so that one vote decides; the task itself is called, no flow before it."""
    if attempt is not _sign_then_change:
        case.answer("omar")
    attempt(case)
    for digest in dict.fromkeys((OTHER, case.digest)):
        case.work.record(
            GateSettled(gate=Gate.DECIDE, digest=digest, decision=Decision.APPROVE, sentence="Approved.")
        )
    before = (case.world.files / "a.txt").read_bytes()
    proposal = case.work.state().proposal
    assert proposal is not None
    with pytest.raises(Refused, match=words) as caught:
        act(case.work, proposal.actions[0].id, lambda done, total: None)
    assert caught.value.remedy
    assert before == (case.world.files / "a.txt").read_bytes()
    assert not any(isinstance(r.payload, Intent) for r in case.work.store.read(case.work.incident.id))


def test_a_person_in_whose_name_a_vote_was_forged_can_still_sign(case: Case) -> None:
    case.write("lena", used=False)
    case.answer("omar")
    assert case.work.state().signed(Gate.DECIDE) is None
    shown = description(case.work, case.work.state(), Gate.DECIDE)
    assert "**Lena** (lena): has not signed" in shown
    assert "**Omar** (omar): approved at " in shown
    assert "A vote of lena in the journal does not count" in shown
    assert Decision.APPROVE is case.answer("lena").settled


def test_two_true_votes_one_by_code_one_by_signature_let_the_repair_happen(case: Case) -> None:
    case.answer("lena")
    case.answer("mia", code="0", signature=case.signature("mia"))
    begin(str(case.world.plan_file), case.work.incident.id)
    assert "all is well\n" == (case.world.files / "a.txt").read_text()


def test_everyone_of_the_rule_is_listed_with_what_they_said_or_may_do(case: Case) -> None:
    case.answer("lena", Decision.DENY)
    shown = description(case.work, case.work.state(), Gate.DECIDE)
    assert "**Lena** (lena): denied at " in shown
    case.change()
    open_gate(case.work, Gate.DECIDE)
    case.answer("mia", code="0", signature=case.signature("mia"))
    shown = description(case.work, case.work.state(), Gate.DECIDE)
    for text in (
        "**Lena** (lena): has not signed; signs by one-time code",
        "**Omar** (omar): has not signed; signs by one-time code",
        "**Rita** (rita): reported or proposed this and may not sign", "**Mia** (mia): approved at ", "UTC: yes",
    ):  # fmt: skip
        assert text in shown
    assert "Paul" not in shown
    case.change()
    open_gate(case.work, Gate.DECIDE)
    shown = description(case.work, case.work.state(), Gate.DECIDE)
    assert "**Mia** (mia): has not signed; signs by SSH key" in shown


def test_code_counts_when_it_was_typed_though_the_run_that_reads_it_starts_late(case: Case) -> None:
    """A busy machine takes a minute to start a run; within that the code is used once, as ever."""
    ahead, given = -4 * 60 // STEP, now() - timedelta(minutes=4)
    assert not case.answer("lena", code=case.code("lena", ahead), given=given).settled
    with pytest.raises(Refused, match="was used before"):
        case.answer("lena", Decision.WITHDRAW, code=case.code("lena", ahead), given=given)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_code_of_another_time_is_refused_whenever_it_is_said_to_be_typed(case: Case, minutes: int) -> None:
    code = case.code("lena", minutes * 60 // STEP)
    with pytest.raises(Refused, match="is not right"):
        case.answer("lena", code=code, given=now() + timedelta(minutes=minutes))
