"""The Prefect server and the worker as child processes, each in a session of its own and ended by pid, in order."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployments.server.interface import make_legible
from deployments.server.paths import POOL, Paths
from model.errors import ReinstateError


@dataclass
class Child:
    """One of our processes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        """True while it runs."""
        return self.process.poll() is None

    def stop(self, patience: float = 10.0) -> None:
        """Ask it to end, then make it."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


def spawn(name: str, module: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> Child:
    """Start one of our processes, a module of Python, with its output in a log file."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process, log)


def start_server(paths: Paths, database_url: str) -> Child:
    """Start the Prefect server and wait until it is healthy.

    Raises:
        ReinstateError: it ended or did not answer within 90 s; the remedy names its log.
    """
    environment = paths.environment(
        PREFECT_SERVER_API_HOST="127.0.0.1",
        PREFECT_SERVER_API_PORT=str(paths.port),
        PREFECT_SERVER_API_AUTH_STRING=paths.auth,
        PREFECT_SERVER_DATABASE_CONNECTION_URL=database_url,
        PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="prefect.server.concurrency.lease_storage.filesystem",
        PREFECT_SERVER_UI_V2_ENABLED="false",
        PREFECT_SERVER_UI_STATIC_DIRECTORY=str(paths.folder / "ui"),
        PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT="false",
        PREFECT_UI_API_URL=f"{paths.url}/api",
    )
    child = spawn("server", "prefect", ["server", "start"], environment, paths.log("server"))
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and child.alive():
        try:
            # Another server on this port says that it is healthy, too, but does not know our password.
            if httpx.get(
                f"{paths.url}/api/admin/version", auth=("admin", paths.password), timeout=2
            ).is_success:
                make_legible(paths.folder / "ui")
                return child
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    child.stop()
    tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-8:])
    raise ReinstateError(
        f"the Prefect server did not become healthy:\n{tail}", where=paths.url, remedy=f"read {child.log}"
    )


def start_worker(paths: Paths) -> Child:
    """Start the process worker; it takes runs from the pool every second."""
    environment = paths.environment(PREFECT_WORKER_QUERY_SECONDS="1", PREFECT_WORKER_HEARTBEAT_SECONDS="10")
    arguments = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "reinstate"]
    return spawn("worker", "prefect", arguments, environment, paths.log("worker"))


def start_gateway(paths: Paths, plans: Sequence[str], address: str) -> Child:
    """Start the webhook gateway at `HOST:PORT`; it needs neither the Prefect server nor the worker."""
    return spawn(
        "gateway",
        "deployments.gateway",
        ["--listen", address, *plans],
        paths.environment(),
        paths.log("gateway"),
    )
