"""A storm of 20,000 alerts in 10 s: how long a message waits for its acknowledgement, and what `kill -9` loses.

Gateway, sender and whoever deals with the alerts share the processors of this machine. Each acknowledgement is timed
from the moment its message was due. `REINSTATE_BENCH_STORMS` says how often it rages (3).
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from blocks.alerts.spool import Spool
from blocks.journals.directory import DirectoryJournal
from deployments.demo.processes import free_port
from tasks.alerting import Alerting
from tasks.work import load_plan
from tests.bench.lab import Row
from tests.support.storm import Gateway, Size, Storm, incidents, kept, rage, write_plan

FULL = Size(alerts=20_000, seconds=10.0)
ROUNDS = int(os.environ.get("REINSTATE_BENCH_STORMS", "3"))
BAR = 0.5
"""Seconds within which 99 of 100 messages are acknowledged (guarantees: bars)."""

MEMORY = 256 << 20
"""Bytes the gateway may take."""

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class _Raged:
    """A storm, and what was left of it."""

    storm: Storm
    peak: int
    opened: int


def measure(folder: Path) -> Iterator[Row]:
    """Ours and the peer in turns; then ours with `kill -9` in the middle."""
    pairs = [(_ours(folder / f"ours{turn}"), _peer(folder / f"peer{turn}")) for turn in range(ROUNDS)]
    mine, theirs = [one.storm.quantile(0.99) for one, _ in pairs], [one.quantile(0.99) for _, one in pairs]
    for share in (0.5, 0.99):
        said = [1000 * one.storm.quantile(share) for one, _ in pairs]
        yield Row(
            f"p{100 * share:.0f} acknowledgement ÷ FastAPI, fsync per alert",
            statistics.median(said) / 1000,
            statistics.median(one.quantile(share) for _, one in pairs),
            f"{min(said):.0f} ms at best",
        )
    opened = f"{pairs[-1][0].opened} incidents for {FULL.hosts} hosts × {FULL.causes} causes"
    yield Row(
        f"p99 acknowledgement ÷ {BAR} s",
        statistics.median(mine),
        BAR,
        f"least {min(mine):.3f}; peer {min(theirs):.2f}",
    )
    yield Row(
        "until all were acknowledged ÷ the peer",
        statistics.median(one.storm.seconds for one, _ in pairs),
        statistics.median(one.seconds for _, one in pairs),
        opened,
    )
    peak = max(one.peak for one, _ in pairs)
    yield Row(f"memory of the gateway at most ÷ {MEMORY >> 20} (MiB)", peak / (1 << 20), MEMORY / (1 << 20))
    killed = _ours(folder / "killed", kill=True)
    storm = killed.storm
    yield Row(
        "until all were acknowledged, killed in the middle ÷ not", storm.seconds, pairs[-1][0].storm.seconds,
        f"{len(storm.taken)} acknowledged, 0 lost, {storm.cut} sent again, p99 {storm.quantile(0.99):.1f} s",
    )  # fmt: skip


def _ours(folder: Path, *, kill: bool = False) -> _Raged:
    """One storm on a gateway of its own; what it acknowledged must be there, each cause opened once for a host.

    Raises:
        RuntimeError: something was lost, or opened twice.
    """
    folder.mkdir()
    home, port = folder / "home", free_port()
    plan = write_plan(folder, FULL)
    gateway = Gateway(plan, home, port)
    gateway.start()
    try:
        gateway.wait()
        with _dealt_with(plan, home):
            storm = rage(port, FULL, gateway.kill_and_start if kill else None)
            peak = gateway.peak
            _wait_until_dealt(home)
    finally:
        gateway.stop()
    lost = storm.taken.keys() - kept(home)
    opened = incidents(DirectoryJournal(home))
    if lost or storm.given_up:
        raise RuntimeError(
            f"{len(lost)} acknowledged alerts are lost, {len(storm.given_up)} were never acknowledged"
        )
    if set(opened.values()) != {1} or len(opened) != FULL.hosts * FULL.causes:
        raise RuntimeError(f"incidents by host and cause: {opened}")
    return _Raged(storm, peak, len(opened))


def _peer(folder: Path) -> Storm:
    folder.mkdir()
    port = free_port()
    peer = Gateway(folder / "plan.yaml", folder / "home", port, "tests.bench.plain_gateway")
    peer.start()
    try:
        peer.wait()
        return rage(port, FULL)
    finally:
        peer.stop()


@contextmanager
def _dealt_with(plan: Path, home: Path) -> Iterator[None]:
    """Somebody deals with the alerts in the meantime, every second, as `up` does."""
    over = FORK.Event()
    process = FORK.Process(target=_deal, args=(plan, home, over))
    process.start()
    try:
        yield
    finally:
        over.set()
        process.join(60)


def _deal(plan: Path, home: Path, over: Event) -> None:
    file, spool = load_plan(str(plan)), Spool(home / "alerts")

    def start(plan: str, incident: str) -> None:
        """The Prefect server's part is another measurement."""

    alerting = Alerting(DirectoryJournal(home), spool, lambda: {file.plan.name: file}, start)
    while not over.wait(1.0):
        alerting.deal()


def _wait_until_dealt(home: Path, seconds: float = 60.0) -> None:
    spool, deadline = Spool(home / "alerts"), time.monotonic() + seconds
    try:
        while spool.waiting(1):
            if time.monotonic() > deadline:
                raise RuntimeError("alerts are not dealt with")
            time.sleep(0.2)
    finally:
        spool.close()
