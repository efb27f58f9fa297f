"""`reinstate back-up`, `scan`, `propose`, `recover`, `approve`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import (
    CODE,
    JSON,
    KEY,
    PlanRef,
    emit,
    out,
    quiet_prefect,
    reported,
    say,
    show_markdown,
    show_table,
)
from deployments.cli.prevention import remember_scan, say_ready, show_history
from model.command import printable
from model.errors import BadInput, ReinstateError
from model.finding import Verdict
from model.incident import Kind, Source
from model.journal import Confirmed
from model.mistake import Mistake, read_mistake
from model.outcome import Gate, RunVerdict
from model.signoff import Decision

DAMAGED_EXIT = 2
"""Exit code of a scan that found damage."""

ENDED_EXIT: Mapping[str, int] = {RunVerdict.ROLLED_BACK: 10, RunVerdict.STOPPED_SAFE: 11}
"""Exit codes of a recovery that ended without bringing the service back."""


@reported
def back_up(plan: PlanRef, as_json: JSON = False) -> None:
    """Back up every asset of a plan now and record what its packages look like while healthy."""
    quiet_prefect()
    from flows.back_up import back_up as flow

    sentences = asyncio.run(flow.fn(plan))
    emit(sentences, as_json, lambda: out("\n".join(sentences)))


@reported
def scan(
    plan: PlanRef,
    history: Annotated[
        bool, typer.Option("--history", help="Show what earlier scans found, and look at nothing.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Examine every asset of a plan; changes nothing and opens no incident.

    Exit code 2 when damage was found, or a recovery point is missing or overdue.
    """
    quiet_prefect()
    from blocks.home import open_store
    from tasks.progress import Progress
    from tasks.recovery_points import survey
    from tasks.render_points import told
    from tasks.steps import look_and_diagnose
    from tasks.work import load_plan

    store = open_store()
    if history:
        show_history(load_plan(plan, store), store, as_json)
        return
    file, began = load_plan(plan, store), time.monotonic()
    seen = look_and_diagnose(file, store, Progress("scan", "scan"))
    remember_scan(file, store, seen.results, time.monotonic() - began)
    emit(seen, as_json, lambda: _show(seen))
    for said in (troubles := told(survey(file, store))):
        say(said)
    if troubles or any(result.verdict is not Verdict.PASSED for result in seen.results):
        raise typer.Exit(DAMAGED_EXIT)


def _show(seen: Confirmed) -> None:
    from tasks.diagnosis_page import page

    results = seen.results
    rows = [(r.verdict, r.check, r.host, r.asset, r.examined, r.sentence) for r in results]
    show_table("Checks", ("verdict", "check", "host", "asset", "examined", "sentence"), rows)
    findings = [finding for result in results for finding in result.findings]
    if findings:
        show_table(
            "Findings", ("host", "asset", "finding"), [(f.host, f.asset, f.sentence) for f in findings]
        )
        if seen.diagnosis is not None:
            show_markdown(page(results, seen.severity, seen.diagnosis))
    else:
        out("Nothing is damaged.")


MistakeOption = Annotated[
    str,
    typer.Option(
        help="Rows or files were deleted or changed by mistake: ASSET@MOMENT, all was well until just before it; of "
        "a file set also ASSET@BEGIN/END: what was changed later stays."
    ),
]
TablesOption = Annotated[
    list[str] | None, typer.Option(help="With --mistake: a table that shall come back; may be given again.")
]
PathsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--path",
        help="With --mistake: a file or folder of the file set that shall come back; may be given again.",
    ),
]
ChangedOption = Annotated[bool, typer.Option("--changed", help="With --mistake: changed rows go back, too.")]


def _mistakes(
    mistake: str, tables: list[str] | None, changed: bool, paths: list[str] | None
) -> list[Mistake]:
    if not mistake:
        if tables or changed or paths:
            raise BadInput(
                "--table, --path and --changed go with --mistake.", "recover", "give `--mistake ASSET@MOMENT`"
            )
        return []
    return [read_mistake(mistake, tuple(tables or ()), changed, tuple(paths or ()))]


