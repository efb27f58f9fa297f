"""`reinstate up`: PostgreSQL, Prefect server, registration and worker in one process tree, in order."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType

from blocks.home import home, open_store
from deployments.demo.processes import alive, end, free_port
from deployments.server import register, runs
from deployments.server.alerts import keep_alerts
from deployments.server.engine import Child, start_gateway, start_server, start_worker
from deployments.server.informer import keep_telling
from deployments.server.paths import Paths, paths, running
from deployments.server.postgres import Postgres
from deployments.server.ready import Changes
from deployments.server.settings import UNREACHABLE, client_settings
from flows.drill import reap
from model.errors import BadInput, ReinstateError
from tasks.work import PlanFile, register_plan

Say = Callable[[str], None]
WATCH_SECONDS = 3.0
AGAIN_SECONDS = 30.0
"""So often the runs that ended are looked at though none has ended since."""

DRAIN_SECONDS = 120.0
PORTS = 3
"""How often another port is tried."""


class Up:
    """One running installation."""

    def __init__(
        self, plans: Sequence[PlanFile], port: int | None, say: Say, alerts: str = "127.0.0.1:4280"
    ) -> None:
        """Remember what to start; `start` starts it."""
        self.plans, self.say, self.alerts = plans, say, alerts
        self.alerted = [str(file.path) for file in plans if file.plan.alerts is not None]
        self.gateway: Child | None = None
        self.port = port
        self.where = Paths(home() / "up", 0)
        self.postgres = Postgres(home() / "up")
        self.server: Child | None = None
        self.worker: Child | None = None
        self.deployed: dict[str, UUID] = {}
        self._lock: int | None = None
        self._over: set[str] = set()
        self._lost = 0
        self._ended: tuple[UUID, datetime] | None = None
        self._again = 0.0

    def start(self) -> None:
        """Start everything; what an earlier one left behind is found and used.

        Raises:
            BadInput: another `up` runs for the same home.
            ReinstateError: a part did not start; the message says which and where its log is.
        """
        self._take_lock()
        self._end_leftovers()
        self.say("PostgreSQL …")
        self.postgres.start()
        self.say("Prefect server …")
        self.server = self._start_server()
        store = open_store()
        for file in self.plans:
            register_plan(file, store)
        self.say("Deployments …")
        with client_settings(self.where):
            going_on = asyncio.run(self._bootstrap())
        self._reap()
        self.worker = start_worker(self.where)
        if self.alerted:
            self.gateway = start_gateway(self.where, self.alerted, self.alerts)
        self._write()
        for incident in going_on:
            self.say(f"{incident} goes on where its journal is.")

    def _start_server(self) -> Child:
        """Start the server; on another port when somebody else takes the chosen one at the same moment."""
        for left in reversed(range(PORTS)):
            self.where = paths(self.port)
            try:
                return start_server(self.where, self.postgres.url)
            except ReinstateError:
                if not left or free_port(self.where.port) == self.where.port:
                    raise
                self.say(f"Another program took port {self.where.port}; another port is tried.")
        raise AssertionError

    def _reap(self) -> None:
        """Clean up drills whose process is gone."""
        asyncio.run(reap(self.say))

    async def _bootstrap(self) -> list[str]:
        async with get_client() as client:
            await runs.bury_lost_runs(client, all_of_them=True)
            self.deployed = await register.register(client, self.plans)
            return await self._go_on(client)

    def watch(self, stopping: threading.Event) -> None:
        """Until told to stop: restart a dead worker, let incidents whose run crashed go on, tell people what is due."""
        keep_telling(open_store(), self.plans, stopping, self.say)
        changes = Changes(open_store(), self.plans)
        if self.alerted:
            keep_alerts(open_store(), self.alerted, self.where, stopping, self.say)
        with client_settings(self.where):  # once: it costs as much as a look
            while not stopping.wait(WATCH_SECONDS):
                if self.server is not None and not self.server.alive():
                    self.say("The Prefect server ended; it is started again.")
                    self.server = start_server(self.where, self.postgres.url)
                    self._write()
                if self.gateway is not None and not self.gateway.alive():
                    self.say(f"The gateway ended (its log is {self.gateway.log}); it is started again.")
                    self.gateway = start_gateway(self.where, self.alerted, self.alerts)
                    self._write()
                dead = self.worker is not None and not self.worker.alive()
                try:
                    going_on = asyncio.run(self._reconcile(dead))
                except UNREACHABLE as error:  # it may be busy or on its way back: the next look comes soon
                    self.say(f"The Prefect server did not answer ({type(error).__name__}); asking again.")
                    continue
                for incident in going_on:
                    self.say(f"{incident} goes on where its journal is.")
                if self._lost:
                    self._lost = 0
                    self._reap()
                if dead:
                    self.say("The worker ended; it is started again.")
                    self.worker = start_worker(self.where)
                    self._write()
                changes.look(self.where, self.say)

    async def _reconcile(self, dead: bool) -> list[str]:
        async with get_client() as client:
            self._lost += await runs.bury_lost_runs(client, all_of_them=dead)
            return await self._go_on(client)

    async def _go_on(self, client: PrefectClient) -> list[str]:
        woken = await runs.wake_settled(client)
        ended = await runs.last_end(client)
        if ended == self._ended and time.monotonic() < self._again:
            return woken  # reading a week of runs every few seconds would load the server
        if await runs.report_again(client, self.deployed, self._over):
            self.say("A recovery whose run crashed before its incident was open starts again.")
        for incident in await runs.name_abandoned(client, self._over):
            self.say(f"Nothing works on {incident} any more: look at its run, then `recover` again.")
        going_on = await runs.continue_incidents(client, self.deployed, self._over)
        self._ended, self._again = ended, time.monotonic() + AGAIN_SECONDS
        return woken + going_on

    def stop(self, drain: float = DRAIN_SECONDS, hurry: threading.Event | None = None) -> None:
        """Stop in order: hand out no more runs, wait for those that run, then worker, server, database.

        Args:
            drain: how many seconds to wait for running runs; the journal lets them go on after the next start.
            hurry: once set, nothing is waited for.
        """
        if self._lock is None:
            return  # not ours: it was never started, or another `up` runs for this home
        if self.server is not None and self.server.alive() and self.worker is not None:
            try:
                with client_settings(self.where):
                    asyncio.run(self._drain(drain, hurry or threading.Event()))
            except UNREACHABLE as error:
                self.say(f"The Prefect server did not answer ({type(error).__name__}); stopping without it.")
        for child in (self.gateway, self.worker, self.server):
            if child is not None:
                self.say(f"Stopping the {child.name} …")
                child.stop()
        self.say("Stopping PostgreSQL …")
        self.postgres.stop()
        (home() / "up/running.json").unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

    async def _drain(self, seconds: float, hurry: threading.Event) -> None:
        async with get_client() as client:
            await register.pause_pool(client)
            told, deadline = 0, time.monotonic() + seconds
            while time.monotonic() < deadline and not hurry.is_set():
                busy = len(await runs.runs_in(client, StateType.RUNNING, StateType.PENDING))
                if not busy or self.worker is None or not self.worker.alive():
                    return
                if busy != told:
                    self.say(
                        f"Waiting for {busy} run(s) to end or to wait for a person; Ctrl-C again stops now …"
                    )
                told = busy
                await asyncio.sleep(0.5)

    def _take_lock(self) -> None:
        folder = home() / "up"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            other = running()
            raise BadInput(
                "`reinstate up` already runs here.",
                where=other.paths.url if other else str(folder),
                remedy="use it, or stop it with Ctrl-C first",
            ) from None

    def _write(self) -> None:
        children = [
            child.process.pid for child in (self.server, self.worker, self.gateway) if child is not None
        ]
        state = {"pid": os.getpid(), "port": self.where.port, "children": children}
        (self.where.folder / "running.json").write_text(json.dumps(state))

    def _end_leftovers(self) -> None:
        """End server and worker of an `up` that was killed; by pid, and only if the process is what we started."""
        state = home() / "up/running.json"
        if not state.is_file():
            return
        pids = [int(pid) for pid in json.loads(state.read_text())["children"]]
        ours = [pid for pid in pids if alive(pid) and _is_ours(_command_line(pid))]
        if ours:
            self.say("Ending what a killed `up` left behind …")
            end(ours)
        state.unlink()


def _is_ours(line: bytes) -> bool:
    return b"prefect" in line or b"deployments.gateway" in line


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def serve(
    plans: Sequence[PlanFile], port: int | None, say: Say, ready: Callable[[Up], None], alerts: str
) -> None:
    """Run `up` until SIGINT or SIGTERM; a second signal stops without waiting for runs."""
    stopping = threading.Event()
    hurry = threading.Event()

    def on_signal(*_: object) -> None:
        (hurry if stopping.is_set() else stopping).set()

    installation = Up(plans, port, say, alerts)
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        installation.start()
        ready(installation)
        installation.watch(stopping)
    finally:
        installation.stop(hurry=hurry)
        for number, handler in before.items():
            signal.signal(number, handler)
