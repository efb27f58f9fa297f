"""The Prefect tasks of the stages: each one act, retried only on `Transient`, named for the UI.

They take ids, not values: whatever they need is read from the journal, so a retry or a second process sees the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

from blocks.home import open_store
from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from checks import old_copies
from checks.diagnose import why
from checks.examine import examine, impact_scope
from checks.expectations import expect_tables
from checks.many import side_by_side
from checks.probe import probe_all
from checks.supplies import gather
from model.assets import Asset, DpkgAsset
from model.canonical import digest, now
from model.diagnosis import Diagnosis
from model.errors import PreconditionFailed
from model.finding import CheckResult, Code, Finding, Verdict
from model.incident import Kind, Source
from model.journal import Confirmed, LeaseReleased, Noted, Preserved, Proposed, Reviewed, Verified
from model.ladder import propose
from model.manifest import Manifest
from model.mistake import Mistake
from model.outcome import Stage
from model.proposal import Action, Proposal, RestoreFiles, Unmet, returns_to
from model.severity import grade
from tasks import act as acting
from tasks import tabletop
from tasks.delivered import delivered
from tasks.diagnosis_page import page
from tasks.evidence import collect_evidence
from tasks.healthy import load_health, save_clean
from tasks.mistakes import as_reported, look_beside
from tasks.one_act import one_act
from tasks.progress import Progress, table_artifact
from tasks.prove_supplies import prove_supplies
from tasks.readiness_page import blocked_before
from tasks.recovery_points import knowledge, references, remember_judged
from tasks.render import checks_rows, findings_rows, mark, proposal_markdown, size, what
from tasks.report import timeline_markdown, write_reports
from tasks.screens import screening
from tasks.snapshot import take_snapshot
from tasks.toolset import connected, equip
from tasks.verdict import conclude
from tasks.work import (
    Baselines,
    PlanFile,
    Work,
    accepted,
    baseline,
    load_plan,
    open_incident,
    open_work,
    require_mistakes,
)

PROPOSAL_LIFE = timedelta(hours=24)
"""A proposal older than this is made again: packages, backups and the host move on."""


def describe(action: Action) -> str:
    """What an action is about, for a task run's name."""
    return what(action)[:80]


def _markdown(key: str, text: str, description: str) -> None:
    if TaskRunContext.get() is not None:
        create_markdown_artifact(markdown=text, key=key, description=description)


@one_act(name="open incident", task_run_name="open incident: {summary}")
def open_the_incident(
    plan: str,
    summary: str,
    reported_by: str,
    kind: Kind,
    source: Source,
    detected_at: datetime | None,
    mistakes: Sequence[Mistake] = (),
) -> str:
    """Open an incident and return its id."""
    file, store = load_plan(plan), open_store()
    work = open_incident(file, store, summary, reported_by, source, kind, detected_at, tuple(mistakes))
    if known := blocked_before(store, file.plan.name):
        work.record(Noted(sentence=" ".join(known)[:2000]))
    return work.incident.id


def _look(
    file: PlanFile,
    journal: JournalStore,
    assets: set[str] | None,
    progress: Progress,
    reported: datetime | None = None,
) -> tuple[tuple[CheckResult, ...], Diagnosis | None]:
    """Examine assets over fresh connections whose identity is proven; with `reported`, also say why over the same."""
    plan, begun = file.plan, now()
    hosts = {a.host for n, a in plan.assets.items() if assets is None or n in assets}
    known = references(file, journal)
    health = load_health(journal, plan, known)
    packages = {name: asset for name, asset in plan.assets.items() if isinstance(asset, DpkgAsset)}
    agreed = {name: accepted(journal, plan, name) for name in plan.assets}
    stores = file.package_stores(journal)
    shelves = {store: delivered(stores[store]) for store in {a.store for a in packages.values() if a.store}}
    stocked = {
        name: shelf for name, asset in packages.items() if asset.store and (shelf := shelves[asset.store])
    }
    with file.connections(hosts) as connections, ExitStack() as stack:
        screens = stack.enter_context(screening(journal, plan, assets))
        side_by_side(prove, list(connections.values()))
        broken = equip(stack, list(connections.values()), file, journal)
        results = examine(
            plan, connections, baselines=Baselines(journal, plan), manifests=known, secrets=file.secrets, only=assets,
            progress=progress, accepted=agreed, delivered=stocked, broken=broken, package_stores=stores,
            screens=screens,
        )  # fmt: skip
        diagnosis = None if reported is None else why(plan, connections, results, health, reported)
    save_clean(journal, plan, results, begun)
    return results, diagnosis


