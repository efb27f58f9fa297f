"""The Prefect tasks of a drill: open, prove staging, look, plant, and what is left of it at the end (R-DRILL-1).

Everything a drill does is in its own journal before or right after it was done; the recovery in between is the same as
for a real incident, and reads none of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

from blocks import durable
from blocks.home import home, open_store
from blocks.journals.base import JournalStore
from checks.expectations import expect_tables
from model.assets import DpkgAsset, RpmAsset, SystemAsset
from model.canonical import now
from model.drill import Mode, SignedBy
from model.drill_journal import Drill, fold_drill
from model.drill_records import (
    DrillBegan,
    DrillEnded,
    DrillIncidentOpened,
    DrillLease,
    Outcome,
    StagingLooked,
    StagingProven,
)
from model.errors import BadInput
from model.fault_kinds import FaultKind
from model.finding import CheckResult, Verdict
from model.incident import Incident, Kind, Source, new_incident_id
from model.journal import State
from model.readiness import Lack
from tasks import tabletop
from tasks.backing_up import record_package_baseline, record_system_baseline
from tasks.healthy import record_what_runs
from tasks.one_act import one_act
from tasks.open_incidents import states_of
from tasks.progress import Progress
from tasks.ready_hosts import ask_hosts
from tasks.recovery_points import references
from tasks.staging_facts import prove_staging
from tasks.steps import compared_with, look
from tasks.versions import published_number
from tasks.work import Work, baseline, kept_plan, load_plan, open_incident, open_work, owner, write_first

REPORTER = "drill"
"""Who reports the incident of a drill: nobody of the plan, so everybody may sign."""
SUMMARY = "A drill began."
"""All that people are told of what was planted."""
NEEDED = frozenset({
    Lack.HOST_UNREACHABLE, Lack.HOST_KEY_DIFFERS, Lack.LOGIN_REFUSED, Lack.SECRET_MISSING, Lack.IDENTITY_DIFFERS,
    Lack.SUDO_REFUSED, Lack.TOOL_BROKEN, Lack.DISK_FULL, Lack.DISK_READ_ONLY, Lack.SOURCE_UNREACHABLE,
    Lack.POINT_MISSING,
})  # fmt: skip
"""Without these no recovery could come to its end: nothing is damaged then."""


def drill_of(store: JournalStore, ident: str) -> Drill:
    """What the journal of a drill says now."""
    return fold_drill(store.read(ident))


@contextmanager
def in_hand(ident: str) -> Iterator[None]:
    """Held by the process that works on a drill; free once it is gone, however that came about.

    Raises:
        Transient: another process works on it.
    """
    with durable.locked(durable.make_folder(home() / "locks") / f"{ident}.drill.lock", patience=0):
        yield


@one_act(name="open drill", task_run_name="open a drill of {plan}")
def open_drill(
    plan: str, seed: int | None, kinds: Sequence[str], mode: Mode | None, sign_off: SignedBy | None
) -> str:
    """Open the journal of a drill and return its id; what is left out is the plan's.

    Raises:
        BadInput: there is no such kind of damage.
    """
    store = open_store()
    file = load_plan(plan, store)
    rule = file.plan.drill
    wanted = tuple(kinds) or rule.faults
    require_kinds(wanted)
    moment = now()
    ident = new_incident_id(moment, "drl")
    on_paper = (mode or rule.mode) == "tabletop"
    incident = Incident(
        id=ident, kind=Kind.DRILL, plan=file.plan.name, plan_version=file.plan.version, plan_digest=file.digest,
        summary=SUMMARY, reported_by=REPORTER, source=Source.SCHEDULE, detected_at=moment, opened_at=moment,
        published=published_number(store, file.plan.name, file.digest), drill=ident, tabletop=on_paper,
    )  # fmt: skip
    began = DrillBegan(
        mode=mode or rule.mode, sign_off=sign_off or rule.sign_off,
        seed=secrets.randbelow(1 << 31) if seed is None else seed, count=rule.count, kinds=wanted,
        hosts={} if on_paper else {name: host.machine_id for name, host in rule.staging.items()},
        expires_at=moment + timedelta(seconds=rule.lease),
        sentence=f"A drill of plan {file.plan.name} begins; staging is held for {rule.lease / 60:.0f} min at most.",
    )  # fmt: skip
    write_first(incident, file, store)
    store.append(ident, began)
    return ident


def require_kinds(kinds: Sequence[str]) -> None:
    """Refuse a kind of damage that there is not.

    Raises:
        BadInput: as said.
    """
    known = [kind.value for kind in FaultKind]
    if unknown := [kind for kind in kinds if kind not in known]:
        raise BadInput(f"{unknown[0]!r} is no kind of damage.", "--fault", f"give {', '.join(known)}")


@one_act(name="prove staging", task_run_name="prove that {drill} can touch staging only")
def prove_and_hold(drill: str) -> str:
    """Check the three facts of every stand-in, then take the staging hosts (G12); a refusal ends the drill.

    Raises:
        Refused: a fact does not hold, or another drill has a host.
    """
    store = open_store()
    known = drill_of(store, drill)
    if known.proven is not None:
        return known.proven.sentence
    file = kept_plan(store, known.opened)
    rule = file.plan.drill
    proven = StagingProven(sentence="Every staging host is held.", facts=prove_staging(file, store))
    for name, host in rule.staging.items():
        lease = store.lease(f"drill-{host.machine_id}", drill, owner(), _left(known))
        store.append(
            drill, DrillLease(host=name, token=lease.token, held=True, sentence=f"{name} is held by the drill.")
        )  # fmt: skip
    store.append(drill, proven)
    return proven.sentence


def _left(known: Drill) -> float:
    assert known.began is not None  # noqa: S101 - it is the second record of every drill
    return max(1.0, (known.began.expires_at - now()).total_seconds())


@one_act(name="look at staging", task_run_name="is staging well {when} the damage?")
def look_at_staging(drill: str, when: str) -> bool:
    """Every check of the plan and every expectation on its tables, asked of staging (the hypothesis).

    Before the damage, first whether the recovery could be done there: rights, tools, room, recovery points.

    Returns:
        Whether all is well.
    """
    work = open_work(drill)
    known = drill_of(work.store, drill)
    seen = known.before if when == "before" else known.after
    if seen is not None:
        return seen.ok
    if when == "before" and (lacking := _lacking(work)):
        sentence = f"Staging is not ready: {' '.join(lacking[:5])}"
        work.record(StagingLooked(when="before", ok=False, results=(), sentence=sentence))
        return False
    compared = references(work.file, work.store)
    if known.incident:
        compared = compared_with(open_work(known.incident, work.store))
    results = look(work.file, work.store, None, Progress("look at staging", f"staging-{when}"))
    results += expect_tables(work.plan, work.file.connect, work.file.secrets, compared)
    bad = [result for result in results if result.verdict in {Verdict.FAILED, Verdict.ERROR}]
    ok = not bad and any(result.verdict is Verdict.PASSED for result in results)
    sentence = f"{len(results)} checks passed on staging." if ok else _wrong(bad)
    work.record(StagingLooked(when=_when(when), ok=ok, results=results, sentence=sentence))
    return ok


def _lacking(work: Work) -> list[str]:
    """What a recovery of the stand-ins would lack."""
    gaps = (gap for row in ask_hosts(work.file, work.store, now()).rows for gap in row.gaps)
    return list(dict.fromkeys(gap.sentence for gap in gaps if gap.blocks and gap.lack in NEEDED))


def _wrong(bad: Sequence[CheckResult]) -> str:
    said = " ".join(result.sentence for result in bad[:5])
    return f"Staging is not well: {said}" if said else "Staging is not well: nothing was looked at."


def _when(word: str) -> Literal["before", "after"]:
    return "before" if word == "before" else "after"


@one_act(name="record staging", task_run_name="record what staging is like while {drill} finds it well")
def record_staging(drill: str) -> list[str]:
    """Record the baselines that staging has not yet: what it is like apart from what was planted.

    A copy of a host's RPM database is a recovery point; none is ever made of staging.
    """
    work = open_work(drill)
    said = []
    for name, asset in work.plan.assets.items():
        if baseline(work.store, work.plan, name) is not None:
            continue
        if isinstance(asset, DpkgAsset) or (isinstance(asset, RpmAsset) and asset.backup is None):
            said.append(record_package_baseline.fn(drill, name, asset.host))
        elif isinstance(asset, SystemAsset):
            said.append(record_system_baseline.fn(drill, name, asset.host))
    return said + [record_what_runs.fn(drill, host) for host in work.plan.hosts]


@one_act(name="report drill", task_run_name="open the incident of {drill}")
def report_drill(drill: str) -> str:
    """Open the incident that people deal with: it says that a drill began, and what users would report of mistakes.

    Returns:
        Its id.
    """
    work = open_work(drill)
    known = drill_of(work.store, drill)
    if known.incident:
        return known.incident
    before = [ident for ident, state in _incidents_of(work.store, drill)]  # killed between the two records
    mistakes = tuple(one.planted.mistake for one in known.plants if one.planted and one.planted.mistake)
    on_paper = work.incident.tabletop
    summary = tabletop.told(tabletop.scenario(work)) if on_paper else SUMMARY
    ident = before[0] if before else open_incident(
        kept_plan(work.store, work.incident), work.store, summary, REPORTER, Source.SCHEDULE, Kind.DRILL, None,
        mistakes, drill, on_paper,
    ).incident.id  # fmt: skip
    work.record(DrillIncidentOpened(incident=ident, sentence=f"Incident {ident} is open."))
    return ident


def _incidents_of(store: JournalStore, drill: str) -> list[tuple[str, State]]:
    since = "inc" + drill[3:]
    return [
        (ident, state)
        for ident, state in states_of(store, since)
        if state.require_incident().drill == drill and ident != drill
    ]


@one_act(name="end drill", task_run_name="end {drill}")
def end_drill(drill: str, outcome: Outcome, sentence: str, left_behind: Sequence[str]) -> str:
    """Give the staging hosts back and write down how the drill ended; said again, it is what was said first."""
    store = open_store()
    known = drill_of(store, drill)
    if known.ended is not None:
        return known.ended.sentence
    for name, token in known.tokens.items():
        assert known.began is not None  # noqa: S101 - leases come after it
        store.release(f"drill-{known.began.hosts[name]}", token)
        store.append(drill, DrillLease(host=name, token=token, held=False, sentence=f"{name} is given back."))
    store.append(drill, DrillEnded(outcome=outcome, sentence=sentence, left_behind=tuple(left_behind)))
    return sentence
