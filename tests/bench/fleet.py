"""Every package of many hosts in one scan: wall time, and what it costs the machine that orchestrates."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.bench.lab import Lab, Row
from tests.lab.base import ensure_base
from tests.lab.network import LabSession
from tests.support.fleet import fleet, scan, write_plan

HOSTS = int(os.environ.get("REINSTATE_BENCH_HOSTS", "50"))
MEMORY = 600 << 20
"""Bytes the orchestrator may take (speed.md)."""


def measure(lab: Lab) -> Iterator[Row]:
    """All hosts share this machine's processors with the scan: `theirs` is one host alone, as many times."""
    session = LabSession()
    folder = lab.folder / "fleet"
    folder.mkdir()
    try:
        with fleet(ensure_base(), session, HOSTS) as hosts:
            one = folder / "one"
            one.mkdir()
            single = scan(write_plan(hosts[:1], one))
            several = scan(write_plan(hosts, folder))
    finally:
        session.close()
    wrong = [result["sentence"] for result in several.results if result["verdict"] != "PASSED"]
    if wrong or len(several.results) != HOSTS:
        raise RuntimeError(f"{len(wrong)} of {len(several.results)} hosts are not healthy: {wrong[:3]}")
    yield Row(
        f"{HOSTS} hosts in one scan ÷ {HOSTS} scans one by one", several.seconds, single.seconds * HOSTS
    )
    per_host = (several.cpu - single.cpu) / max(1, HOSTS - 1)
    yield Row(
        "  processor seconds here: all ÷ one alone",
        several.cpu,
        single.cpu,
        f"{per_host:.2f} s for each more",
    )
    yield Row("  memory here at most ÷ 600 (MiB)", several.peak / (1 << 20), MEMORY / (1 << 20))
