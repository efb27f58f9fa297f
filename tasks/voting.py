"""Casting a vote: prove the person, admit the vote by the plan's rule, write it down, settle the gate (G6)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from blocks.people import statement, verify_ssh
from model.canonical import digest, now
from model.errors import BadInput, Overtaken, Refused
from model.journal import ASKED_AGAIN, GateOpened, GateSettled, State, Voted, VoteRefused, fold
from model.outcome import Gate, Stage
from model.plan import GateRule, Plan
from model.signoff import Decision, Standing, Vote, admit, standing
from model.steps import Ask, next_step
from tasks.delegating import stand_ins_of
from tasks.drill_policy import require_simulated
from tasks.proofs import prove as prove_person
from tasks.proofs import require_proof
from tasks.versions import glass_needed
from tasks.work import Work

IN_HAND = timedelta(minutes=5)
"""So long after it was typed a one-time code counts at most, while the run that reads it starts."""


def rule_of(work: Work, gate: Gate) -> GateRule:
    """The plan's rule for a gate."""
    rule: GateRule = getattr(work.plan.signoff, gate.value)
    return rule


def gate_digest(state: State, gate: Gate) -> str:
    """What the gate asks people to sign now: the proposal, or the proposal with the acceptance results.

    Raises:
        Refused: there is nothing to sign yet.
    """
    if gate is Gate.PUBLISH:
        if state.publication is None:
            raise Refused(
                "no version of a plan is put to the vote here.", remedy="`reinstate plan publish FILE`"
            )
        return state.publication.to_sign
    if gate is Gate.BREAK_GLASS:
        opened = state.gates.get(gate)
        if opened is None:
            raise Refused("nobody has to break the glass.", remedy="sign the proposal")
        return _glass_digest(state, opened.deadline)
    if state.proposal is None:
        raise Refused("there is no proposal to sign yet.", remedy="wait for the decide stage")
    if gate is Gate.DECIDE:
        return state.proposal.digest
    results = [v for v in state.verified if v.stage is Stage.ACCEPT]
    if not results:
        raise Refused("there is no result to accept yet.", remedy="wait for the accept stage")
    return digest([state.proposal.digest, len(results), results[-1].model_dump(mode="json")])


def _glass_digest(state: State, until: datetime) -> str:
    """What breaks the glass: this text of the plan, for this incident, for so long."""
    incident = state.require_incident()
    return digest([Gate.BREAK_GLASS, incident.id, incident.plan_digest, until.isoformat()])


def open_gate(work: Work, gate: Gate) -> State:
    """Make sure the journal holds the gate for the present digest; returns the state after it."""
    state = work.state()
    opened = state.gates.get(gate)
    deadline = now() + timedelta(seconds=rule_of(work, gate).deadline)
    if gate is Gate.BREAK_GLASS:
        until = opened.deadline if opened is not None and opened.deadline > now() else deadline
        wanted, deadline = _glass_digest(state, until), until
    else:
        wanted = gate_digest(state, gate)
    if opened is None or opened.digest != wanted:
        work.record(GateOpened(gate=gate, digest=wanted, deadline=deadline))
        state = work.state()
    return state


def expired(state: State, gate: Gate, at: datetime) -> bool:
    """Whether what the gate asks is too old to be signed: a fresh proposal is needed."""
    return gate is Gate.DECIDE and state.proposal is not None and at > state.proposal.expires_at


def glass_is_due(work: Work) -> bool:
    """Whether the glass has to be broken (again) before the proposal is signed; the journal then says so."""
    state = work.state()
    needed = state.glass or glass_needed(work.store, work.incident)
    if needed is None or state.changed:
        return False
    if state.glass is None:
        work.record(needed)
    opened = state.gates.get(Gate.BREAK_GLASS)
    if opened is not None and opened.deadline <= now():
        open_gate(work, Gate.BREAK_GLASS)
    return work.state().signed(Gate.BREAK_GLASS) is None


def gate_standing(work: Work, state: State, gate: Gate) -> Standing:
    """Where the gate stands for what it asks now, counting only votes whose proof holds when it is read again."""
    votes, left_out = _counted(work, state, gate)
    current = gate_digest(state, gate)
    instead = stand_ins_of(work.store, work.plan, gate)
    where = standing(
        work.plan, rule_of(work, gate), work.incident.reported_by, current, votes, instead, now()
    )
    return where.model_copy(update={"sentence": " ".join((where.sentence, *left_out))})


