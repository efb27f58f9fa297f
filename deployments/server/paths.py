"""Where `up` keeps what must survive a restart, and the environment its Prefect processes run in."""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from blocks.home import home
from deployments.demo.processes import free_port

POOL = "reinstate"
"""Name of the process work pool."""


@dataclass(frozen=True)
class Paths:
    """The folder of one installation of `up`.

    Attributes:
        folder: mode 700; the database, Prefect's home, the password, the logs.
        port: TCP port of the Prefect API and UI on 127.0.0.1.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """The generated password of user `admin`; made on first use, mode 600."""
        return _secret(self.folder / "password")

    @property
    def auth(self) -> str:
        """Prefect's shared auth string."""
        return f"admin:{self.password}"

    def log(self, name: str) -> Path:
        """Log file of one of the processes."""
        (self.folder / "logs").mkdir(exist_ok=True)
        return self.folder / "logs" / f"{name}.log"

    def settings(self) -> dict[str, str]:
        """Prefect's settings for every process of ours that talks to the API."""
        return {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_API_AUTH_STRING": self.auth,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            # Three beats within automations.LOST_AFTER; Prefect's default of 180 s would have long runs called lost.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_CLI_COLORS": "false",
            "REINSTATE_HOME": str(home()),
        }

    def environment(self, **more: str) -> dict[str, str]:
        """A process environment: the caller's without any PREFECT_ setting, plus ours, with our Python first."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        # Prefect keeps its runs' files in one folder of the temporary directory, whoever made it: we need our own.
        temporary = self.folder / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        return kept | self.settings() | {"PATH": path, "TMPDIR": str(temporary)} | more


def paths(port: int | None = None) -> Paths:
    """The installation below `home()`; its port stays the same from start to start while it is free.

    Args:
        port: wish for another port.
    """
    folder = home() / "up"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = folder / "port"
    before = int(kept.read_text()) if kept.is_file() else None
    if before is not None and (port is None or port == before) and running() is not None:
        return Paths(folder, before)
    chosen = free_port(port or before or 4200)
    kept.write_text(f"{chosen}\n")
    return Paths(folder, chosen)


@dataclass(frozen=True)
class Running:
    """A running `up`."""

    pid: int
    paths: Paths


def running() -> Running | None:
    """The `up` that runs now, if one does: its pid file names a live process that holds the lock."""
    folder = home() / "up"
    state = folder / "running.json"
    if not state.is_file():
        return None
    said = json.loads(state.read_text())
    try:
        os.kill(int(said["pid"]), 0)
    except (ProcessLookupError, PermissionError):
        return None
    return Running(int(said["pid"]), Paths(folder, int(said["port"])))


def _secret(path: Path) -> str:
    if not path.is_file():
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(18))
    return path.read_text().strip()
