"""A running `reinstate up` with the demo's shop behind it, as a user has it; one for the whole test session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest

from blocks.journals.base import JournalStore
from blocks.journals.directory import DirectoryJournal
from deployments.demo import processes
from deployments.demo.damage import Kind, inflict
from deployments.demo.planning import write_plan
from deployments.demo.session import back_up
from deployments.demo.world import World
from deployments.server.paths import Paths
from deployments.server.remote import answer, start_run, wait_for_gate
from model.journal import State, fold
from model.outcome import Gate, RunVerdict
from model.steps import Ask, Finished, next_step
from tasks.voting import gate_digest
from tasks.work import Work, open_work
from tests.support.codes import fresh_code
from tests.support.waiting import wait_for

REINSTATE = str(Path(sys.executable).with_name("reinstate"))
START_SECONDS = 240.0
STEP = 0.3
"""Seconds between two looks at a recovery: looking takes the processor from it."""

T = TypeVar("T")


def apart(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - passed through
    """Call something that runs an event loop of its own: Playwright has one in the tests' thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


@dataclass
class Installation:
    """One home with its plan and, while it runs, its `up` process."""

    world: World
    plan: Path
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def where(self) -> Paths:
        """The installation's address and password."""
        return Paths(self.home / "up", self.port)

    @property
    def store(self) -> JournalStore:
        """The journal, read from outside."""
        return DirectoryJournal(self.home)

    @property
    def said(self) -> str:
        """What the present `up` printed."""
        return (self.home / "up-output.txt").read_text()

    def environment(self) -> dict[str, str]:
        """A user's environment: this home, nothing of the tests' own Prefect settings, a wide terminal."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        return kept | {"REINSTATE_HOME": str(self.home), "COLUMNS": "200"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`reinstate WORDS`, to its end."""
        return subprocess.run(
            [REINSTATE, *words],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *more: str) -> None:
        """`reinstate up PLAN`, until it says that it runs."""
        self.home.mkdir(exist_ok=True)
        with (self.home / "up-output.txt").open("wb") as output:
            process = self.process = subprocess.Popen(
                [REINSTATE, "up", str(self.plan), "--port", str(self.port), *more],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

        def runs() -> bool:
            assert process.poll() is None, f"`up` ended:\n{self.said}"
            return "Reinstate runs" in self.said

        wait_for("`up` says it runs", runs, START_SECONDS)

    def stop(self) -> int:
        """Ctrl-C, and wait for the orderly end; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        """`kill -9` of `up` itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def pids(self, *words: str) -> list[int]:
        """This home's processes, `up` included, whose command line has all these words."""
        mark, place = f"REINSTATE_HOME={self.home}".encode(), os.fsencode(self.home)
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes()
                ours = place in line or mark in (folder / "environ").read_bytes().split(b"\0")
                if ours and int(folder.name) != os.getpid() and processes.alive(int(folder.name)):
                    shown = line.replace(b"\0", b" ").decode(errors="replace")
                    found += [int(folder.name)] if all(word in shown for word in words) else []
        return sorted(found)

    def ask(self, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        """POST to the Prefect API, logged in."""
        url = f"{self.where.url}/api/{path}"
        answer = httpx.post(url, json=body, auth=("admin", self.where.password), timeout=30)
        answer.raise_for_status()
        return answer.json()

    def damage(self, *kinds: Kind) -> None:
        """Break the shop."""
        for kind in kinds:
            inflict(self.world.facts, kind)

    def recover(self, **parameters: Any) -> tuple[UUID, Work]:  # noqa: ANN401 - of start_run
        """Start `recover` and wait until its incident is open."""
        wanted = {"summary": "The shop is down.", "reported_by": "mia"} | parameters
        run, _ = apart(start_run, self.where, "demo-shop", **wanted)
        known = wait_for("the incident is open", lambda: self.store.get(f"runs/{run}"))
        return run, open_work(known.decode(), self.store)

    def state(self, work: Work) -> State:
        """The journal folded now."""
        return fold(self.store.read(work.incident.id))

    def gate(self, work: Work, gate: Gate, asked: int | None = None) -> State:
        """Wait until the form of a gate can be answered."""

        def open_now() -> State | None:
            state = self.state(work)
            step = next_step(state)
            assert not isinstance(step, Finished), f"it ended before {gate}: {step}"
            right = isinstance(step, Ask) and step.gate is gate and gate in state.gates
            return state if right and (asked is None or state.asked(gate) == asked) else None

        state = wait_for(f"{gate} is asked", open_now, 300, STEP)
        wait_for(f"the run waits at {gate}", lambda: apart(wait_for_gate, self.where, work), 180, 2 * STEP)
        return state

    def code(self, person: str) -> str:
        """A code of this person that was not used yet; may wait for the next one."""
        return fresh_code(
            next(p.totp_file for p in self.world.facts.people if p.key == person).read_text().strip()
        )

    def form(self, work: Work, gate: Gate, person: str, **changes: str) -> Mapping[str, str]:
        """A right answer to a gate's form, with changes."""
        right = {
            "person": person,
            "decision": "approve",
            "reason": "It is right.",
            "digest": gate_digest(self.state(work), gate),
        }
        return right | ({} if "code" in changes else {"code": self.code(person)}) | changes

    def sign(self, work: Work, gate: Gate, person: str, **changes: str) -> None:
        """Answer a gate's form through the API, as the UI does, and wait until the answer was dealt with."""
        asked = self.gate(work, gate).asked(gate)
        apart(answer, self.where, work, self.form(work, gate, person, **changes))
        wait_for("the answer is in the journal", lambda: self.state(work).asked(gate) > asked, 240, STEP)

    def finish(self, work: Work, verdict: RunVerdict = RunVerdict.RECOVERED) -> State:
        """Wait for the end and its report."""

        def ended() -> State | None:
            state = self.state(work)
            return state if isinstance(next_step(state), Finished) else None

        state = wait_for("the recovery ends", ended, 300, STEP)
        assert state.ended is not None
        assert verdict == state.ended.verdict, state.ended.sentence
        return state

    def trace(self) -> list[str]:
        """Names of the jobs the host itself says it started, in order."""
        path = self.world.facts.host.state_dir / "trace"
        return [line.split()[-1] for line in path.read_text().splitlines()] if path.is_file() else []


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    """A healthy shop, backed up for real, and its running `up`; at the end nothing is left."""
    world = World.build(folder / "world")
    try:
        plan, home = write_plan(world.facts, soak=1.0), folder / "home"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REINSTATE_HOME", str(home))
            back_up(plan)
        made = Installation(world, plan, home, processes.free_port())
        try:
            made.start()
            yield made
            if made.process is not None and made.process.poll() is None:
                made.stop()
            assert [] == made.pids(), f"left behind after Ctrl-C:\n{made.said}"
        finally:
            processes.end(made.pids())
    finally:
        World.remove(folder / "world")
