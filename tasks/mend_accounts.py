"""Mending an account file: its broken lines come back from its backup, all others stay."""

from __future__ import annotations

from blocks.hosts.base import Connection
from checks.account_files import mend, sha256
from model.errors import Damaged, PreconditionFailed
from model.manifest import FileType
from model.proposal import MendAccounts
from tasks.filestate import entries
from tasks.performed import Performed
from tasks.placing import flushes, place, put
from tasks.stage_text import stage_text
from tasks.staging import Progress, staging

STANDARD = {"/etc/passwd": 0o644, "/etc/group": 0o644, "/etc/shadow": 0o640, "/etc/gshadow": 0o640}


def perform(
    connection: Connection, action: MendAccounts, *, job_prefix: str, token: int, progress: Progress
) -> Performed:
    """Write the file that was signed for; the same file is there already: nothing is done.

    Raises:
        PreconditionFailed: file or backup changed since the proposal; nothing was touched.
        Damaged: the file does not hold.
    """
    live = entries(connection, [action.path, action.source])
    now, source = live[action.path], live[action.source]
    mode = now.mode & ~0o022 if now.type is FileType.FILE else STANDARD[action.path]
    if now.sha256 == action.after and now.mode == mode:
        return Performed(f"{action.path} is as signed for already.")
    there = _read(connection, action.path) if now.type is FileType.FILE else ""
    spare = _read(connection, action.source)
    made = mend(action.path, there, spare, action.known)
    signed = (action.before, action.source_sha256, action.after)
    if (sha256(there), sha256(spare), sha256(made.text)) != signed:
        raise PreconditionFailed(
            f"{action.path} or {action.source} is not what the proposal was signed for.",
            connection.name,
            "find out who changed it, then propose again",
        )
    # A file that is gone takes the owner of its backup, which the same tools write.
    like = now if now.type is FileType.FILE else source
    entry = like.model_copy(update={"path": action.path, "mode": mode, "mtime_ns": 0})
    with staging(connection, job_prefix, token) as stage:
        staged = stage_text(stage, "accounts", made.text, entry)
        aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
        steps = [put(action.path, staged), *flushes([action.path])]
        place(connection, f"{job_prefix}-accounts", steps, token, aside=aside)
    if entries(connection, [action.path])[action.path].sha256 != action.after:
        raise Damaged(
            f"{action.path} did not stay as it was written.", connection.name, "see what else writes it"
        )
    progress(1, 1)
    back = f"{len(action.returned)} lines came back" if action.returned else "no line had to come back"
    return Performed(f"{action.path} is whole again: {back}, {len(action.dropped)} unreadable ones went.")


def _read(connection: Connection, path: str) -> str:
    return connection.read_file(path).decode("utf-8", "surrogateescape")
