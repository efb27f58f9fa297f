"""One recovery of a host with the damage of many cases on it, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.command import printable
from model.finding import Finding
from model.journal import State
from model.outcome import RunVerdict
from model.proposal import Action
from tests.corpus.cases import Case
from tests.corpus.faults import inflict
from tests.support.labworld import World
from tests.support.locally import back_up_locally, recover_locally
from tests.support.witness import Seen, look_at


@dataclass(frozen=True)
class GroupOutcome:
    """What a recovery did.

    Attributes:
        state: the incident's journal, folded.
        before: every path of the cases before the damage.
        damaged: the same after it.
        after: the same after the recovery.
    """

    state: State
    before: dict[str, Seen | None]
    damaged: dict[str, Seen | None]
    after: dict[str, Seen | None]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found."""
        assert self.state.confirmed is not None
        return tuple(finding for result in self.state.confirmed.results for finding in result.findings)

    def finding(self, case: Case) -> Finding | None:
        """The finding that names a case's damage."""
        want = case.expect
        return next(
            (f for f in self.findings if want and (f.code, f.subject) == (want.code, want.subject)), None
        )

    def action(self, finding: Finding) -> Action | None:
        """The action that was signed to cure a finding."""
        actions = self.state.proposal.actions if self.state.proposal else ()
        return next((action for action in actions if finding.id in action.findings), None)

    def refused(self, finding: Finding) -> str:
        """What the proposal says about a finding that it does not cure."""
        unmet = self.state.proposal.unmet if self.state.proposal else ()
        return next((f"{u.sentence} {u.remedy}" for u in unmet if u.finding == finding.id), "")

    def unexpected(self, cases: Sequence[Case]) -> list[str]:
        """Findings that no case accounts for."""
        named = {case.expect.subject for case in cases if case.expect} | {s for c in cases for s in c.also}
        symptoms = {"SERVICE_DOWN", "PROBE_FAILED"}
        return [
            printable(f.sentence) for f in self.findings if f.subject not in named and f.code not in symptoms
        ]

    @property
    def ended(self) -> str:
        """Verdict and sentence."""
        assert self.state.ended is not None, "the incident is not over"
        return f"{self.state.ended.verdict}: {self.state.ended.sentence}"

    @property
    def recovered(self) -> bool:
        """Whether the recovery succeeded."""
        return self.state.ended is not None and self.state.ended.verdict is RunVerdict.RECOVERED


def run_group(world: World, cases: Sequence[Case]) -> GroupOutcome:
    """Back up, damage, recover."""
    back_up_locally(world)
    paths = sorted({path for case in cases for path in (*case.paths, *case.watched, *case.survive)})
    before = look_at(world.host, paths)
    for case in cases:
        inflict(world.host, case)
    damaged = look_at(world.host, paths)
    work = recover_locally(world)
    return GroupOutcome(work.state(), before, damaged, look_at(world.host, paths))
