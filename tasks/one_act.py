"""How every task of ours is made: retried only on `Transient`, never cached; the journal knows what was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State as PrefectState

from model.errors import Transient

P = ParamSpec("P")
R = TypeVar("R")


def _transient(_task: object, _run: object, state: PrefectState[Any]) -> bool:
    try:
        state.result()
    except Transient:
        return True
    except Exception:  # noqa: BLE001 - any other class, whatever it is, is not retried
        return False
    return False


def one_act(*, name: str, task_run_name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task of ours: retried four times on `Transient` and on nothing else, never cached (the journal knows)."""

    def wrap(function: Callable[P, R]) -> Task[P, R]:
        return Task(
            function, name=name, task_run_name=task_run_name, retries=4, retry_delay_seconds=[1, 5, 15, 40],
            retry_condition_fn=_transient, cache_policy=NO_CACHE, persist_result=False,
        )  # fmt: skip

    return wrap
