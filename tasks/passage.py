"""A stream passing from a host into a backup store: the host pushes, the store pulls, memory stays bounded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from blocks.backups.base import BackupStore
from model.errors import ReinstateError

HELD = 64
"""Chunks held at most between host and store."""


class Abandoned(ReinstateError):
    """The host's side failed: the store drops what it was given."""


def pass_into(
    store: BackupStore,
    key: str,
    produce: Callable[[Callable[[bytes], None]], None],
    progress: Callable[[int], None] | None = None,
) -> tuple[str, int]:
    """Store what `produce` writes; nothing appears under the key unless `produce` returns.

    Args:
        store: where to.
        key: of the object.
        produce: called in this thread with a function that takes the next chunk; raises when the stream is bad.
        progress: told the bytes stored so far, from another thread.

    Returns:
        SHA-256 and size of the object, read back.

    Raises:
        ReinstateError: what the store or `produce` raised; the store's error wins, as it came first.
    """
    chunks: queue.Queue[bytes | None] = queue.Queue(HELD)
    gone = threading.Event()
    bad: list[bool] = []

    def passing() -> Iterator[bytes]:
        while (chunk := chunks.get()) is not None:
            yield chunk
        if bad:
            raise Abandoned("the host's stream is bad.")

    def storing() -> tuple[str, int]:
        try:
            return store.put(key, passing(), progress)
        finally:
            gone.set()

    def offer(chunk: bytes | None) -> None:
        while not gone.is_set():
            try:
                chunks.put(chunk, timeout=0.2)
            except queue.Full:
                continue
            return
        if chunk is not None:
            raise Abandoned("the store takes no more.")

    with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
        stored: Future[tuple[str, int]] = pool.submit(storing)
        try:
            produce(offer)
        except BaseException:
            bad.append(True)
            offer(None)
            failure = stored.exception()
            if failure is not None and not isinstance(failure, Abandoned):
                raise failure from None
            raise
        offer(None)
        return stored.result()