def look(
    file: PlanFile, journal: JournalStore, assets: set[str] | None, progress: Progress
) -> tuple[CheckResult, ...]:
    """Examine assets of a plan (default: all, and the probes)."""
    return _look(file, journal, assets, progress)[0]


def look_and_diagnose(
    file: PlanFile,
    journal: JournalStore,
    progress: Progress,
    reported: datetime | None = None,
    mistakes: Sequence[Mistake] = (),
) -> Confirmed:
    """Examine the whole plan, grade what is damaged and say why (R-RESP-2).

    Args:
        file: the plan.
        journal: where evidence of health is kept.
        progress: told after each asset.
        reported: when the damage was noticed; now when not known.
        mistakes: what people reported that no check can find.
    """
    results, diagnosis = _look(file, journal, None, progress, reported or now())
    results = (*results, *as_reported(file.plan, mistakes))
    findings = [finding for result in results for finding in result.findings]
    scope = impact_scope(results, file.plan, diagnosis.impacts if diagnosis else ())
    severity = grade(findings, scope, file.plan.severity) if findings else None
    return Confirmed(results=results, severity=severity, diagnosis=diagnosis)


@one_act(name="examine", task_run_name="examine every asset for {incident}")
def confirm_damage(incident: str) -> str:
    """Run every check, grade the damage, write the diagnosis (R-RESP-2)."""
    work = open_work(incident)
    if work.incident.tabletop:
        return tabletop.confirm(work)
    confirmed = look_and_diagnose(
        work.file,
        work.store,
        Progress("examine", "examine"),
        work.incident.detected_at,
        work.incident.mistakes,
    )
    results, severity = confirmed.results, confirmed.severity
    findings = [finding for result in results for finding in result.findings]
    work.record(confirmed)
    if confirmed.diagnosis is not None:
        text = page(results, severity, confirmed.diagnosis, mark(work.incident.kind))
        _markdown("diagnosis", text, f"Diagnosis ({incident})")
    table_artifact("findings", findings_rows(findings), f"What is damaged ({incident})")
    table_artifact("checks", checks_rows(results), f"Every check and what it examined ({incident})")
    errors = sum(result.verdict is Verdict.ERROR for result in results)
    return f"{len(findings)} findings, {errors} checks could not run. {severity.sentence if severity else ''}".strip()


def build_proposal(
    file: PlanFile,
    journal: JournalStore,
    incident: str,
    findings: Sequence[Finding],
    detected_at: datetime | None = None,
    diagnosis: Diagnosis | None = None,
    mistakes: Sequence[Mistake] = (),
) -> Proposal:
    """Gather what can repair the findings and choose the least invasive way (R-RESP-4)."""
    known = knowledge(file, journal, detected_at, diagnosis, mistakes)
    with file.connections() as connections, ExitStack() as stack:
        ids = {name: prove(connection).machine_id for name, connection in connections.items()}
        if any(finding.code is Code.TOOL_BROKEN for finding in findings):
            equip(stack, list(connections.values()), file, journal)
        baselines = {n: b for n in file.plan.assets if (b := baseline(journal, file.plan, n)) is not None}
        stores, packages = file.backups(), file.package_stores(journal)
        supplies = gather(file.plan, connections, findings, stores, packages, baselines, known)
        supplies = look_beside(file, connections, stores, supplies, mistakes)
    remember_judged(known, supplies)
    return propose(
        file.plan,
        incident,
        file.digest,
        ids,
        findings,
        supplies,
        baselines,
        now(),
        PROPOSAL_LIFE,
        detected_at,
    )


def draft_proposal(file: PlanFile, journal: JournalStore, mistakes: Sequence[Mistake] = ()) -> Proposal:
    """The proposal a recovery would make now, without an incident."""
    require_mistakes(file.plan, mistakes)
    results, diagnosis = _look(file, journal, None, Progress("scan", "scan"), now())
    findings = [f for r in (*results, *as_reported(file.plan, mistakes)) for f in r.findings]
    return build_proposal(file, journal, "draft", findings, diagnosis=diagnosis, mistakes=mistakes)


def _runs(asset: Asset, kind: Kind) -> bool:
    """Whether the plan repairs an asset in such an incident."""
    return asset.step.runs_in in {"both", "drill" if kind is Kind.DRILL else "real"}


