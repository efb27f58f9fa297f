"""Running dpkg as a named job, patient with another package manager that holds its lock."""

from __future__ import annotations

import re
import time

from blocks.hosts.base import Connection
from model.assets import DpkgAsset
from model.command import Command, Result
from model.errors import Transient
from tasks.fetch_package import ENVIRONMENT, INSTALL_SECONDS
from tasks.staging import ask

LOCK_PATIENCE = 90.0
"""Seconds to wait for another package manager that holds the lock."""

LOCK_PAUSE = 3.0
_ROOTLESS = ("--force-not-root", "--force-script-chrootless")
_LOCKED = re.compile(r"lock was locked by another process|unable to (?:acquire|lock)|[Cc]ould not get lock")


def words_of(asset: DpkgAsset) -> tuple[str, ...]:
    """Dpkg for the asset's tree."""
    words: tuple[str, ...] = ("dpkg",)
    if asset.root != "/":
        words += (f"--root={asset.root}", f"--log={asset.root}/var/log/dpkg.log")
    return words + (_ROOTLESS if asset.rootless else ())


def run_dpkg(
    connection: Connection,
    asset: DpkgAsset,
    words: tuple[str, ...],
    name: str,
    token: int,
    stdin: bytes | None = None,
) -> Result:
    """Run dpkg as a job; while another process holds its lock, as a further job each time.

    Raises:
        Transient: the lock is still held; calling again goes on waiting.
    """
    command = Command(
        (*words_of(asset), *words), stdin=stdin, sudo=True, env=ENVIRONMENT, timeout=INSTALL_SECONDS
    )
    trace = f"{connection.host.state_dir.rstrip('/')}/trace"
    started = ask(connection, "grep", "-c", "-F", "--", f" {name}-", trace).text.strip()
    # The last one is asked for its result again: it may have ended after we lost the connection.
    number = max(int(started) if started.isdigit() else 0, 1)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        result = connection.job(f"{name}-{number}", command, token)
        if result.ok or not _LOCKED.search(result.stderr.decode("utf-8", "replace")):
            return result
        if time.monotonic() > deadline:
            raise Transient(
                f"another package manager holds the lock: {result.tail(2)}.", connection.name, "let it finish"
            )
        time.sleep(LOCK_PAUSE)
        number += 1
