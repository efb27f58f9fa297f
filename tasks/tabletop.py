"""Tabletop exercises: a scenario is told, people answer and sign, and nothing is done to any host (R-DRILL-1)."""

from __future__ import annotations

from datetime import timedelta

from checks.examine import impact_scope
from model.canonical import now
from model.drill_journal import fold_drill
from model.fault_kinds import FaultKind
from model.faults import Fault, choose
from model.finding import CheckResult, Code, Degree, Finding, Verdict
from model.journal import Confirmed, Proposed, Verified
from model.outcome import Stage
from model.proposal import Proposal, Unmet
from model.severity import grade
from tasks.work import Work

LIFE = timedelta(hours=24)
"""How long the paper proposal may be signed."""

_TOLD = {
    FaultKind.PACKAGE_FILE: ("a program of a package was replaced", "install the same version of the package again"),
    FaultKind.LIBRARY_BIT: ("a bit of a library has flipped", "install the same version of the package again"),
    FaultKind.CONFIGURATION: ("its configuration is gone", "bring the configuration back from the newest good backup"),
    FaultKind.PERMISSIONS: ("files can be read and written by the wrong people", "set mode and owner as recorded"),
    FaultKind.DELETED_DIRECTORY: ("a folder was deleted", "bring the folder back from the newest good backup"),
    FaultKind.OVERWRITTEN_DOCUMENTS: (
        "documents were overwritten", "bring these documents back from before the mistake, and no others",
    ),
    FaultKind.DISK_FULL: ("a disk is full", "make room by what may be removed, then start what had stopped"),
    FaultKind.KILLED_UPGRADE: ("an upgrade was killed half way", "finish what the package tool has left open"),
    FaultKind.DATABASE_PAGES: (
        "pages of the database cannot be read", "restore the database beside the damaged one, and exchange the two",
    ),
    FaultKind.WRONG_UPDATE: ("an UPDATE hit the wrong rows", "bring these rows back from before the mistake"),
    FaultKind.DROPPED_TABLE: ("a table was dropped", "bring the table back from before the mistake"),
    FaultKind.STOPPED_SERVICE: ("the service has stopped", "find out why, then start it"),
    FaultKind.EXPIRED_CERTIFICATE: ("a certificate has expired", "ask for a new one and install it"),
}  # fmt: skip
"""Kind → what people are told, what would be done in earnest."""

_PLAYED = {
    Stage.PRESERVE: "Here evidence would be collected, and a snapshot taken of everything the repair touches.",
    Stage.REPAIR: "Here files, packages and configuration would be repaired. Who watches, and how do you stop it?",
    Stage.RESTORE: "Here data would be restored beside the damaged data, checked, and exchanged.",
    Stage.VERIFY: "Here every check would run again, and every expectation on the data.",
    Stage.ACCEPT: "Here the service would be probed through the soak window. Who tells the users that it is back?",
    Stage.ROLL_BACK: "Here everything would be undone from the snapshot.",
}
"""What a stage that acts says instead of acting."""


def scenario(work: Work) -> tuple[Fault, ...]:
    """What the exercise is about, by the drill's seed; the same again and again.

    Raises:
        PreconditionFailed: nothing of the plan can be damaged in such a way.
    """
    began = fold_drill(work.store.read(work.incident.drill)).began
    assert began is not None  # noqa: S101 - it is the second record of every drill
    kinds = [FaultKind(kind) for kind in began.kinds]
    return choose(work.plan, list(work.plan.hosts), kinds, began.seed, began.count)


def told(faults: tuple[Fault, ...]) -> str:
    """The scenario as a report, in words."""
    return "A tabletop exercise. " + " ".join(
        f"On {fault.host}, {fault.asset}: {_TOLD[fault.kind][0]}." for fault in faults
    )


def confirm(work: Work) -> str:
    """Write down as confirmed what the scenario says; no host is asked."""
    found = [(fault, _finding(fault)) for fault in scenario(work)]
    results = tuple(
        CheckResult(
            check="scenario", host=fault.host, asset=fault.asset, verdict=Verdict.FAILED, examined=1,
            findings=(finding,), sentence=f"{fault.asset}: {_TOLD[fault.kind][0]}, says the scenario.",
        )
        for fault, finding in found
    )  # fmt: skip
    severity = grade(
        [finding for _, finding in found], impact_scope(results, work.plan, ()), work.plan.severity
    )
    work.record(Confirmed(results=results, severity=severity))
    return f"{len(found)} things are told to be damaged. {severity.sentence}"


def _finding(fault: Fault) -> Finding:
    return Finding(
        code=Code.SCENARIO, host=fault.host, asset=fault.asset, subject=fault.target or fault.asset,
        degree=Degree.SERIOUS, detail=f"{_TOLD[fault.kind][0].capitalize()}.",
    )  # fmt: skip


def propose(work: Work) -> str:
    """Write down what would be done in earnest; the proposal has no action."""
    moment = now()
    unmet = tuple(
        Unmet(
            finding=(finding := _finding(fault)).id, sentence=f"{fault.asset} on {fault.host}: {finding.detail}",
            remedy=f"In earnest: {_TOLD[fault.kind][1]}.",
        )
        for fault in scenario(work)
    )  # fmt: skip
    proposal = Proposal(
        incident=work.incident.id, plan_digest=work.file.digest, hosts={}, actions=(), losses=(), unmet=unmet,
        created_at=moment, expires_at=moment + LIFE,
    )  # fmt: skip
    work.record(Proposed(proposal=proposal, digest=proposal.digest))
    return "Nothing is done to any host in a tabletop exercise; what would be done is written down."


def play(work: Work, stage: Stage) -> str:
    """What a stage says instead of acting; empty for a stage that acts on no host."""
    said = _PLAYED.get(stage, "")
    if stage is Stage.ACCEPT:  # what people accept is that it was played through
        work.record(Verified(stage=stage, results=()))
    return said
