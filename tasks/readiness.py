"""The Prefect tasks of `readiness`: look at everything a recovery needs, remember it, say what changed."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

from blocks.home import open_store
from blocks.journals.base import JournalStore
from model import readiness_rules as rules
from model.canonical import Value, digest, now
from model.errors import BadInput, BadPlan, PreconditionFailed
from model.readiness import (
    Change,
    PlanReadiness,
    Qualification,
    Readiness,
    ReadinessHistory,
    roll_up,
)
from tasks.one_act import one_act
from tasks.progress import table_artifact
from tasks.proofs import proofs_kept
from tasks.readiness_page import history_of, key_of, page, rows
from tasks.ready_hosts import ask_hosts
from tasks.ready_plan import look_at_plan
from tasks.versions import key_of as version_key
from tasks.work import PlanFile, load_plan, registered


class Looked(Value):
    """What one run of `readiness` came to."""

    plan: str
    sentence: str
    state: Qualification
    changes: tuple[Change, ...] = ()


def basis(store: JournalStore, plan: str, path: Path) -> str:
    """Hash over what people may change between two looks; cheap, so that a change can be noticed at once.

    Args:
        store: the journal store.
        plan: name of the plan.
        path: its file; it need not be there, nor be right.
    """
    try:
        text = path.read_bytes()
    except OSError:
        text = b""
    versions = 0
    while store.get(version_key(plan, versions + 1)) is not None:
        versions += 1
    return digest([sha256(text).hexdigest(), sha256(proofs_kept(store, plan)).hexdigest(), versions])


@one_act(name="look at readiness", task_run_name="whether {plan} is ready")
def look_at_readiness(plan: str) -> PlanReadiness:
    """Ask every host, source and person's proof of a plan; changes nothing.

    Args:
        plan: name of a registered plan, or the path of a plan file.

    Raises:
        BadInput: there is no such plan, and it was never looked at under this name.
    """
    store, began, at = open_store(), time.monotonic(), now()
    try:
        file = load_plan(plan, store)
    except (BadInput, BadPlan) as error:
        return _unreadable(store, plan, error)
    before = basis(store, file.plan.name, file.path)  # what changes while we look is looked at again
    seen = assess(file, store)
    took = round(time.monotonic() - began, 1)
    return seen.model_copy(update={"at": at, "seconds": took, "basis": before})


def assess(file: PlanFile, store: JournalStore) -> PlanReadiness:
    """All of a plan as it is now."""
    at, plan = now(), file.plan
    hosts = ask_hosts(file, store, at)
    own = look_at_plan(file, store, at, hosts.spare, hosts.largest)
    inherited = roll_up(own, hosts.rows, {name: plan.needs(name) for name in plan.assets})
    return PlanReadiness(
        plan=plan.name, digest=file.digest, at=at, rows=tuple(inherited), window=plan.verification.window,
        next_at=plan.readiness.following(plan.name, at),
    )  # fmt: skip


def _unreadable(store: JournalStore, plan: str, error: PreconditionFailed) -> PlanReadiness:
    """A plan file that went wrong since it was looked at blocks everything there was.

    Raises:
        PreconditionFailed: the error, where nothing is known under this name.
    """
    path = registered(plan, store)
    before = history_of(store, plan).latest if path is not None else None
    if path is None or before is None:
        raise error
    at = now()
    own = Readiness(checked=("file",), gaps=(rules.of_wrong_plan(str(path), error),), proven_until=at)
    known = [
        Readiness(asset=row.asset, kind=row.kind, host=row.host, proven_until=at)
        for row in before.rows
        if row.asset
    ]
    return PlanReadiness(
        plan=plan, at=at, basis=basis(store, plan, path), rows=tuple(roll_up(own, known, {}))
    )  # fmt: skip


@one_act(name="conclude readiness", task_run_name="remember and show it")
def conclude_readiness(seen: PlanReadiness) -> Looked:
    """Remember a look, show it, and say what changed since the one before."""
    store = open_store()
    history = remember(store, seen)
    run = history.runs[-1]
    table_artifact(f"readiness-{seen.plan}", rows(seen), f"Readiness ({seen.plan})")
    if TaskRunContext.get() is not None:
        text = page(seen, history)
        create_markdown_artifact(
            markdown=text, key=f"readiness-page-{seen.plan}", description=f"Readiness of {seen.plan}"
        )
    return Looked(plan=seen.plan, sentence=seen.sentence, state=seen.state, changes=run.changes)


def remember(store: JournalStore, seen: PlanReadiness) -> ReadinessHistory:
    """Keep a look as the newest."""
    history = history_of(store, seen.plan).with_run(seen)
    store.put(key_of(seen.plan), history.model_dump_json().encode())
    return history