def _counted(work: Work, state: State, gate: Gate) -> tuple[list[Vote], list[str]]:
    """The votes at a gate that count, and a sentence for each approval that does not.

    A denial needs no second look: it lets nothing happen.
    """
    current = gate_digest(state, gate)
    counted: list[Vote] = []
    left_out: list[str] = []
    for vote in (vote for vote in state.votes if vote.gate is gate):
        try:
            if vote.decision is Decision.APPROVE and vote.digest == current:
                _prove_again(work, state, vote)
                if vote.proof == "ssh" and any(other.proof_ref == vote.proof_ref for other in counted):
                    raise Refused("this very signature was given before.", remedy="find out who wrote it")
        except Refused as refusal:
            left_out.append(f"A vote of {vote.person} in the journal does not count: {refusal.what}")
        else:
            counted.append(vote)
    return counted, left_out


def _prove_again(work: Work, state: State, vote: Vote) -> None:
    """Check the proof of a vote as the journal holds it, whoever wrote it there (G6).

    Raises:
        Refused: it is not this person's word on this gate of this incident and on this digest, or came too late.
    """
    if expired(state, vote.gate, vote.at):
        raise Refused("it was cast after the proposal had expired.", remedy="make a fresh proposal")
    who = work.plan.people.get(vote.person)
    if who is None:
        raise Refused("the plan has no such person.", remedy="find out who wrote it")
    if vote.proof == "simulated":
        require_simulated(work)
        return
    by_key = vote.proof == "ssh"
    who = require_proof(work.store, work.plan.name, vote.person, who, vote.at, by_key=by_key)
    if vote.proof == "ssh":
        verify_ssh(who, _statement(work, vote), vote.proof_ref)
        return
    step = vote.proof_ref.removeprefix("totp:")
    if not step.isdecimal():
        raise Refused("it carries no proof.", remedy="find out who wrote it")
    used_for = work.store.claim_of(vote.person, int(step))
    if used_for is None or not _is_claim(work, vote, used_for):
        raise Refused("no one-time code was ever taken for it.", remedy="find out who wrote it")


def _statement(work: Work, vote: Vote) -> bytes:
    return statement(
        work.incident.id, vote.gate, vote.digest, vote.person, vote.decision, vote.reason, nonce=""
    )


def claim(work: Work, vote: Vote, number: int | str) -> str:
    """What a one-time code is used up for: this answer, the `number`th of its gate, and no other."""
    return f"{work.incident.id}/{vote.gate}/{number}/{vote.person}/{vote.decision}/{vote.digest}"


def _is_claim(work: Work, vote: Vote, used_for: str) -> bool:
    number = used_for.removeprefix(f"{work.incident.id}/{vote.gate}/").partition("/")[0]
    return number.isdecimal() and used_for == claim(work, vote, number)


def cast_vote(
    work: Work,
    gate: Gate,
    *,
    person: str,
    decision: Decision,
    reason: str,
    signed_digest: str,
    code: str = "",
    signature: str = "",
    given: datetime | None = None,
) -> Standing:
    """Cast one vote, by one-time code or by SSH signature.

    Args:
        work: the incident.
        gate: which gate.
        person: id of the person in the plan.
        decision: approve, deny, ask for more, or take back what was signed.
        reason: why; kept for ever.
        signed_digest: the digest the person saw (at least 12 leading hex digits).
        code: six-digit one-time code.
        signature: armoured SSH signature over `blocks.people.statement`.
        given: when the Prefect server took the form, where there is one: a code counts at that moment, `IN_HAND` before
            now at most. The run that reads the form may take long to start; the code was right when it was typed.

    Returns:
        Where the gate stands afterwards.

    Raises:
        Refused: the proof or the vote is not admitted; the refusal is in the journal and the gate stays open.
    """
    state = open_gate(work, gate)
    _require_open(work, state, gate, decision)
    current = gate_digest(state, gate)

    def prove() -> Vote:
        if person not in work.plan.people:
            raise Refused(
                f"{person!r} is not a person of the plan.", remedy=f"known: {', '.join(work.plan.people)}"
            )
        if len(signed_digest) < 12 or not current.startswith(signed_digest):
            raise Refused(
                f"the sign-off is for {signed_digest[:12]!r}, the current one is {current[:12]}: it changed.",
                remedy="read the current proposal and sign that",
            )
        instead = stand_ins_of(work.store, work.plan, gate)
        draft = Vote(
            gate=gate, digest=current, person=person, role=role_in(work.plan, instead(now()), person),
            decision=decision, reason=reason, proof="ssh" if signature else "totp", proof_ref="", at=now(),
        )  # fmt: skip
        votes, _ = _counted(work, state, gate)
        admit(work.plan, rule_of(work, gate), work.incident.reported_by, current, votes, draft, instead)
        if expired(state, gate, draft.at):
            raise Refused(
                "the proposal has expired.",
                remedy=f"run `reinstate recover --incident {work.incident.id}` for a fresh one",
            )
        reference = prove_person(
            work.store, work.file, person, _moment(given, draft.at), _statement(work, draft),
            signature=signature, code=code, claim=claim(work, draft, state.asked(gate)),
        )  # fmt: skip
        return draft.model_copy(update={"proof_ref": reference})

    try:
        write_vote(work, prove())
    except Refused as refusal:
        work.record(VoteRefused(gate=gate, person=person[:80], reason=refusal.what))
        raise
    return settle(work, gate)


