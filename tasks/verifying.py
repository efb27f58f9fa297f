"""The Prefect tasks of `verify_backups`: which points, one trial each, and what they showed (R-PREV-1, R-USE-5)."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

from blocks import durable
from blocks.home import home, open_store
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from checks.expectations import expect_tables
from model.assets import Asset, DatabaseAsset
from model.backup_sources import PgBackRestSource
from model.canonical import now
from model.command import printable
from model.errors import BadInput, Damaged, PreconditionFailed, Refused, Unsupported
from model.finding import Verdict
from model.manifest import Manifest, RecoveryPoint
from model.plan import Plan
from model.point_rules import span
from model.points import Proof
from model.verification import Trial, Trials, Verified, choose, proofs_of, since_proven, slower, unproven
from tasks.one_act import one_act
from tasks.progress import Progress, table_artifact
from tasks.recovery_points import backed_up, ledger_of, survey
from tasks.render import bar, duration, size
from tasks.render_points import told
from tasks.sandbox import sandboxed
from tasks.sandbox_copy import Copy
from tasks.work import PlanFile, load_plan

PATIENCE = 3600.0
"""Seconds to wait for another trial on the same host."""


def trials_of(store: JournalStore, plan: str) -> Trials:
    """What is remembered of a plan's trials."""
    data = store.get(_key(plan))
    return Trials() if data is None else Trials.model_validate_json(data)


def _key(plan: str) -> str:
    return f"verifications/{plan}.json"


