"""`kill -9` in the middle of a repair: it goes on from the journal and nothing happens twice (G1, G2, N3, N6)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from model.outcome import Gate
from model.proposal import ReinstallDistribution
from tasks.work import Work
from tests.support.installation import Installation
from tests.support.tamper import unnoticed
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

FLOW, WORKER = "prefect.engine", "prefect worker"
"""Words of the command lines of a flow run's process and of the worker's."""


class Stuck:
    """A repair that is on its way and cannot end: its job on the host is stopped, as on a host that hangs."""

    def __init__(self, installation: Installation, person: str) -> None:
        """Break the shop, start a recovery, sign, and stop the job that reinstalls the application."""
        self.installation = installation
        installation.damage("config", "pip-file")
        _, self.work = installation.recover()
        installation.sign(self.work, Gate.DECIDE, person)
        self.job = wait_for("the application is being reinstalled", self._stopped, 60, 0.005)
        state = installation.state(self.work)
        assert [] != [step for step in state.intents if step not in state.effects]

    def _stopped(self) -> Path | None:
        jobs = self.installation.world.facts.host.state_dir / "jobs"
        if not any(jobs.glob(f"{self.work.incident.id}-*")):
            return None  # nothing is on its way: the journal need not be read
        state = self.installation.state(self.work)
        assert state.proposal is not None
        for step in [step for step in state.intents if step not in state.effects]:
            if isinstance(state.proposal.action(step), ReinstallDistribution):
                for job in jobs.glob(f"{self.work.incident.id}-{step}-*"):
                    if (job / "claim").is_dir() and not (job / "rc").exists():
                        os.killpg(self._leader(job), signal.SIGSTOP)
                        return job
        return None

    @staticmethod
    def _leader(job: Path) -> int:
        return int((job / "pid").read_text().split()[0])

    def go_on(self) -> None:
        """Let the job on the host end."""
        os.killpg(self._leader(self.job), signal.SIGCONT)


def kill(installation: Installation, *words: str) -> set[int]:
    """`kill -9` of every process of the installation with one of these words."""
    killed = {pid for word in words for pid in installation.pids(word)}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return killed


def once_and_recovered(installation: Installation, work: Work, scratch: Path) -> None:
    """Sign the result; then the journal, the host's own record of what it started and the shop must agree."""
    installation.sign(work, Gate.ACCEPT, "omar")
    state = installation.finish(work)
    started = Counter(name for name in installation.trace() if name.startswith(work.incident.id))
    assert {1} == set(started.values()), "the host started something twice"
    assert {intent.job for intent in state.intents.values()} == {
        intent.job
        for intent in state.intents.values()
        if any(name.startswith(f"{intent.job}-") for name in started)
    }, "the journal has an effect that the host never saw"
    assert all(
        any(name.startswith(f"{intent.job}-") for intent in state.intents.values()) for name in started
    ), "the host started something without an intent"
    assert set(state.intents) == set(state.effects)
    assert {1} == {intent.attempt for intent in state.intents.values()}
    assert {"done"} == {effect.result for effect in state.effects.values()}
    verified = installation.run("journal", "verify", work.incident.id)
    assert 0 == verified.returncode, verified.stderr
    assert [] == unnoticed(installation.home, work.incident.id, scratch)
    assert installation.world.health().ok


def test_worker_and_run_killed_in_repair_up_again_goes_on(installation: Installation, tmp_path: Path) -> None:
    """Must show 5, G2: kill -9 of worker and flow process, then of `up`; the next `up` goes on."""
    stuck = Stuck(installation, "lena")
    installation.kill()
    assert len(kill(installation, WORKER, FLOW)) >= 2
    stuck.go_on()
    installation.start()
    assert f"{stuck.work.incident.id} goes on" in installation.said
    once_and_recovered(installation, stuck.work, tmp_path)


def test_run_killed_in_repair_up_goes_on_by_itself(installation: Installation, tmp_path: Path) -> None:
    """Must show 5: kill -9 of the flow process alone is noticed by the running `up`."""
    stuck = Stuck(installation, "lena")
    assert {1} == {len(kill(installation, FLOW))}
    wait_for("another process goes on", lambda: installation.pids(FLOW), 120)
    stuck.go_on()
    once_and_recovered(installation, stuck.work, tmp_path)


def test_worker_killed_in_repair_up_goes_on_by_itself(installation: Installation, tmp_path: Path) -> None:
    """Must show 5, N6: kill -9 of the worker alone; its orphan and the next run do not both repair."""
    stuck = Stuck(installation, "lena")
    orphans = set(installation.pids(FLOW))
    kill(installation, WORKER)
    wait_for("another process goes on", lambda: set(installation.pids(FLOW)) - orphans, 150)
    stuck.go_on()
    once_and_recovered(installation, stuck.work, tmp_path)
    assert not orphans & set(installation.pids(FLOW)), "the orphan still runs"


def test_up_killed_in_repair_next_up_takes_over(installation: Installation, tmp_path: Path) -> None:
    """Must show 5: kill -9 of `up` alone; server, worker and flow process are found by the next one."""
    stuck = Stuck(installation, "lena")
    installation.kill()
    before = set(installation.pids(FLOW))
    assert before, "the flow process outlives `up`"
    stuck.go_on()
    installation.start()
    once_and_recovered(installation, stuck.work, tmp_path)
    assert not before & set(installation.pids(FLOW))
