"""Many hosts at once: a thread per host, a few hosts at a time, and one board that says how far all of them are."""

from __future__ import annotations

import contextvars
import gc
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ContextDecorator
from typing import Protocol, TypeVar

AT_ONCE = 8
"""Hosts at a time: each needs about 45 MiB here while it is examined, and more threads share the same one processor."""

TICK = 0.5
"""Seconds between two looks at the board."""

Item = TypeVar("Item")
Done = TypeVar("Done")


class Tell(Protocol):
    """Told how far the work is, and what that means in words."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None:
        """Show it."""


class Board:
    """How far each asset is; written by many threads, shown by one."""

    def __init__(self, assets: int) -> None:
        """Expect so many assets."""
        self._lock = threading.Lock()
        self._assets = assets
        self._paths: dict[str, tuple[int, int]] = {}
        self._finished: set[str] = set()

    def tell(self, asset: str, done: int, total: int) -> None:
        """So many paths of an asset are looked at."""
        with self._lock:
            self._paths[asset] = done, total

    def finish(self, asset: str) -> None:
        """This asset is examined."""
        with self._lock:
            self._finished.add(asset)

    def show(self, tell: Tell | None) -> None:
        """Say it in thousandths of all assets, and in words."""
        if tell is None or not self._assets:
            return
        with self._lock:
            going = [pair for asset, pair in self._paths.items() if asset not in self._finished and pair[1]]
            looked, known = (sum(column) for column in zip(*self._paths.values(), (0, 0), strict=True))
            finished = len(self._finished)
        files = f", {looked:,} of {known:,} paths" if known else ""
        share = (finished + sum(done / total for done, total in going)) / self._assets
        tell(int(1000 * share), 1000, f"{finished} of {self._assets} assets{files}")


class _Pause(ContextDecorator):
    """Python's search for garbage in circles, off while many small values are made: it would look at all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._was = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._was:
                gc.enable()


making_many = _Pause()
"""Around what makes tens of thousands of values, as `with making_many:` or decorator; many threads may be inside."""


def side_by_side(
    work: Callable[[Item], Done], items: Sequence[Item], on_tick: Callable[[], None] = lambda: None
) -> list[Done]:
    """Work on all items, `AT_ONCE` at a time, each in a thread with the caller's context.

    Args:
        work: what to do; one item's failure lets those that run end, and starts no others.
        items: in the order of the answer.
        on_tick: called in the caller's thread while the work goes on, and at its end.

    Raises:
        Exception: the first that `work` raised.
    """
    if not items:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(items)), thread_name_prefix="host") as pool:
        futures = [pool.submit(contextvars.copy_context().run, work, item) for item in items]
        while wait(futures, TICK, return_when=FIRST_EXCEPTION).not_done:
            if any(future.done() and not future.cancelled() and future.exception() for future in futures):
                for future in futures:
                    future.cancel()
                break
            on_tick()
    on_tick()
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]