def _moment(given: datetime | None, present: datetime) -> datetime:
    return present if given is None else min(present, max(given, present - IN_HAND))


def role_in(plan: Plan, stand_ins: Mapping[str, str], person: str) -> str:
    """The roles a person signs in: their own, or those of the one they stand in for."""
    for giver, other in stand_ins.items():
        if other == person:
            return f"{', '.join(plan.roles.of(giver))} for {giver}"
    return ", ".join(plan.roles.of(person))


def _require_open(work: Work, state: State, gate: Gate, decision: Decision) -> None:
    """Refuse what comes after a settlement, a question, or a deadline at which the plan lets something happen."""
    remedy = f"see `reinstate report {work.incident.id}`"
    if decision is Decision.WITHDRAW and gate is not Gate.ACCEPT and state.intents:
        raise Refused("the repair has begun.", remedy=f"deny at {Gate.ACCEPT}: that rolls everything back")
    taking_back = (
        decision is Decision.WITHDRAW and state.signed(gate) is Decision.APPROVE and gate in TAKEN_BACK
    )
    if state.signed(gate) is not None and not taking_back:
        raise Refused(f"this gate is already settled. {state.settled[gate].sentence}", remedy=remedy)
    opened, wanted = state.gates.get(gate), rule_of(work, gate).on_timeout
    if opened is not None and wanted != "hold" and opened.deadline <= now():
        raise Refused(
            f"the deadline of {gate} passed at {opened.deadline:%Y-%m-%d %H:%M:%S} UTC; what the plan says for that "
            f"({wanted}) happens now.", remedy=remedy,
        )  # fmt: skip
    if (question := question_open(state, gate)) is not None:
        raise Refused(
            f"{question.person} asked for more, so this is looked at again: “{question.reason}”",
            remedy="read and sign what is asked next",
        )


def gate_to_answer(state: State, decision: Decision) -> Gate:
    """The gate that a person's answer is for: the one that waits, or the one that was approved and can be taken back.

    Raises:
        BadInput: there is none.
    """
    step = next_step(state)
    if isinstance(step, Ask):
        return step.gate
    approved = [gate for gate in TAKEN_BACK if state.signed(gate) is Decision.APPROVE]
    if decision is Decision.WITHDRAW and approved and state.ended is None:
        return approved[0]
    where = state.require_incident().id
    raise BadInput(
        f"nothing waits for a sign-off: {step.reason}", where=where, remedy="see `reinstate report`"
    )


TAKEN_BACK = (Gate.DECIDE, Gate.BREAK_GLASS)
"""Gates of which a settlement can be undone by taking an approval back: nothing follows at once."""


def question_open(state: State, gate: Gate) -> Vote | None:
    """The question at a gate because of which what it asks is being made anew; None when there is none."""
    if gate not in ASKED_AGAIN or (gate is Gate.DECIDE and state.intents):
        return None
    current = gate_digest(state, gate)
    return next((vote for vote in state.questions(gate) if vote.digest == current), None)


def write_vote(work: Work, vote: Vote) -> None:
    """Write a proven vote down, if what it answers is still asked: others may sign, or time may run out, meanwhile.

    Raises:
        Refused: the gate was settled, or asks something else, or has this person's vote by now.
    """
    while True:
        records = work.store.read(work.incident.id)
        state = fold(records)
        _require_open(work, state, vote.gate, vote.decision)
        votes, _ = _counted(work, state, vote.gate)
        current = gate_digest(state, vote.gate)
        instead = stand_ins_of(work.store, work.plan, vote.gate)
        admit(work.plan, rule_of(work, vote.gate), work.incident.reported_by, current, votes, vote, instead)
        with suppress(Overtaken):
            work.store.append(work.incident.id, Voted(vote=vote), expect=len(records))
            return


def settle(work: Work, gate: Gate) -> Standing:
    """Write the settlement once the votes suffice; safe to call again after a crash."""
    state = work.state()
    where = gate_standing(work, state, gate)
    if where.settled is not None and state.signed(gate) is None:
        work.record(
            GateSettled(
                gate=gate, digest=gate_digest(state, gate), decision=where.settled, sentence=where.sentence
            )
        )
    return where
