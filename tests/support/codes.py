"""One-time codes as a phone shows them, each used once."""

from __future__ import annotations

import time

import pyotp

from blocks.people import STEP
from tests.support.waiting import wait_for

_USED: dict[str, set[int]] = {}


def fresh_code(secret: str) -> str:
    """A code of this secret that this process did not use yet; may wait for the next one."""
    used = _USED.setdefault(secret, set())

    def unused() -> int | None:
        present = int(time.time() // STEP)
        return next((step for step in (present, present + 1) if step not in used), None)

    step = wait_for("an unused one-time code", unused, 2 * STEP, 0.5)
    used.add(step)
    return str(pyotp.TOTP(secret).generate_otp(step))
