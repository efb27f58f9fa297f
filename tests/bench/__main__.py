"""`make bench`: prints what orchestration costs, as ratios; what cannot run here is skipped with the reason."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.conftest import why_no_lab

PARTS = ("examining", "fleet", "streaming", "recovery", "exact", "storm")
ANYWHERE = ("storm",)
"""Parts that need no lab."""


def main(chosen: list[str]) -> int:
    """Measure the named parts (default: all) and print the table."""
    chosen, reason = chosen or list(PARTS), why_no_lab()
    if reason is not None:
        print(f"Skipped: {', '.join(name for name in chosen if name not in ANYWHERE)}: {reason}.")
        chosen = [name for name in chosen if name in ANYWHERE]
    os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
    began = time.monotonic()
    # On disk, because the object store needs user attributes, which tmpfs may not have.
    with tempfile.TemporaryDirectory(prefix="reinstate-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        os.environ["REINSTATE_HOME"] = str(folder / "home")
        return _measure(chosen, folder, began)


def _measure(chosen: list[str], folder: Path, began: float) -> int:
    from tests.bench import exact, examining, fleet, recovery, storm, streaming
    from tests.bench.lab import Lab, laboratory

    logging.disable(logging.INFO)
    parts = {
        "examining": examining.measure, "fleet": fleet.measure, "streaming": streaming.measure,
        "recovery": recovery.measure,
    }  # fmt: skip
    alone = {"exact": exact.measure, "storm": storm.measure}
    print(f"{'what':58} {'ours':>8} {'theirs':>8} {'ratio':>7}  note")
    failed = 0
    lab: Lab | None = None
    with ExitStack() as stack:
        for name in chosen:
            try:
                if name in parts and lab is None:
                    lab = stack.enter_context(laboratory(folder))
                    print(f"(hosts ready after {time.monotonic() - began:.0f} s)", file=sys.stderr)
                for row in alone[name](folder) if lab is None or name in alone else parts[name](lab):
                    print(
                        f"{row.what:58} {row.ours:8.2f} {row.theirs:8.2f} {row.ratio:7.2f}  {row.note}",
                        flush=True,
                    )
            except Exception as error:  # noqa: BLE001 - the other measurements are worth having
                failed += 1
                print(f"{name}: could not be measured: {type(error).__name__}: {error}", flush=True)
    print(f"Seconds, except where a unit is named; {time.monotonic() - began:.0f} s in all.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