@reported
def propose(
    plan: PlanRef,
    mistake: MistakeOption = "",
    table: TablesOption = None,
    path: PathsOption = None,
    changed: ChangedOption = False,
    as_json: JSON = False,
) -> None:
    """Examine and print the proposal a recovery would ask to sign; changes nothing and opens no incident."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.render import what
    from tasks.render_points import choices, reimport
    from tasks.steps import draft_proposal
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)
    say_ready(file.plan.name)
    proposal = draft_proposal(file, store, _mistakes(mistake, table, changed, path))

    def text() -> None:
        rows = [(a.id, a.kind.replace("_", " "), a.host, what(a), a.reason, a.undo) for a in proposal.actions]
        show_table("Proposal", ("#", "action", "host", "what", "why", "undo"), rows)
        for loss in proposal.losses:
            out(f"Lost: {loss.sentence}")
        for said in choices(proposal.points):
            out(f"Recovery point of {printable(said)}")
        for sentence, things, steps in reimport(proposal.reimport):
            out(f"To bring back by users: {printable(sentence)} {printable(steps)}")
            for thing in things:
                out(f"  {printable(thing)}")
        for unmet in proposal.unmet:
            out(f"Not cured: {unmet.sentence} {unmet.remedy}")

    emit(proposal, as_json, text)


@reported
def recover(
    plan: Annotated[str, typer.Argument(help="A plan file or name; may be left out with --incident.")] = "",
    incident: Annotated[str, typer.Option(help="Go on with this incident.")] = "",
    summary: Annotated[str, typer.Option(help="What was noticed.")] = "Reported on the command line.",
    reported_by: Annotated[
        str, typer.Option("--by", help="Your id in the plan; who reports may not sign.")
    ] = "",
    kind: Annotated[Kind, typer.Option(help="real, drill or verification.")] = Kind.REAL,
    mistake: MistakeOption = "",
    table: TablesOption = None,
    path: PathsOption = None,
    changed: ChangedOption = False,
    local: Annotated[bool, typer.Option("--local", help="Run here, without any Prefect server.")] = False,
    as_json: JSON = False,
) -> None:
    """Recover: open an incident and go through all stages, or go on with one.

    Exit code with --local: 0 recovered, 3 while people must sign, 10 rolled back, 11 stopped safe.
    """
    from deployments.server.paths import running

    if not incident and not reported_by:
        raise BadInput(
            "who reports is missing.", where="recover", remedy="give `--by PERSON`, your id in the plan"
        )
    mistakes = _mistakes(mistake, table, changed, path)
    up = None if local else running()
    if up is None and not local:
        raise BadInput(
            "no `reinstate up` runs here.",
            where="recover",
            remedy="start `reinstate up PLAN`, or add `--local`",
        )
    _say_ready_of(plan, incident)
    if up is not None:
        from deployments.server.remote import start_recovery

        url = start_recovery(up.paths, plan, incident, summary, reported_by, kind, mistakes)
        emit({"flow_run": url}, as_json, lambda: out(f"The recovery runs: {url}"))
        return
    quiet_prefect()
    from flows.local import recover_here

    result = asyncio.run(recover_here(plan, incident, summary, reported_by, kind, Source.CLI, say, mistakes))
    emit(result, as_json, lambda: out(f"{result['incident']}: {result['outcome']}"))
    if code := ENDED_EXIT.get(result["outcome"].partition(":")[0], 0):
        raise typer.Exit(code)


def _say_ready_of(plan: str, incident: str) -> None:
    """Before anything starts; what is wrong with plan or incident is told by what starts."""
    from tasks.work import load_plan, open_work

    try:
        name = open_work(incident).plan.name if incident else load_plan(plan).plan.name
    except ReinstateError:
        return
    say_ready(name)


@reported
def approve(
    incident: Annotated[
        str, typer.Argument(help="Id of the incident, or of a plan's publication.", show_default=False)
    ],
    person: Annotated[str, typer.Option("--as", help="Your id in the plan.", show_default=False)],
    key: KEY = None,
    code: CODE = "",
    decision: Annotated[
        Decision, typer.Option(help="approve, deny, 'ask for more' or withdraw.")
    ] = Decision.APPROVE,
    reason: Annotated[str, typer.Option(help="Why; kept for ever.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you read it.")] = False,
    as_json: JSON = False,
) -> None:
    """Sign the gate an incident waits at, by SSH signature or one-time code."""
    _answer(incident, person, key, code, decision, reason, yes, as_json)


@reported
def withdraw(
    incident: Annotated[
        str, typer.Argument(help="Id of the incident, or of a plan's publication.", show_default=False)
    ],
    person: Annotated[str, typer.Option("--as", help="Your id in the plan.", show_default=False)],
    key: KEY = None,
    code: CODE = "",
    reason: Annotated[str, typer.Option(help="Why; kept for ever.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you read it.")] = False,
    as_json: JSON = False,
) -> None:
    """Take back what you signed, as long as nothing was changed."""
    _answer(incident, person, key, code, Decision.WITHDRAW, reason, yes, as_json)


def _answer(
    incident: str,
    person: str,
    key: Path | None,
    code: str,
    decision: Decision,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    quiet_prefect()
    from deployments.signing import sign_gate
    from flows.gate import description
    from model.steps import Publish, next_step
    from tasks.publishing import publish
    from tasks.voting import gate_digest, gate_to_answer, open_gate
    from tasks.work import open_work

    work = open_work(incident)
    gate: Gate = gate_to_answer(work.state(), decision)
    state = open_gate(work, gate)
    digest = gate_digest(state, gate)
    if not as_json:
        out(description(work, state, gate))
    if not yes and not typer.confirm(f"Sign {gate} of {incident} with “{decision}”?", err=True):
        raise typer.Exit(1)
    reason = reason or typer.prompt("Reason", err=True)
    if key is None and not code:
        code = typer.prompt("One-time code", err=True, hide_input=True)
    standing = sign_gate(work, gate, person, decision, reason, digest=digest, key=key, code=code)
    if isinstance(next_step(work.state()), Publish):
        say(publish(work))  # nothing on any host: it needs no run of its own
    emit(standing, as_json, lambda: out(standing.sentence))
