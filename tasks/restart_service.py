"""Restarting a service whose files or data were repaired, and waiting until it runs."""

from __future__ import annotations

import time

from blocks.hosts.base import Connection
from model.assets import ServiceAsset
from model.command import Command
from model.errors import ReinstateError
from model.proposal import RestartService
from tasks.performed import Performed
from tasks.staging import PLAIN, Progress, ask

PATIENCE = 30.0
"""Seconds until it must run."""

STEADY = 1.0
"""Seconds it must go on running: a program that dies at once was `active` for a moment."""

START_SECONDS = 120.0
_FAILED = ("systemctl", "is-failed", "--quiet", "--")
_JOURNAL = 'journalctl --no-pager --output=cat --lines=8 --unit="$1" 2>&1'


def perform(
    connection: Connection,
    asset: ServiceAsset,
    action: RestartService,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Restart it and see it run.

    Raises:
        ReinstateError: it does not run; the message holds the end of its log.
        Transient: the connection was lost; calling again goes on.
    """
    begun = time.monotonic()
    if asset.unit is not None:
        # Units repaired on disk are read again, one that gave up starting is forgiven. Neither has to work.
        change(connection, f"{job_prefix}-reload", ("systemctl", "daemon-reload"), token)
        change(connection, f"{job_prefix}-forgive", ("systemctl", "reset-failed", "--", asset.unit), token)
    said = ""
    for number, words in enumerate(asset.command("restart")):
        ok, tail = change(connection, f"{job_prefix}-restart-{number}", words, token)
        said = said if ok else tail  # stopping what is dead may fail; whether it runs is what counts
        progress(number + 1, len(asset.command("restart")) + 1)
    if not _runs(connection, asset):
        log = _log(connection, asset) or said
        raise ReinstateError(
            f"{action.service} does not run after its restart: {log or 'no message'}.",
            connection.name,
            "read the message: what it needs is still damaged or missing",
        )
    progress(1, 1)
    return Performed(f"{action.service} was restarted and runs after {time.monotonic() - begun:.1f} s.")


def change(connection: Connection, name: str, words: tuple[str, ...], token: int) -> tuple[bool, str]:
    """One command as a job: whether it worked, and its last words."""
    result = connection.job(name, Command(words, sudo=True, env=PLAIN, timeout=START_SECONDS), token)
    return result.ok, result.tail(5)


def _runs(connection: Connection, asset: ServiceAsset) -> bool:
    deadline = time.monotonic() + PATIENCE
    since: float | None = None
    while time.monotonic() < deadline:
        running = all(ask(connection, *words, timeout=20.0).ok for words in asset.command("status"))
        moment = time.monotonic()
        since = (since or moment) if running else None
        if since is not None and moment - since >= STEADY:
            return True
        if not running and asset.unit is not None and ask(connection, *_FAILED, asset.unit, timeout=20.0).ok:
            return False  # systemd has given up: `failed` is final, also under Restart=
        time.sleep(0.25)
    return False


def _log(connection: Connection, asset: ServiceAsset) -> str:
    if asset.unit is None:
        return ""
    result = ask(connection, "sh", "-c", _JOURNAL, "reinstate-log", asset.unit)
    return result.tail(8) if result.ok else ""
