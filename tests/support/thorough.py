"""How much a run tries: each behaviour always, further variants of it with `REINSTATE_THOROUGH=1` (nightly)."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

THOROUGH = os.environ.get("REINSTATE_THOROUGH", "") not in ("", "0")


def variants(first: tuple[T, ...], further: tuple[T, ...]) -> tuple[T, ...]:
    """The parameters of a test: those that are always tried, and further ones of the same behaviour."""
    return (*first, *further) if THOROUGH else first
