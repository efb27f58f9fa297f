"""What memcached is to a Swift in production, inside the proxy of the tests: accounts and containers looked up once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from typing import Any

_now = time.monotonic

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Cache:
    """The methods of `swift.common.memcached.MemcacheRing` that the proxy calls on its cache."""

    def __init__(self) -> None:
        """Start empty."""
        self._held: dict[str, tuple[float, object]] = {}

    def get(self, key: str, **_options: object) -> object | None:
        """What is held under a key; None when there is nothing, or no more."""
        until, value = self._held.get(key, (0.0, None))
        return copy.deepcopy(value) if _now() < until else None

    def set(self, key: str, value: object, time: float = 0, **_options: object) -> None:
        """Hold a value so many seconds; 0: without end."""
        self._held[key] = (_now() + time if time else float("inf"), copy.deepcopy(value))

    def delete(self, key: str, **_options: object) -> None:
        """Forget it."""
        self._held.pop(key, None)


def filter_factory(_settings: dict[str, str], **_local: str) -> Callable[[Application], Application]:
    """For paste.deploy: every request finds the cache where Swift looks for it."""
    cache = Cache()

    def wrap(app: Application) -> Application:
        def call(env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            env["swift.cache"] = cache
            return app(env, start_response)

        return call

    return wrap
