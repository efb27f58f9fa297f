"""Putting right what an interrupted or damaged dpkg left: its database, and packages it did not finish."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from blocks.hosts.base import Connection
from checks import status_copies
from model.assets import DpkgAsset
from model.canonical import now
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import Entry, FileType
from model.proposal import ConfigurePackages, RestorePackageDatabase
from tasks.performed import Performed
from tasks.placing import flushes, meta, place, put
from tasks.run_dpkg import run_dpkg, words_of
from tasks.staging import Progress, ask, sha256_of, staging

_BROKEN = re.compile(r"parsing file|syntax error|error:", re.IGNORECASE)


def perform(
    connection: Connection,
    asset: DpkgAsset,
    action: RestorePackageDatabase | ConfigurePackages,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Carry out an action on the records of the package tool; see the two below."""
    if isinstance(action, ConfigurePackages):
        return configure(connection, asset, action, job_prefix=job_prefix, token=token, progress=progress)
    return restore_database(connection, asset, action, job_prefix=job_prefix, token=token, progress=progress)


def restore_database(
    connection: Connection,
    asset: DpkgAsset,
    action: RestorePackageDatabase,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Make the status file whole again, as it was signed for, and see that dpkg reads it.

    Raises:
        PreconditionFailed: the database or its copy changed since the proposal; nothing was changed.
        ReinstateError: dpkg does not read the new file.
        Transient: interrupted; calling again goes on.
    """
    status = ask(connection, "cat", "--", action.path)
    mended = status_copies.read(connection, asset).mended
    data = mended.data if mended is not None else status.stdout
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "status"
        local.write_bytes(data)
        if sha256_of(local) != action.sha256:
            raise PreconditionFailed(
                "the package database or its copy changed since the proposal.",
                connection.name,
                "somebody works on the host; propose again",
            )
        if mended is not None:
            with staging(connection, job_prefix, token) as stage:
                staged = stage.push(local, "status", action.sha256, progress)
                moment = int(now().timestamp()) * 1_000_000_000
                entry = Entry(path=staged, type=FileType.FILE, mode=0o644, mtime_ns=moment)
                if asset.rootless:
                    owner = ask(connection, "stat", "-c", "%u %g", "--", f"{action.path.rpartition('/')[0]}")
                    uid, gid = (int(word) for word in owner.text.split())
                    entry = entry.model_copy(update={"uid": uid, "gid": gid})
                aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
                steps = [meta(entry), put(action.path, staged), *flushes([action.path])]
                place(connection, f"{job_prefix}-status", steps, token, aside=aside)
    audit = ask(connection, *words_of(asset), "--audit")
    if audit.status not in {0, 1} or _BROKEN.search(audit.stderr.decode("utf-8", "replace")):
        raise ReinstateError(
            f"dpkg does not read its database: {audit.tail(3)}.",
            connection.name,
            "roll back; restore it by hand",
        )
    progress(1, 1)
    said = f"; {', '.join(action.again)} will be installed again" if action.again else ""
    return Performed(
        f"dpkg's database is whole again: {len(action.restored)} entries came back from {action.base}{said}.",
        len(data),
    )


def configure(
    connection: Connection,
    asset: DpkgAsset,
    action: ConfigurePackages,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Let dpkg finish what it began.

    Raises:
        ReinstateError: a maintainer script failed; the message holds its last words.
        Transient: another package manager holds the lock, or the connection was lost; calling again goes on.
    """
    words = ("--force-confold", "--force-confmiss", "--configure", "-a")
    result = run_dpkg(connection, asset, words, f"{job_prefix}-configure", token)
    if not result.ok:
        raise ReinstateError(
            f"dpkg could not finish {', '.join(action.packages)} (status {result.status}): {result.tail(8)}.",
            connection.name,
            "roll back, or cure what the message names and recover again",
        )
    progress(1, 1)
    return Performed(f"dpkg finished {', '.join(action.packages)}.")
