"""Gates that nobody signs: reminders, escalation, and at the deadline what the plan says (R-RESP-3).

Called again and again by whoever runs: `up`, and a recovery that comes to its gate. Every step is one record, appended
only when nobody wrote since the journal was read, so a vote in the same moment and the deadline have one outcome.
"""

from __future__ import annotations

from model.canonical import now
from model.deadlines import Due, due
from model.errors import Overtaken
from model.journal import GateReminded, GateSettled, fold
from model.outcome import Gate
from model.plan import GateRule
from model.signoff import Decision
from model.steps import Ask, next_step
from tasks.message_words import AT_DEADLINE
from tasks.voting import gate_digest, gate_standing, open_gate, rule_of, settle
from tasks.work import Work

_DECISIONS = {"deny": Decision.DENY, "roll_back": Decision.DENY, "proceed": Decision.APPROVE}


def keep_gate(work: Work) -> list[str]:
    """Do what is due at the gate an incident waits at; returns what was written down.

    Raises:
        Damaged: the journal was altered.
    """
    said: list[str] = []
    while True:
        records = work.store.read(work.incident.id)
        state = fold(records)
        step = next_step(state)
        if not isinstance(step, Ask):
            return said
        gate, opened = step.gate, state.gates.get(step.gate)
        if opened is None or (gate is not Gate.BREAK_GLASS and gate_digest(state, gate) != opened.digest):
            return said  # the flow asks first
        if settle(work, gate).settled is not None:
            return said
        done = [one for one in state.reminded if one.gate is gate and one.digest == opened.digest]
        rule = rule_of(work, gate)
        todo = due(rule, opened, done, now())
        if not todo:
            return said
        sentence = gate_standing(work, state, gate).sentence
        payload = _record(gate, opened.digest, todo[0], rule, sentence)
        try:
            work.store.append(work.incident.id, payload, expect=len(records))
        except Overtaken:  # somebody signed in the same moment, or another process was first: look again
            continue
        said.append(payload.sentence)
        if gate is Gate.BREAK_GLASS and todo[0].what == "timeout" and rule.on_timeout == "hold":
            open_gate(work, gate)  # what was to be signed held until now; it is asked anew
            return said


def _record(gate: Gate, digest: str, one: Due, rule: GateRule, standing: str) -> GateReminded | GateSettled:
    if one.what == "timeout" and rule.on_timeout != "hold":
        return GateSettled(
            gate=gate, digest=digest, decision=_DECISIONS[rule.on_timeout], timed_out=True,
            sentence=f"Nobody settled {gate} in time; by the plan {AT_DEADLINE['en'][rule.on_timeout]}. {standing}",
        )  # fmt: skip
    minutes = round(one.before / 60)
    if one.what == "timeout":
        return GateReminded(
            gate=gate, digest=digest, what="held", before=0.0,
            sentence=f"The deadline of {gate} passed; by the plan it goes on waiting. {standing}",
        )  # fmt: skip
    whom = "Those who may sign are reminded" if one.what == "reminder" else "More people are told"
    return GateReminded(
        gate=gate, digest=digest, what="reminder" if one.what == "reminder" else "escalation", before=one.before,
        sentence=f"{whom} {minutes} min before the deadline of {gate}. {standing}",
    )  # fmt: skip
