"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 180.0, step: float = 0.05) -> T:
    """The condition's first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said = condition()
        if said:
            return said
        time.sleep(step)
    raise AssertionError(f"not within {seconds:g} s: {what}")
