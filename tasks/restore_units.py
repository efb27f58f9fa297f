"""Putting units back as the baseline recorded them: files, links, masks; then systemd reads and starts them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blocks.hosts.base import Connection
from model.command import Command, printable
from model.errors import Damaged, PreconditionFailed, ReinstateError
from model.manifest import Entry, FileType
from model.proposal import RestoreUnits
from tasks.filestate import entries
from tasks.performed import Performed
from tasks.placing import Step, flushes, owner, place, put, symlink
from tasks.stage_text import stage_text
from tasks.staging import PLAIN, Progress, ask, staging
from tasks.undo import roll_back_files

START_SECONDS = 120.0
PATIENCE = 15.0
_JOURNAL = 'journalctl --no-pager --output=cat --lines=6 --unit="$1" 2>&1'


def perform(
    connection: Connection, action: RestoreUnits, contents: Mapping[str, str], *, job_prefix: str, token: int,
    progress: Progress,
) -> Performed:  # fmt: skip
    """Put the units of a signed action back.

    Args:
        connection: the host.
        action: what to put back, remove, start.
        contents: texts of unit files by SHA-256, from the baseline.
        job_prefix: start of the jobs' names.
        token: our fencing token.
        progress: told (steps done, steps in all).

    Raises:
        PreconditionFailed: what is to be removed is not what was signed for, or the baseline lost a text.
        ReinstateError: a unit does not start. Damaged: something does not hold.
    """
    files = {entry.path: entry for entry in action.files}
    gone = {entry.path: entry for entry in action.gone}
    _as_signed(connection, gone)
    wanted = {path: entry for path, entry in files.items() if entry.type is FileType.FILE}
    lost = next((path for path, entry in wanted.items() if entry.sha256 not in contents), None)
    if lost is not None:
        raise PreconditionFailed(
            f"the baseline no longer holds the content of {printable(lost)} that was signed for.",
            connection.name,
            "propose again",
        )
    total = 2 + len(action.restart) + len(action.start)
    with staging(connection, job_prefix, token) as stage:
        staged = {
            path: stage_text(stage, f"{number:04d}", contents[entry.sha256], entry)
            for number, (path, entry) in enumerate(wanted.items())
        }
        steps = [*_folders(files), *(put(path, source) for path, source in staged.items())]
        for entry in files.values():
            if entry.type is FileType.LINK:
                steps.append(symlink(entry))
            elif entry.type is FileType.DIRECTORY:
                steps.append(Step("own", entry.path, owner(entry), f"{entry.mode:05o}", ""))
        steps += [Step("gone", path) for path in gone]
        # A drop-in folder that was made for what goes now is empty; one with anything in it stays.
        steps += [Step("prune", folder) for folder in _made(gone, files)]
        steps += flushes([*files, *gone])
        aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
        if files or gone:
            place(connection, f"{job_prefix}-units", steps, token, aside=aside)
    progress(1, total)
    _must(connection, f"{job_prefix}-reload", ("systemctl", "daemon-reload"), token)
    progress(2, total)
    _require(connection, files, gone)
    for number, unit in enumerate(action.restart):
        run(connection, f"{job_prefix}-again-{number}", ("systemctl", "try-restart", "--", unit), token)
        progress(3 + number, total)
    for number, unit in enumerate(action.start):
        run(connection, f"{job_prefix}-forgive-{number}", ("systemctl", "reset-failed", "--", unit), token)
        run(connection, f"{job_prefix}-start-{number}", ("systemctl", "start", "--", unit), token)
        progress(3 + len(action.restart) + number, total)
    for unit in dict.fromkeys((*action.restart, *action.start)):
        _settled(connection, unit)
    progress(total, total)
    started = f" {', '.join(action.start)} started." if action.start else ""
    return Performed(
        f"{len(files)} unit files and links put back, {len(gone)} masks and additions removed.{started}"
    )


def undo(
    connection: Connection, action: RestoreUnits, folder: Path, *, job_prefix: str, token: int, progress: Progress
) -> Performed:  # fmt: skip
    """What was there before comes back, and systemd reads it; what was started is stopped."""
    for number, unit in enumerate(action.start):
        run(connection, f"{job_prefix}-stop-{number}", ("systemctl", "stop", "--", unit), token)
    done = roll_back_files(
        connection, folder, action.touches, job_prefix=job_prefix, token=token, progress=progress
    )
    _must(connection, f"{job_prefix}-reload", ("systemctl", "daemon-reload"), token)
    return done


def run(connection: Connection, name: str, words: tuple[str, ...], token: int) -> tuple[bool, str]:
    """One command as a job: whether it worked, and its last words."""
    result = connection.job(name, Command(words, sudo=True, env=PLAIN, timeout=START_SECONDS), token)
    return result.ok, result.tail(3)


def _must(connection: Connection, name: str, words: tuple[str, ...], token: int) -> None:
    ok, said = run(connection, name, words, token)
    if not ok:
        raise ReinstateError(f"`{' '.join(words)}` failed: {said}.", connection.name, "look at systemd there")


def _as_signed(connection: Connection, gone: Mapping[str, Entry]) -> None:
    for path, entry in entries(connection, gone).items():
        was = gone[path]
        if entry.type is not FileType.ABSENT and (entry.type, entry.link, entry.sha256) != (
            was.type,
            was.link,
            was.sha256,
        ):
            raise PreconditionFailed(
                f"{printable(path)} is not what the proposal was signed for.",
                connection.name,
                "find out who changed it, then propose again",
            )


def _folders(files: Mapping[str, Entry]) -> list[Step]:
    """Folders above what comes back; those the baseline knows get its mode and owner."""
    above = dict.fromkeys(path.rpartition("/")[0] for path in files)
    named = [path for path, entry in files.items() if entry.type is FileType.DIRECTORY]
    return [Step("folder", path) for path in sorted({*above, *named})]


def _made(gone: Iterable[str], files: Mapping[str, Entry]) -> Sequence[str]:
    folders = dict.fromkeys(path.rpartition("/")[0] for path in gone)
    return [
        folder
        for folder in folders
        if folder.endswith((".d", ".wants", ".requires"))
        and not any(path.startswith(f"{folder}/") for path in files)
    ]


def _require(connection: Connection, files: Mapping[str, Entry], gone: Mapping[str, Entry]) -> None:
    after = entries(connection, [*files, *gone])
    for path, entry in files.items():
        now = after[path]
        same = (now.type, now.link, now.uid, now.gid) == (entry.type, entry.link, entry.uid, entry.gid)
        if entry.type is FileType.FILE:
            same = same and (now.sha256, now.mode) == (entry.sha256, entry.mode)
        if not same:
            raise Damaged(
                f"{printable(path)} is not as recorded: something else changes it.",
                connection.name,
                "stop what writes there, then run it again",
            )
    left = next((path for path in gone if after[path].type is not FileType.ABSENT), None)
    if left is not None:
        raise Damaged(f"{printable(left)} came back.", connection.name, "find out what makes it")


def _settled(connection: Connection, unit: str) -> None:
    """It runs, or did its work and ended; a unit that failed says why."""
    deadline = time.monotonic() + PATIENCE
    while True:
        said = ask(connection, "systemctl", "is-active", "--", unit, timeout=20.0).text.strip()
        if said not in {"activating", "reloading", "deactivating"} or time.monotonic() > deadline:
            break
        time.sleep(0.25)
    if said == "failed":
        log = ask(connection, "sh", "-c", _JOURNAL, "reinstate-log", unit)
        raise ReinstateError(
            f"{unit} does not run: {log.tail(6) or 'no message'}.",
            connection.name,
            "read the message: what it needs is still damaged or missing",
        )
