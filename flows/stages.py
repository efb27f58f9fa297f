"""The response stages as flows, each deployable by itself; `flows.recover` strings them by the journal.

Only `report` keeps its result, so that a run which crashed right after it finds its incident. The others may be due a
second time in one run (someone asked for more) and must not be taken as done then: the journal says what is.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from prefect import flow, runtime

from flows.events import OPENED, about, emit
from flows.stage import in_prefect, run, run_stage, say
from model.errors import Damaged, ReinstateError, Transient
from model.finding import CheckResult, Verdict
from model.incident import Kind, Source
from model.journal import State
from model.mistake import Mistake
from model.outcome import Stage
from model.proposal import Action, Proposal, RestartService
from model.waves import waves
from tasks import steps
from tasks.verdict import given_up
from tasks.work import Work, load_plan


@flow(name="report", flow_run_name="by {reported_by}", persist_result=True, result_serializer="json")
async def report(
    plan: str,
    summary: str,
    reported_by: str,
    kind: Kind = Kind.REAL,
    source: Source = Source.UI,
    detected_at: datetime | None = None,
    mistakes: list[Mistake] | None = None,
) -> str:
    """Open an incident (R-RESP-1) and return its id.

    Args:
        plan: name of a registered plan, or the path of a plan file.
        summary: what was noticed.
        reported_by: a person of the plan or the monitor's name; whoever reports may not sign.
        kind: real, drill or verification.
        source: how the report came in.
        detected_at: when it was noticed; empty means now.
        mistakes: rows deleted or changed by mistake, and since when.
    """
    file = await asyncio.to_thread(load_plan, plan)
    incident: str = await run(
        steps.open_the_incident,
        str(file.path),
        summary,
        reported_by,
        kind,
        source,
        detected_at,
        mistakes or [],
    )
    say(f"Incident {incident} is open.")
    if in_prefect() and not runtime.flow_run.parent_flow_run_id:  # within `recover` it goes on anyhow
        emit(about(OPENED, file.plan.name, incident))
    return incident


@flow(name="confirm", flow_run_name="{incident}", persist_result=False)
async def confirm(incident: str) -> str:
    """Examine every asset of the plan and grade what is damaged (R-RESP-2).

    Args:
        incident: id of an open incident.
    """
    return await run_stage(incident, Stage.CONFIRM, lambda work: run(steps.confirm_damage, work.incident.id))


@flow(name="decide", flow_run_name="{incident}", persist_result=False)
async def decide(incident: str) -> str:
    """Make the proposal people will sign (R-RESP-3, R-RESP-4).

    Args:
        incident: id of an open incident.
    """
    return await run_stage(incident, Stage.DECIDE, lambda work: run(steps.make_proposal, work.incident.id))


@flow(name="preserve", flow_run_name="{incident}", persist_result=False)
async def preserve(incident: str) -> str:
    """Prove the supplies, collect evidence, take the pre-recovery snapshot: off the host, read back and hashed (G4).

    Args:
        incident: id of an open incident.
    """

    async def body(work: Work) -> str:
        hosts = sorted(_proposal(work.state()).hosts)
        sentences = [await run(steps.prove_supplies_of, work.incident.id)]
        sentences += [await run(steps.preserve_evidence, work.incident.id, host) for host in hosts]
        sentences += [await run(steps.preserve_snapshot, work.incident.id, host) for host in hosts]
        return " ".join(sentences)

    return await run_stage(incident, Stage.PRESERVE, body)


async def _execute(work: Work, stage: Stage) -> str:
    """Execute the signed actions of a stage in order, then look again at what they touched."""
    await run(steps.hold_hosts, work.incident.id)
    actions = [action for action in _proposal(work.state()).actions if action.stage is stage]
    begun = 0
    for wave in waves(actions, work.plan):
        for action in wave:
            begun += 1
            say(f"{stage} {begun} of {len(actions)}: {action.reason}")
        ended = await asyncio.gather(*(_carry_out(work, action) for action in wave), return_exceptions=True)
        # Only when all of them have ended: nothing may still run when the way back begins.
        errors = [error for error in ended if error is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, Transient))
    if not actions:
        return f"Nothing to {stage}."
    assets = sorted({a.asset for a in actions if not isinstance(a, RestartService)})
    if assets:
        _require_clean(await run(steps.look_again, work.incident.id, stage, assets), stage, work)
    left = given_up(work.plan, work.state())
    done = sum(action.asset not in left for action in actions)
    said = f"{done} action{'s' if done != 1 else ''} done, damage check clean."
    return said + (f" Optional and not repaired: {', '.join(sorted(left))}." if left else "")


async def _carry_out(work: Work, action: Action) -> None:
    """One action, as often as the plan says; of an asset that is not critical it may fail, and is undone then."""
    rule = work.plan.assets[action.asset].step
    task = steps.execute.with_options(name=action.kind.replace("_", " "), retries=rule.retries)
    if action.asset not in given_up(work.plan, work.state()):
        try:
            await run(task, work.incident.id, action.id, action.host, steps.describe(action))
        except ReinstateError as error:
            if action.asset not in given_up(work.plan, work.state()):
                raise
            say(f"{action.asset} is not critical; the recovery goes on without it: {error}")
        else:
            return
    if action.id in work.state().intents:
        await _undo(work, action)
    work.note_once(f"{action.id} was left out: {action.asset} is not critical and its repair failed.")


async def _undo(work: Work, action: Action) -> None:
    task = steps.revert.with_options(name=f"undo {action.kind.replace('_', ' ')}")
    await run(task, work.incident.id, action.id, action.host, steps.describe(action))


@flow(name="repair", flow_run_name="{incident}", persist_result=False)
async def repair(incident: str) -> str:
    """Execute the repair actions of the signed proposal (R-RESP-5).

    Args:
        incident: id of an open incident.
    """
    return await run_stage(incident, Stage.REPAIR, lambda work: _execute(work, Stage.REPAIR))


@flow(name="restore", flow_run_name="{incident}", persist_result=False)
async def restore(incident: str) -> str:
    """Execute the restore actions of the signed proposal: staging, verify, swap (R-RESP-6).

    Args:
        incident: id of an open incident.
    """
    return await run_stage(incident, Stage.RESTORE, lambda work: _execute(work, Stage.RESTORE))


@flow(name="verify", flow_run_name="{incident}", persist_result=False)
async def verify(incident: str) -> str:
    """Check everything again, and the restored data with great-expectations (R-RESP-6).

    Args:
        incident: id of an open incident.
    """

    async def body(work: Work) -> str:
        results = await run(steps.verify_everything, work.incident.id)
        _require_clean(results, Stage.VERIFY, work)
        return f"{len(results)} checks passed."

    return await run_stage(incident, Stage.VERIFY, body)


@flow(name="accept", flow_run_name="{incident}", persist_result=False)
async def accept(incident: str) -> str:
    """Probe the service through the soak window (R-RESP-7).

    Args:
        incident: id of an open incident.
    """

    async def body(work: Work) -> str:
        results = await run(steps.soak, work.incident.id)
        _require_clean(results, Stage.ACCEPT, work)
        return f"The service answered every probe for {work.plan.checks.soak:.0f} s."

    return await run_stage(incident, Stage.ACCEPT, body)


@flow(name="roll_back", flow_run_name="{incident}", persist_result=False)
async def roll_back(incident: str) -> str:
    """Undo every action from the pre-recovery snapshot, newest first.

    Args:
        incident: id of an open incident.
    """

    async def body(work: Work) -> str:
        await run(steps.hold_hosts, work.incident.id)
        state = work.state()
        begun = [action for action in _proposal(state).actions if action.id in state.intents]
        changes = [a for a in reversed(begun) if not isinstance(a, RestartService)]
        for action in (*changes, *(a for a in begun if isinstance(a, RestartService))):
            await _undo(work, action)
        return f"{len(begun)} actions undone; the hosts are as they were before the recovery."

    return await run_stage(incident, Stage.ROLL_BACK, body)


@flow(name="close", flow_run_name="{incident}", persist_result=False)
async def close(incident: str) -> str:
    """Declare the end, give the hosts back (R-RESP-9).

    Args:
        incident: id of an open incident.
    """
    return await run_stage(incident, Stage.CLOSE, lambda work: run(steps.declare_end, work.incident.id))


@flow(name="review", flow_run_name="{incident}", persist_result=False)
async def review(incident: str) -> str:
    """Write the report (R-REV-1).

    Args:
        incident: id of an ended incident.
    """
    return await run_stage(incident, Stage.REVIEW, lambda work: run(steps.write_report, work.incident.id))


def _proposal(state: State) -> Proposal:
    if state.proposal is None:
        raise Damaged("there is no proposal in the journal.", remedy="run `decide` first")
    return state.proposal


def _require_clean(results: tuple[CheckResult, ...], stage: Stage, work: Work) -> None:
    """Refuse what is still wrong, except what the signed proposal declared it would not cure."""
    state = work.state()
    proposal, left = _proposal(state), given_up(work.plan, state)
    declared = {unmet.finding for unmet in proposal.unmet}
    if stage is Stage.REPAIR:  # what is cured by the next stage is still there
        declared |= {
            f for action in proposal.actions if action.stage is Stage.RESTORE for f in action.findings
        }

    def tolerated(result: CheckResult) -> bool:
        if result.asset in left:
            return True
        if result.verdict is Verdict.ERROR:
            return result.name in declared
        return all(finding.id in declared for finding in result.findings)

    bad = [r for r in results if r.verdict in {Verdict.FAILED, Verdict.ERROR} and not tolerated(r)]
    if bad:
        raise ReinstateError(
            " ".join(result.sentence for result in bad),
            where=str(stage),
            remedy="read the checks artifact; the run goes back to the state before the recovery",
        )


STAGES = {
    Stage.CONFIRM: confirm, Stage.DECIDE: decide, Stage.PRESERVE: preserve, Stage.REPAIR: repair,
    Stage.RESTORE: restore, Stage.VERIFY: verify, Stage.ACCEPT: accept, Stage.ROLL_BACK: roll_back,
    Stage.CLOSE: close, Stage.REVIEW: review,
}  # fmt: skip