@one_act(name="propose", task_run_name="propose the least invasive repair for {incident}")
def make_proposal(incident: str) -> str:
    """Build the proposal people will sign and write it down."""
    work = open_work(incident)
    if work.incident.tabletop:
        return tabletop.propose(work)
    state = work.state()
    found = [f for r in (state.confirmed.results if state.confirmed else ()) for f in r.findings]
    elsewhere = {n for n, asset in work.plan.assets.items() if not _runs(asset, work.incident.kind)}
    findings = [finding for finding in found if finding.asset not in elsewhere]
    diagnosis = state.confirmed.diagnosis if state.confirmed else None
    proposal = build_proposal(
        work.file,
        work.store,
        incident,
        findings,
        work.incident.detected_at,
        diagnosis,
        work.incident.mistakes,
    )
    unknown = (
        tuple(  # signed for as well: what nobody could look at is not known to be whole afterwards either
            Unmet(finding=r.name, sentence=r.sentence, remedy="Make this check possible, or look by hand.")
            for r in (state.confirmed.results if state.confirmed else ())
            if r.verdict is Verdict.ERROR
        )
    )
    not_here = tuple(
        Unmet(
            finding=f.id,
            sentence=f.sentence,
            remedy=f"The plan repairs {f.asset} in {work.plan.assets[f.asset].step.runs_in} incidents only.",
        )
        for f in found
        if f.asset in elsewhere
    )
    proposal = proposal.model_copy(update={"unmet": (*proposal.unmet, *unknown, *not_here)})
    work.record(Proposed(proposal=proposal, digest=proposal.digest))
    _markdown("proposal", proposal_markdown(work.plan, work.state(), proposal), f"For sign-off ({incident})")
    return (
        f"{len(proposal.actions)} actions proposed, {len(proposal.unmet)} findings not cured, "
        f"about {proposal.minutes:.1f} min."
    )


@one_act(name="hold hosts", task_run_name="hold the hosts of {incident}")
def hold_hosts(incident: str) -> None:
    """Take the leases under a new fencing token (G3)."""
    acting.take_leases(open_work(incident))


@one_act(name="prove supplies", task_run_name="prove what {incident} restores from")
def prove_supplies_of(incident: str) -> str:
    """Read what the signed proposal restores from before anything is changed."""
    work = open_work(incident)
    proposal = work.state().proposal
    if proposal is None:
        return "There is nothing to prove."
    progress = Progress("prove supplies", "prove-supplies")
    proven, read = prove_supplies(
        proposal, work.file.backups(), work.file.package_stores(work.store), progress,
        lambda host: connected(work, host),
    )  # fmt: skip
    return f"{proven} supplies proven, {size(read)} read."


@one_act(name="collect evidence", task_run_name="collect evidence on {host}")
def preserve_evidence(incident: str, host: str) -> str:
    """Collect evidence in order of volatility, off the host (G4)."""
    work = open_work(incident)
    state = work.state()
    if any(p.what == "evidence" and p.host == host for p in state.preserved):
        return f"Evidence of {host} was already collected."
    findings = [f for r in (state.confirmed.results if state.confirmed else ()) for f in r.findings]
    with connected(work, host) as connection:
        prove(connection)
        manifest = collect_evidence(
            connection, work.plan, [f for f in findings if f.host == host], work.folder(f"evidence/{host}"),
            Progress(f"evidence on {host}", f"evidence-{host}"),
        )  # fmt: skip
    total = sum(item.bytes for item in manifest.items)
    work.record(
        Preserved(
            what="evidence", host=host, location=f"{incident}/evidence/{host}", sha256=digest(manifest),
            files=len(manifest.items), bytes=total,
        )
    )  # fmt: skip
    return f"{len(manifest.items)} pieces of evidence of {host} kept."


@one_act(name="snapshot host", task_run_name="snapshot what the repair touches on {host}")
def preserve_snapshot(incident: str, host: str) -> str:
    """Take the pre-recovery snapshot of everything the proposal touches, off the host (G4)."""
    work = open_work(incident)
    state = work.state()
    if any(p.what == "snapshot" and p.host == host for p in state.preserved):
        return f"The snapshot of {host} was already taken."
    actions = state.proposal.actions if state.proposal else ()
    paths = sorted({path for action in actions if action.host == host for path in action.touches})
    with connected(work, host) as connection:
        prove(connection)
        manifest = take_snapshot(
            connection,
            paths,
            work.folder(f"snapshot/{host}"),
            Progress(f"snapshot of {host}", f"snapshot-{host}"),
        )
    total = sum(entry.size for entry in manifest.entries)
    work.record(
        Preserved(
            what="snapshot", host=host, location=f"{incident}/snapshot/{host}", sha256=digest(manifest),
            files=len(manifest.entries), bytes=total,
        )
    )  # fmt: skip
    return f"Snapshot of {len(manifest.entries)} paths of {host} kept."


@one_act(name="execute", task_run_name="{summary} on {host}")
def execute(incident: str, action_id: str, host: str, summary: str) -> str:
    """Execute one action of the signed proposal exactly once."""
    work = open_work(incident)
    return acting.act(work, action_id, Progress(f"{summary} on {host}", f"{action_id}-{host}"))


