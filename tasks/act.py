"""Executing one action of the signed proposal: guards, intent, effect. Everything that changes a host passes here.

The guards are checked at every action, not once per run (G3, G4, G6, G7); the intent is durable before the effect and
the effect has a name under which the host keeps its result, so a second execution finds the first (G1, G2).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from blocks.hosts.base import Connection, JobLost
from blocks.hosts.identity import prove
from model.assets import (
    Asset,
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PipAsset,
    PostgresAsset,
    RpmAsset,
    ServiceAsset,
    SqliteAsset,
    SystemAsset,
)
from model.canonical import digest
from model.errors import (
    Damaged,
    Overtaken,
    PreconditionFailed,
    Refused,
    ReinstateError,
    Transient,
    Unsupported,
)
from model.journal import Effect, Intent, LeaseTaken, State, fold
from model.proposal import (
    Action,
    ConfigurePackages,
    RebuildInterpreter,
    RebuildRpmDatabase,
    ReinstallDistribution,
    ReinstallPackage,
    ReinstallRpm,
    RemountWritable,
    RestartService,
    RestoreCluster,
    RestoreDatabase,
    RestoreFiles,
    RestoreLinks,
    RestorePackageDatabase,
    RestoreRows,
    RestoreUnits,
    SetAside,
    SetMetadata,
)
from tasks import (
    act_on_host,
    host_repairs,
    package_state,
    rebuild_interpreter,
    rebuild_rpm_database,
    reinstall_distribution,
    reinstall_package,
    reinstall_rpm,
    restart_service,
    restore_by_engine,
    restore_cluster,
    restore_database,
    restore_files,
    restore_links,
    restore_rows,
    restore_units,
    set_aside,
    set_metadata,
)
from tasks.cluster_layout import cluster_store
from tasks.performed import Performed
from tasks.recheck import recheck
from tasks.signed import require_signed
from tasks.snapshot import load_snapshot
from tasks.toolset import connected
from tasks.undo import roll_back_files
from tasks.work import Work, baseline, owner

Progress = Callable[[int, int], None]
LEASE_SECONDS = 3600.0
MARKER = "write `staging` into the file `role` in its `state_dir`, if it is"


def take_leases(work: Work) -> None:
    """Take every host of the proposal under a new fencing token; our own dead predecessor is fenced out by it.

    Raises:
        Refused: another incident holds a host.
    """
    state = work.state()
    if state.proposal is None:
        return
    for host, machine_id in sorted(state.proposal.hosts.items()):
        lease = work.store.lease(machine_id, work.incident.id, owner(), LEASE_SECONDS)
        work.record(LeaseTaken(host=host, token=lease.token))


@dataclass(frozen=True)
class Effecting:
    """An effect on its way: what a performer needs besides its action."""

    work: Work
    connection: Connection
    state: State
    prefix: str
    token: int
    progress: Progress


def guard(work: Work, state: State, host: str, connection: Connection) -> int:
    """All that must hold before a host is changed; returns the fencing token.

    Raises:
        Refused: not signed, not the proven host, or fenced. PreconditionFailed: nothing was preserved.
        Damaged: the snapshot on disk is not the one recorded.
    """
    require_signed(work, state)
    assert state.proposal is not None  # noqa: S101 - require_signed refuses without one
    identity = prove(connection)
    if work.incident.drill and identity.role != "staging":
        raise Refused("the host itself does not say that it is staging.", where=host, remedy=MARKER)
    if identity.machine_id != state.proposal.hosts.get(host):
        raise Refused("this is not the host the proposal was signed for.", where=host, remedy="propose again")
    token = state.tokens.get(host)
    if token is None:
        raise Refused("no lease is held for this host.", where=host, remedy="run `recover` for this incident")
    kept = [p for p in state.preserved if p.what == "snapshot" and p.host == host]
    if not kept:
        raise PreconditionFailed("no snapshot was taken.", where=host, remedy="run the preserve stage first")
    if digest(load_snapshot(work.folder(f"snapshot/{host}"))) != kept[-1].sha256:
        raise Damaged(
            "the snapshot's manifest was altered.", where=host, remedy="keep everything; call the lead"
        )
    return token


def act(work: Work, action_id: str, progress: Progress) -> str:
    """Execute one action exactly once and return its sentence.

    Args:
        work: the incident.
        action_id: id in the signed proposal.
        progress: told (bytes done, bytes in all).

    Raises:
        Transient: interrupted; calling again continues the same attempt.
        ReinstateError: it failed for good; the failure is in the journal.
    """
    state = work.state()
    require_signed(work, state)
    assert state.proposal is not None  # noqa: S101 - require_signed refuses without one
    action = state.proposal.action(action_id)
    longest = work.plan.assets[action.asset].step.timeout
    return _effect(work, action_id, action.host, progress, lambda e: _looked_at_again(e, action), longest)


def _looked_at_again(effect: Effecting, action: Action) -> Performed:
    """The effect, and what the check of it says at once."""
    performed = _perform(effect, action)
    seen = recheck(effect.work, effect.state, action, effect.connection)
    return Performed(f"{performed.sentence}{seen}", performed.bytes)


def undo(work: Work, action_id: str, progress: Progress) -> str:
    """Undo one action from the snapshot (files) or by renaming back (databases); what was never begun needs nothing."""
    state = work.state()
    require_signed(work, state)
    assert state.proposal is not None  # noqa: S101 - require_signed refuses without one
    action = state.proposal.action(action_id)
    return _effect(work, f"undo-{action_id}", action.host, progress, lambda e: _undo(e, action))


def _intend(work: Work, intent: Intent) -> None:
    """Write an intent down while the proposal is still signed: someone may take their approval back at any moment.

    Raises:
        Withdrawn: someone did.
    """
    while True:
        records = work.store.read(work.incident.id)
        require_signed(work, fold(records))
        with suppress(Overtaken):
            work.store.append(work.incident.id, intent, expect=len(records))
            return


def _effect(
    work: Work,
    step: str,
    host: str,
    progress: Progress,
    perform: Callable[[Effecting], Performed],
    longest: float | None = None,
) -> str:
    state = work.state()
    done = state.effects.get(step)
    if done is not None and done.result != "failed":
        return done.sentence
    begun = state.intents.get(step)
    attempt = 1 if begun is None else begun.attempt + (1 if done and done.attempt == begun.attempt else 0)
    prefix = f"{work.incident.id}-{step}-{attempt}"
    with connected(work, host) as connection:
        token = guard(work, state, host, connection)
        connection.longest = longest
        if begun is None or begun.attempt != attempt:
            _intend(work, Intent(step=step, attempt=attempt, host=host, token=token, job=prefix))
        start = time.monotonic()
        try:
            performed = perform(Effecting(work, connection, state, prefix, token, progress))
        except JobLost as lost:
            work.record(Effect(step=step, attempt=attempt, result="failed", sentence=f"Lost: {lost.what}"))
            raise
        except Transient:
            raise
        except ReinstateError as error:
            work.record(Effect(step=step, attempt=attempt, result="failed", sentence=str(error)))
            raise
    work.record(
        Effect(
            step=step, attempt=attempt, result="done", sentence=performed.sentence,
            seconds=round(time.monotonic() - start, 3), bytes=performed.bytes,
        )
    )  # fmt: skip
    return performed.sentence


def _perform(effect: Effecting, action: Action) -> Performed:
    plan, connection, file = effect.work.plan, effect.connection, effect.work.file
    prefix, token, progress = effect.prefix, effect.token, effect.progress
    match action, plan.assets[action.asset]:
        case SetMetadata(), asset:
            return set_metadata.perform(
                connection, asset, action, job_prefix=prefix, token=token, progress=progress
            )
        case RestoreLinks(), asset:
            return restore_links.perform(
                connection, asset, action, job_prefix=prefix, token=token, progress=progress
            )
        case SetAside(), asset:
            return set_aside.perform(
                connection, asset, action, job_prefix=prefix, token=token, progress=progress
            )
        case RestoreFiles(), FilesAsset() as asset:
            store = file.backups()[action.point.source]
            return restore_files.perform(
                connection, asset, action, store, job_prefix=prefix, token=token, progress=progress,
                services={name: plan.services[name] for name in action.stops},
            )  # fmt: skip
        case RestoreDatabase(), PostgresAsset() as asset:
            store = file.backups()[action.point.source]
            return restore_database.perform(
                connection, asset, file.secrets, action, store, job_prefix=prefix, token=token, progress=progress
            )  # fmt: skip
        case ((RestoreDatabase() | RestoreCluster()), (MariadbAsset() | SqliteAsset())):
            return restore_by_engine.perform(
                effect.work, connection, action, job_prefix=prefix, token=token, progress=progress
            )
        case RestoreCluster(), PostgresAsset() as asset:
            return restore_cluster.perform(
                connection, asset, file.secrets, action, cluster_store(file, action.point.source), plan.services,
                job_prefix=prefix, token=token, progress=progress,
            )  # fmt: skip
        case RestoreRows(), PostgresAsset() as asset:
            return restore_rows.perform(
                connection, asset, file.secrets, action, cluster_store(file, action.point.source),
                job_prefix=prefix, token=token, progress=progress,
            )  # fmt: skip
        case RestartService(), ServiceAsset() as asset:
            return restart_service.perform(
                connection, asset, action, job_prefix=prefix, token=token, progress=progress
            )
        case _, SystemAsset() as asset:
            recorded = baseline(effect.work.store, plan, action.asset) or ()
            return act_on_host.perform(
                connection, asset, action, recorded, job_prefix=prefix, token=token, progress=progress
            )
        case _, asset:
            return _perform_on_packages(effect, asset, action)


def _perform_on_packages(effect: Effecting, asset: Asset, action: Action) -> Performed:
    connection, file = effect.connection, effect.work.file
    prefix, token, progress = effect.prefix, effect.token, effect.progress
    stores = file.package_stores(effect.work.store)
    match action, asset:
        case ((RestorePackageDatabase() | ConfigurePackages()), DpkgAsset()):
            return package_state.perform(
                connection, asset, action, job_prefix=prefix, token=token, progress=progress
            )
        case ReinstallPackage(), DpkgAsset():
            return reinstall_package.perform(
                connection, asset, action, stores, job_prefix=prefix, token=token, progress=progress
            )
        case ReinstallRpm(), RpmAsset():
            return reinstall_rpm.perform(
                connection, asset, action, stores, job_prefix=prefix, token=token, progress=progress
            )
        case RebuildRpmDatabase(), RpmAsset():
            return rebuild_rpm_database.perform(
                connection, asset, action, stores, file.backups(), job_prefix=prefix, token=token, progress=progress
            )  # fmt: skip
        case RebuildInterpreter(), PipAsset():
            return rebuild_interpreter.perform(
                connection, asset, action, job_prefix=prefix, token=token, progress=progress
            )
        case ReinstallDistribution(), PipAsset():
            return reinstall_distribution.perform(
                connection, asset, action, stores, job_prefix=prefix, token=token, progress=progress
            )
        case _:
            raise Unsupported(
                f"{action.kind} does not fit {action.asset}, which is of kind {asset.kind}.",
                action.host,
                "propose again: the plan changed",
            )


def _undo(effect: Effecting, action: Action) -> Performed:
    prefix, token, progress = effect.prefix, effect.token, effect.progress
    match action, effect.work.plan.assets[action.asset]:
        case RestoreDatabase(), PostgresAsset() as asset:
            return restore_database.undo(
                effect.connection, asset, effect.work.file.secrets, action,
                job_prefix=prefix, token=token, progress=progress,
            )  # fmt: skip
        case ((RestoreDatabase() | RestoreCluster()), (MariadbAsset() | SqliteAsset())):
            return restore_by_engine.undo(
                effect.work, effect.connection, action, job_prefix=prefix, token=token, progress=progress
            )
        case RestoreCluster(), PostgresAsset() as asset:
            return restore_cluster.undo(
                effect.connection, asset, effect.work.file.secrets, action, effect.work.plan.services,
                job_prefix=prefix, token=token, progress=progress,
            )  # fmt: skip
        case RestoreRows(), PostgresAsset() as asset:
            return restore_rows.undo(
                effect.connection, asset, effect.work.file.secrets, action,
                job_prefix=prefix, token=token, progress=progress,
            )  # fmt: skip
        # In a Python environment a later reinstall goes back to what stood in the way: both by the snapshot.
        case SetAside(), asset if not isinstance(asset, PipAsset):
            return set_aside.undo(
                effect.connection, action, job_prefix=prefix, token=token, progress=progress
            )
        case RestartService(), ServiceAsset() as asset:
            try:
                return restart_service.perform(
                    effect.connection, asset, action, job_prefix=prefix, token=token, progress=progress
                )
            except Transient:
                raise
            except ReinstateError as error:  # what was down before the recovery is down again after its undo
                return Performed(f"{action.service} does not run, as before the recovery: {error.what}")
        case RestoreUnits(), _:
            folder = effect.work.folder(f"snapshot/{action.host}")
            return restore_units.undo(
                effect.connection, action, folder, job_prefix=prefix, token=token, progress=progress
            )
        case RemountWritable(), _:
            return host_repairs.remount(
                effect.connection, action, job_prefix=prefix, token=token, progress=progress, writable=False
            )
        case _:
            return _from_snapshot(effect, action)


def _from_snapshot(effect: Effecting, action: Action) -> Performed:
    folder = effect.work.folder(f"snapshot/{action.host}")
    stops = action.stops if isinstance(action, RestoreFiles) else ()
    return roll_back_files(
        effect.connection, folder, action.touches, job_prefix=effect.prefix, token=effect.token,
        progress=effect.progress, services={name: effect.work.plan.services[name] for name in stops},
    )  # fmt: skip
