"""Long runs in parts, side by side or on several days: `REINSTATE_SHARE=1/3` is the first of three."""

from __future__ import annotations

import os

SHARE, SHARES = (int(word) for word in os.environ.get("REINSTATE_SHARE", "1/1").split("/"))


def mine(numbers: range) -> range:
    """Those that this run takes."""
    return numbers[SHARE - 1 :: SHARES]