@one_act(name="undo", task_run_name="undo {summary} on {host}")
def revert(incident: str, action_id: str, host: str, summary: str) -> str:
    """Undo one action."""
    work = open_work(incident)
    return acting.undo(work, action_id, Progress(f"undo {summary} on {host}", f"undo-{action_id}-{host}"))


@one_act(name="look again", task_run_name="damage check of {assets} after {stage}")
def look_again(incident: str, stage: Stage, assets: list[str]) -> tuple[CheckResult, ...]:
    """The damage check of what a stage repaired, run again."""
    work = open_work(incident)
    results = look(work.file, work.store, set(assets), Progress("examine again", f"examine-{stage}"))
    work.record(Verified(stage=stage, results=results))  # type: ignore[arg-type]  # only stages that verify call this
    table_artifact(f"checks-{stage}", checks_rows(results), f"Checks after {stage} ({incident})")
    return results


def compared_with(work: Work) -> dict[str, Manifest]:
    """The recovery points that tables are compared with: those that were restored from, else the newest."""
    stores, state = work.file.backups(), work.state()
    known = references(work.file, work.store)
    for action in state.proposal.actions if state.proposal else ():
        point = None if isinstance(action, RestoreFiles) else returns_to(action)
        if point is not None and state.done(action.id):
            known[action.asset] = stores[point.source].manifest(point)
    return known


@one_act(name="verify everything", task_run_name="verify everything for {incident}")
def verify_everything(incident: str) -> tuple[CheckResult, ...]:
    """Every damage check again, then great-expectations on the tables the plan names (R-RESP-6)."""
    work = open_work(incident)
    results = look(work.file, work.store, None, Progress("verify", "verify"))
    known = compared_with(work)
    results += expect_tables(work.file.plan, work.file.connect, work.file.secrets, known)
    work.record(Verified(stage=Stage.VERIFY, results=results, remarks=_still_run(work)))
    table_artifact("checks-verify", checks_rows(results), f"Checks of the whole plan ({incident})")
    return results


def _still_run(work: Work) -> tuple[str, ...]:
    """Who still runs what was replaced; a host that cannot say is no reason to stop."""
    state = work.state()
    done = [a for a in (state.proposal.actions if state.proposal else ()) if state.done(a.id)]
    said: tuple[str, ...] = ()
    for host in dict.fromkeys(action.host for action in done):
        replaced = {path for action in done if action.host == host for path in action.touches}
        try:
            with connected(work, host) as connection:
                said += old_copies.remarks(host, old_copies.collect(connection, replaced))
        except PreconditionFailed as error:
            said += (f"Who on {host} still runs what was replaced is not known: {error}",)
    return said


@one_act(name="soak", task_run_name="acceptance probes for {incident}")
def soak(incident: str) -> tuple[CheckResult, ...]:
    """Probe through the soak window; the first failure ends it (R-RESP-7)."""
    work = open_work(incident)
    checks, progress = work.plan.checks, Progress("soak window", "soak")
    start = time.monotonic()
    while True:
        results = probe_all(work.plan, work.file.connect)
        elapsed = time.monotonic() - start
        progress(int(min(elapsed, checks.soak) * 1000), max(1, int(checks.soak * 1000)))
        if elapsed >= checks.soak or any(r.verdict is not Verdict.PASSED for r in results):
            break
        time.sleep(min(checks.interval, max(0.05, checks.soak - elapsed)))
    work.record(Verified(stage=Stage.ACCEPT, results=results))
    table_artifact("checks-accept", checks_rows(results), f"Acceptance probes ({incident})")
    return results


@one_act(name="declare end", task_run_name="declare the end of {incident}")
def declare_end(incident: str) -> str:
    """Decide the verdict from the journal, give the hosts back (R-RESP-9)."""
    work = open_work(incident)
    ended = conclude(work)
    state = work.state()
    for host, token in state.tokens.items():
        assert state.proposal is not None  # noqa: S101 - leases are taken for a proposal's hosts only
        work.store.release(state.proposal.hosts[host], token)
        work.record(LeaseReleased(host=host, token=token))
    work.record(ended)
    return f"{ended.verdict}: {ended.sentence}"


@one_act(name="write report", task_run_name="write the report of {incident}")
def write_report(incident: str) -> str:
    """Write the report from the journal: Markdown, HTML, JSON (R-REV-1)."""
    work = open_work(incident)
    written = write_reports(work)
    work.record(Reviewed(report=str(written.html), sha256=written.sha256, items=written.items))
    _markdown("timeline", timeline_markdown(work), f"What happened when ({incident})")
    _markdown("report", written.markdown, f"Report ({incident})")
    return f"Report written: {written.html}"
