"""Sign-offs that a drill's policy simulates, so that it runs without people; written down as what they are."""

from __future__ import annotations

from model.canonical import now
from model.errors import Refused
from model.outcome import Gate
from model.signoff import Decision, Vote
from tasks.delegating import stand_ins_of
from tasks.drill_policy import require_simulated
from tasks.voting import gate_digest, gate_standing, open_gate, role_in, settle, write_vote
from tasks.work import Work


def simulate_if_due(work: Work, gate: Gate) -> None:
    """Cast by policy the approvals that an open gate still needs, in a drill that simulates them; else nothing."""
    try:
        drill = require_simulated(work)
    except Refused:
        return
    state = open_gate(work, gate)
    instead = stand_ins_of(work.store, work.plan, gate)(now())
    for person in gate_standing(work, state, gate).may_sign:
        if settle(work, gate).settled is not None:
            break
        vote = Vote(
            gate=gate, digest=gate_digest(state, gate), person=person, role=role_in(work.plan, instead, person),
            decision=Decision.APPROVE, reason="Simulated by the drill's policy; nobody was asked.", proof="simulated",
            proof_ref=drill, at=now(),
        )  # fmt: skip
        write_vote(work, vote)