@one_act(name="choose recovery points", task_run_name="choose what {plan} restores into the sandbox")
def choose_points(plan: str, assets: list[str], point: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The recovery points to restore now, and what is wrong with those there should be.

    Args:
        plan: path of the plan.
        assets: only these; empty: all that are backed up.
        point: this one of the only asset given; empty: as the turn comes.

    Returns:
        (asset, point) pairs; and troubles: vanished, overdue, or no usable one.

    Raises:
        BadInput: no such asset or point.
    """
    file, journal = load_plan(plan), open_store()
    known = [name for name in backed_up(file.plan) if file.plan.assets[name].kind != "rpm"]
    if unknown := sorted(set(assets) - set(known)):
        raise BadInput(
            f"{unknown[0]!r} is no asset that can be restored.", "assets", f"give {', '.join(known)}"
        )
    if point and len(assets) != 1:
        raise BadInput("a recovery point is of one asset.", "point", "give that asset as well")
    found = survey(file, journal, only=assets or known)
    trials = trials_of(journal, file.plan.name)
    chosen: list[tuple[str, str]] = []
    troubles = list(
        told([about.model_copy(update={"unproven": ""}) for about in found])
    )  # told after the trials
    for about in found:
        ids = [judged.point for judged in about.judged if not judged.refused]
        if point and point not in {judged.point for judged in about.judged}:
            raise BadInput(
                f"{about.asset} has no recovery point {point!r}.", "point", "see `reinstate backups`"
            )
        wanted = [point] if point else choose(ids, trials.of(about.asset), file.plan.verification.points)
        chosen += [(about.asset, one) for one in wanted]
        troubles += [
            f"{about.asset}: recovery point {judged.point} is refused: {judged.sentence}"
            for judged in about.judged
            if judged.refused
        ]
    return chosen, troubles


@one_act(name="restore into sandbox", task_run_name="restore {asset} from {point} into a sandbox")
def verify_point(plan: str, asset: str, point: str) -> Trial:
    """Restore one recovery point into the sandbox, check it, make sure the checks see damage, remove it."""
    file, journal = load_plan(plan), open_store()
    source = backed_up(file.plan)[asset]
    found = next((one for one in file.backups()[source].points(asset) if one.id == point), None)
    if found is None:
        raise BadInput(f"{asset} has no recovery point {point!r}.", source, "see `reinstate backups`")
    trial = try_point(file, asset, found)
    remember(file.plan, journal, trial, found)
    return trial


def try_point(file: PlanFile, asset: str, point: RecoveryPoint) -> Trial:
    """The trial of one recovery point; one at a time on each host of a sandbox.

    Raises:
        Transient: the connection was lost, or another trial goes on there. ReinstateError: the sandbox is not gone.
    """
    plan, wanted = file.plan, file.plan.assets[asset]
    source = point.source
    store = file.backups()[source]
    cluster = isinstance(plan.backups[source], PgBackRestSource)
    host = wanted.host if cluster else plan.verification.host or wanted.host
    began = time.monotonic()
    about = Trial(
        asset=asset, kind=wanted.kind, host=host, source=source, point=point.id, taken_at=point.taken_at, at=now(),
        outcome="not tried", sentence="",
    )  # fmt: skip
    progress = Progress(f"verify {asset}", f"verify-{asset}")
    with _alone(plan.hosts[host].machine_id), file.connect(host) as connection:
        prove(connection)
        machine = plan.hosts[wanted.host].machine_id
        try:
            with sandboxed(connection, asset, wanted, store, point, file.secrets, machine, progress) as copy:
                copy.require()
                asked = _expectations(file, asset, copy, store.manifest(point), connection)
                seconds = time.monotonic() - began
                control = _control(copy)
        except (Damaged, PreconditionFailed, Refused, Unsupported) as error:
            return about.model_copy(
                update={
                    "outcome": "damaged" if isinstance(error, Damaged) else "not tried",
                    "sentence": printable(str(error)), "seconds": round(time.monotonic() - began, 3),
                }
            )  # fmt: skip
    seen = {
        True: "; damage done on purpose was seen",
        False: "; DAMAGE DONE ON PURPOSE WAS NOT SEEN",
        None: "",
    }
    said = f"restored and checked in {duration(seconds)}, {size(copy.bytes)} fetched{asked}{seen[control]}"
    return about.model_copy(
        update={
            "outcome": "blind" if control is False else "whole", "control": control, "seconds": round(seconds, 3),
            "bytes": copy.bytes, "sentence": said,
        }
    )  # fmt: skip


def _alone(machine_id: str) -> AbstractContextManager[None]:
    """Sandboxes have fixed names, so that the next run finds what a killed one left: two at once would meet."""
    return durable.locked(durable.make_folder(home() / "locks") / f"{machine_id}.sandbox.lock", PATIENCE)


def _control(copy: Copy) -> bool | None:
    """Whether the check that passed the copy also finds it damaged once it is (negative control).

    Raises:
        PreconditionFailed: the check could not run any more, which shows nothing.
    """
    if copy.spoil is None:
        return None
    copy.spoil()
    try:
        copy.require()
    except Damaged:
        return True
    return False


def _expectations(file: PlanFile, name: str, copy: Copy, manifest: Manifest, connection: Connection) -> str:
    """The plan's expectations asked of the copy; how many passed, for the sentence.

    Freshness is left out: a copy is as old as its recovery point.

    Raises:
        Damaged: one of them does not hold. PreconditionFailed: one could not be asked, which says nothing of the copy.
    """
    asset: Asset | None = copy.asset
    mine = [
        checks.model_copy(update={"fresh": ()})
        for checks in file.plan.checks.tables
        if checks.database == name and (checks.expectations or checks.refers or checks.recorded)
    ]
    if asset is None or not isinstance(asset, DatabaseAsset) or not mine:
        return ""
    plan = file.plan.model_copy(
        update={
            "assets": {name: asset}, "checks": file.plan.checks.model_copy(update={"tables": tuple(mine)})
        }
    )  # fmt: skip
    results = expect_tables(plan, lambda _host: file.connect(connection.name), file.secrets, {name: manifest})
    for result in results:
        if result.verdict is Verdict.ERROR:
            raise PreconditionFailed(
                f"an expectation of the plan could not be asked: {result.sentence}", connection.name,
                "make it possible, or take it out of the plan's checks",
            )  # fmt: skip
        if result.verdict is not Verdict.PASSED:
            raise Damaged(
                f"an expectation of the plan does not hold in it: {result.sentence}",
                f"{manifest.asset}/{manifest.point}",
                "see whether the data or the expectation is wrong",
            )
    return f", {len(results)} suites of expectations passed"


def remember(plan: Plan, journal: JournalStore, trial: Trial, point: RecoveryPoint) -> None:
    """Keep a trial in the history and in the ledger, where the choice of a recovery point sees it."""
    if trial.outcome in {"whole", "damaged"}:  # all else proves nothing, and refutes nothing
        proof = Proof(
            point=point.id, manifest_sha256=point.manifest_sha256, at=trial.at, how="restored", ok=trial.ok,
            sentence=trial.sentence,
        )  # fmt: skip
        ledger_of(plan, journal).prove(trial.asset, proof)
    journal.put(_key(plan.name), trials_of(journal, plan.name).with_trial(trial).model_dump_json().encode())


@one_act(name="conclude", task_run_name="what the trials of {plan} showed")
def conclude_trials(plan: str, tried: Sequence[Trial], troubles: Collection[str]) -> Verified:
    """Show the trials, and say what they showed."""
    file, journal = load_plan(plan), open_store()
    known = trials_of(journal, file.plan.name)
    wrong = [f"{trial.asset} {trial.point}: {trial.sentence}" for trial in tried if not trial.ok]
    objective = file.plan.objectives.rto
    late = [
        f"{trial.asset}: restoring took {duration(trial.seconds)}, the plan allows {duration(objective)} in all."
        for trial in tried
        if trial.ok and trial.seconds > objective
    ]
    slow = [
        said for trial in tried
        if (said := slower(trial, [one for one in known.of(trial.asset) if one.at < trial.at]))
    ]  # fmt: skip
    name = file.plan.name
    table_artifact(f"backup-trials-{name}", trial_rows(tried), f"Restored into the sandbox ({name})")
    table_artifact(f"backups-proven-{name}", proven_rows(file.plan, known), f"Days since proven ({name})")
    unproven_still = [
        said for name in dict.fromkeys(trial.asset for trial in tried)
        if (said := unproven(name, file.plan.verification, proofs_of(known.of(name)), now()))
    ]  # fmt: skip
    good = sum(trial.ok for trial in tried)
    sentence = f"{good} of {len(tried)} recovery points restored and found whole."
    return Verified(
        sentence=sentence, trials=tuple(tried), wrong=(*troubles, *wrong, *unproven_still, *late, *slow)
    )


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Trials for people."""
    return [
        {
            "asset": one.asset, "kind": one.kind, "point": one.point, "sandbox": one.host,
            "verdict": one.outcome if one.ok else one.outcome.upper(), "took": duration(one.seconds),
            "fetched": size(one.bytes),
            "control": {True: "seen", False: "NOT SEEN", None: "–"}[one.control], "what": one.sentence,
        }
        for one in trials
    ]  # fmt: skip


def proven_rows(plan: Plan, known: Trials) -> list[dict[str, Any]]:
    """By asset: days since its backups were last proven, how many trials, how long restores take."""
    days, window = since_proven(backed_up(plan), known, now()), plan.verification.window
    rows = []
    for name, age in days.items():
        mine = known.of(name)
        took = [trial.seconds for trial in mine if trial.ok]
        rows.append(
            {
                "asset": name, "kind": plan.assets[name].kind,
                "days since proven": "never" if age is None else f"{age:.1f}",
                f"of {span(window)}": bar(None if age is None else age * 86400 / max(window, 1)),
                "trials": len(mine), "failed": sum(not trial.ok for trial in mine),
                "points tried": len({trial.point for trial in mine}),
                "last restore took": duration(took[-1]) if took else "–",
            }
        )  # fmt: skip
    return rows
