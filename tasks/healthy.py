"""Evidence of health, kept beside the journal: when each asset was last found whole, and what ran on a healthy host."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError

from blocks.home import open_store
from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from checks.onset import Health, probe_key
from checks.usage import record_running
from model.canonical import canonical_json
from model.diagnosis import Running
from model.errors import PreconditionFailed
from model.finding import CheckResult, Verdict
from model.manifest import Manifest
from model.plan import Plan
from tasks.one_act import one_act
from tasks.work import load_plan


def _clean_path(plan: Plan) -> str:
    return f"health/{plan.kept_as}/clean.json"


def _running_path(plan: Plan, host: str) -> str:
    return f"health/{plan.kept_as}/running-{host}.json"


def _clean(store: JournalStore, plan: Plan) -> dict[str, datetime]:
    """When each asset was last found whole; nothing where that is not known or cannot be read."""
    found: dict[str, datetime] = {}
    with suppress(ValueError, AttributeError, TypeError):
        for asset, moment in json.loads(store.get(_clean_path(plan)) or b"{}").items():
            found[asset] = datetime.fromisoformat(moment)
    return found


def save_clean(store: JournalStore, plan: Plan, results: Iterable[CheckResult], begun: datetime) -> None:
    """Remember which assets were whole.

    Args:
        store: where.
        plan: the plan.
        results: of the checks.
        begun: when the first of them began: what was changed after that may not have been seen.
    """
    passed = {
        (probe_key(r.asset) if r.check == "probe" else r.asset): begun
        for r in results
        if r.verdict is Verdict.PASSED and (r.check == "probe" or r.asset in plan.assets)
    }
    if passed:
        known = _clean(store, plan) | passed
        store.put(_clean_path(plan), canonical_json({name: at.isoformat() for name, at in known.items()}))


def load_health(store: JournalStore, plan: Plan, manifests: Mapping[str, Manifest]) -> Health:
    """All evidence there is of the time before a damage."""
    running: dict[str, Running] = {}
    for host in plan.hosts:
        data = store.get(_running_path(plan, host))
        if data is not None:
            with suppress(ValidationError):
                running[host] = Running.model_validate_json(data)
    points = {name: manifest.taken_at for name, manifest in manifests.items()}
    return Health(points=points, clean=_clean(store, plan), running=running)


@one_act(name="record what runs", task_run_name="record what runs on {host} while it is healthy")
def record_what_runs(plan: str, host: str) -> str:
    """Record which units listen where and use which files: a service that is down shows neither any more."""
    file = load_plan(plan)
    with file.connect(host) as connection:
        prove(connection)
        try:
            running = record_running(connection)
        except PreconditionFailed as error:
            return f"{host}: what runs was not recorded: {error.what}"
    open_store().put(_running_path(file.plan, host), canonical_json(running))
    ports = sorted({listener.name for listener in running.listeners})
    return (
        f"{host}: {len(running.files)} running units recorded, listening on {', '.join(ports) or 'no port'}."
    )
