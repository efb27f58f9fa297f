"""What to do next is always `next_step(journal)`: a pure decision ladder whose every branch says why (G1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.journal import Record, State, fold
from model.outcome import Gate, RunVerdict, Stage
from model.signoff import Decision

FORWARD = (Stage.PRESERVE, Stage.REPAIR, Stage.RESTORE, Stage.VERIFY, Stage.ACCEPT)
AFTER = frozenset({Stage.ROLL_BACK, Stage.CLOSE, Stage.REVIEW})
"""Stages whose own failure does not lead back: they are the way back, or come after the decision was final."""


@dataclass(frozen=True)
class Run:
    """Run this stage now."""

    stage: Stage
    reason: str


@dataclass(frozen=True)
class Ask:
    """Ask people at this gate."""

    gate: Gate
    reason: str


@dataclass(frozen=True)
class Publish:
    """Write the signed version of the plan down, or that it was denied."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """Nothing is left to do; a plan's publication has no verdict."""

    verdict: RunVerdict | None
    reason: str


Step = Run | Ask | Publish | Finished


def next_step(journal: Sequence[Record] | State) -> Step:
    """The next step of an incident.

    Args:
        journal: the incident's records, oldest first, or their fold.
    """
    state = journal if isinstance(journal, State) else fold(journal)
    if state.incident is None:
        return Run(Stage.REPORT, "Nothing is recorded yet.")
    if state.publication is not None:
        return _publication(state)
    if state.ended is not None:
        if state.reviewed is None:
            return Run(Stage.REVIEW, f"The end was declared ({state.ended.verdict}); the report is due.")
        return Finished(state.ended.verdict, state.ended.sentence)
    return _way_back(state) or _until_signed(state) or _until_accepted(state)


def _publication(state: State) -> Step:
    """A plan's new version: signed or denied, then written down."""
    if state.published is not None:
        return Finished(None, state.published.sentence)
    if state.signed(Gate.PUBLISH) is None:
        return Ask(Gate.PUBLISH, "The new version of the plan waits for its sign-off.")
    return Publish(state.settled[Gate.PUBLISH].sentence)


def _way_back(state: State) -> Step | None:
    """After a rollback, or a stage that failed for good; None when neither happened."""
    ended = state.ended_stages
    failed = next((e for e in ended.values() if not e.ok and e.stage not in AFTER), None)
    if Stage.ROLL_BACK in ended:
        return Run(Stage.CLOSE, ended[Stage.ROLL_BACK].sentence)
    if failed is not None and state.changed:
        return Run(Stage.ROLL_BACK, f"{failed.stage} failed after the host was changed: {failed.sentence}")
    if failed is not None:
        return Run(Stage.CLOSE, f"{failed.stage} failed and nothing was changed: {failed.sentence}")
    return None


def _until_signed(state: State) -> Step | None:
    """From the diagnosis to the decision; None once the proposal is approved."""
    ended = state.ended_stages
    if Stage.CONFIRM not in ended or state.confirmed is None:
        asked = state.questions(Gate.DECIDE)
        if asked and state.confirmed is not None:
            return Run(Stage.CONFIRM, f"{asked[-1].person} asked for more: {asked[-1].reason}")
        return Run(Stage.CONFIRM, "The damage is not confirmed yet.")
    if state.confirmed.severity is None:
        return Run(Stage.CLOSE, "No damage was found.")
    if Stage.DECIDE not in ended or state.proposal is None:
        return Run(Stage.DECIDE, "Damage is confirmed; a proposal is needed.")
    glass = state.signed(Gate.BREAK_GLASS) if state.glass is not None else Decision.APPROVE
    if glass is None and not state.changed:
        return Ask(
            Gate.BREAK_GLASS, "The plan was changed and not published; two people must break the glass."
        )
    if glass is Decision.DENY and not state.changed:
        return Run(Stage.CLOSE, state.settled[Gate.BREAK_GLASS].sentence)
    decision = state.signed(Gate.DECIDE)
    if decision is None:
        return Ask(Gate.DECIDE, "The proposal waits for its sign-off.")
    if (
        decision is Decision.DENY
    ):  # a second proposal may be denied after the first one was carried out in part
        back = Stage.ROLL_BACK if state.changed else Stage.CLOSE
        return Run(back, state.settled[Gate.DECIDE].sentence)
    return None


def _until_accepted(state: State) -> Step:
    """The signed proposal, stage by stage, and its acceptance."""
    for stage in FORWARD:
        if stage not in state.ended_stages:
            return Run(stage, f"{stage} is next on the signed proposal.")
    decision = state.signed(Gate.ACCEPT)
    if decision is None:
        return Ask(Gate.ACCEPT, "The result waits for its acceptance.")
    if decision is Decision.DENY:
        return Run(Stage.ROLL_BACK, state.settled[Gate.ACCEPT].sentence)
    return Run(Stage.CLOSE, "The result was accepted.")
