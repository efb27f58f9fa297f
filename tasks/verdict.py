"""The verdict of an incident, from its journal alone, and the next step for people where it did not recover."""

from __future__ import annotations

from model.canonical import now
from model.finding import Verdict
from model.journal import Ended, State
from model.outcome import Gate, RunVerdict, Stage
from model.plan import Plan
from model.proposal import returns_to
from model.signoff import Decision
from tasks.render import duration
from tasks.work import Work


def given_up(plan: Plan, state: State) -> set[str]:
    """Assets that are not critical and of which a step failed: their damage stays, and the recovery goes on."""
    failed = {step for step, effect in state.effects.items() if effect.result == "failed"}
    return {
        action.asset
        for action in (state.proposal.actions if state.proposal else ())
        if action.id in failed and not plan.assets[action.asset].step.critical
    }


def conclude(work: Work) -> Ended:
    """The verdict of an incident, from its journal alone."""
    state = work.state()
    incident = state.require_incident()
    failed = [e for e in state.ended_stages.values() if not e.ok]
    if incident.tabletop and state.signed(Gate.ACCEPT) is Decision.APPROVE:
        return Ended(
            verdict=RunVerdict.RECOVERED, sentence="Played through on paper; nothing was done to any host."
        )
    if state.signed(Gate.ACCEPT) is Decision.APPROVE:
        rto = (now() - incident.detected_at).total_seconds()
        used = [
            point.taken_at
            for a in (state.proposal.actions if state.proposal else ())
            if (point := returns_to(a)) is not None and state.done(a.id)
        ]
        rpo = max(((incident.detected_at - taken).total_seconds() for taken in used), default=0.0)
        sentence = (
            f"Everything repaired and accepted after {duration(rto)}; data lost: {duration(max(rpo, 0.0))}."
        )
        unmet = state.proposal.unmet if state.proposal else ()
        left = ", ".join(sorted(given_up(work.plan, state)))
        steps = [f"{u.sentence} {u.remedy}" for u in unmet]
        steps += [f"Repair {left}: it is not critical, and its repair failed and was undone."] if left else []
        return Ended(
            verdict=RunVerdict.RECOVERED,
            sentence=sentence
            + (f" {len(unmet)} declared exception(s) remain." if unmet else "")
            + (f" Optional and not repaired: {left}." if left else ""),
            next_human_step=" ".join(steps),
            rto=rto,
            rpo=max(rpo, 0.0),
        )
    back = state.ended_stages.get(Stage.ROLL_BACK)
    first = failed[0].sentence if failed else ""
    if back is not None and back.ok:
        why = first or state.settled[Gate.ACCEPT].sentence
        return Ended(
            verdict=RunVerdict.ROLLED_BACK, sentence=f"Rolled back: {why}",
            next_human_step="Read the report, remove the cause, then open a new incident.",
        )  # fmt: skip
    if back is not None:
        return Ended(
            verdict=RunVerdict.STOPPED_SAFE, sentence=f"The roll back did not finish: {back.sentence}",
            next_human_step=f"The snapshot is intact; {back.remedy or 'finish the roll back by hand from it'}.",
        )  # fmt: skip
    if failed:
        return Ended(
            verdict=RunVerdict.STOPPED_SAFE, sentence=f"Stopped before any change: {first}",
            next_human_step=failed[0].remedy or "Remove the cause, then open a new incident.",
        )  # fmt: skip
    if state.confirmed is not None and state.confirmed.severity is None:
        errors = [r.sentence for r in state.confirmed.results if r.verdict is Verdict.ERROR]
        if errors:  # what could not be looked at is not known to be healthy (G11)
            return Ended(
                verdict=RunVerdict.STOPPED_SAFE,
                sentence=f"Nothing was changed, and whether there is damage is not known: {' '.join(errors)}",
                next_human_step="Remove what kept the checks from running, then open a new incident.",
            )
        return Ended(
            verdict=RunVerdict.STOPPED_SAFE, sentence="No damage was found and nothing was changed.",
            next_human_step="If users still see damage, widen the plan's checks.",
        )  # fmt: skip
    denied = Gate.BREAK_GLASS if state.signed(Gate.BREAK_GLASS) is Decision.DENY else Gate.DECIDE
    return Ended(
        verdict=RunVerdict.STOPPED_SAFE, sentence=f"Nothing was changed: {state.settled[denied].sentence}",
        next_human_step="Decide on another way, then open a new incident.",
    )  # fmt: skip
