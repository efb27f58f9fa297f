"""`back_up`: the plan's file sets and databases, and the baselines of its packages (R-PREV-1)."""

from __future__ import annotations

import asyncio
from typing import cast

from prefect import flow

from flows.scheduled import skipped
from flows.stage import run, say
from model.assets import (
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PostgresAsset,
    RpmAsset,
    SqliteAsset,
    SystemAsset,
)
from tasks import backing_up
from tasks.healthy import record_what_runs
from tasks.work import load_plan


@flow(name="back_up", flow_run_name="back up {plan}", persist_result=True, result_serializer="json")
async def back_up(plan: str, scheduled: bool = False) -> list[str]:
    """Back up every asset of a plan that names a backup; record its packages and what runs on its hosts while healthy.

    Args:
        plan: name of a registered plan, or the path of a plan file.
        scheduled: nobody asked for it now: hosts with an open incident are left out, so that no damage is backed up,
            and in a blackout window of the plan it does not run.

    Returns:
        One sentence per asset and host.
    """
    file = await asyncio.to_thread(load_plan, plan)
    path = str(file.path)
    if scheduled and (end := skipped(file.plan.back_up, file.plan.name)):
        return cast("list[str]", end)  # Prefect takes a state for the result
    frozen = await run(backing_up.frozen_hosts, path) if scheduled else {}
    sentences = list(frozen.values())
    for sentence in sentences:
        say(sentence)
    for name, asset in file.plan.assets.items():
        if asset.host in frozen:
            continue
        match asset:
            case FilesAsset():
                sentences.append(await run(backing_up.back_up_file_set, path, name, asset.host))
            case PostgresAsset() | MariadbAsset() | SqliteAsset():
                sentences.append(await run(backing_up.dump_database, path, name, asset.host))
            case DpkgAsset() | RpmAsset():
                sentences.append(await run(backing_up.record_package_baseline, path, name, asset.host))
            case SystemAsset():
                sentences.append(await run(backing_up.record_system_baseline, path, name, asset.host))
            case _:
                continue
        say(sentences[-1])
    for host in (name for name in file.plan.hosts if name not in frozen):
        sentences.append(await run(record_what_runs, path, host))
        say(sentences[-1])
    return sentences
