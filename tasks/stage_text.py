"""A small text in our staging folder, dressed as it will be when it is put into place."""

from __future__ import annotations

import hashlib

from model.errors import PreconditionFailed
from model.manifest import Entry
from tasks.placing import moment, owner
from tasks.staging import Staging, ask

_PUT = 'umask 077; cat >"$1"'
_DRESS = 'chown -- "$2" "$1" && chmod -- "$3" "$1" && { [ -z "$4" ] || touch -d "@$4" -- "$1"; }'


def stage_text(stage: Staging, name: str, text: str, entry: Entry) -> str:
    """Write a text there, have the host hash it, and give it mode, owner and time; returns its path.

    Raises:
        PreconditionFailed: the host cannot write it. Damaged: what arrived is not what was sent.
    """
    data = text.encode("utf-8", "surrogateescape")
    path = f"{stage.path}/{name}"
    written = ask(stage.connection, "sh", "-c", _PUT, "reinstate-stage", path, stdin=data)
    if written.ok:
        stage.verify(path, hashlib.sha256(data).hexdigest())
        time = moment(entry.mtime_ns) if entry.mtime_ns else ""
        written = ask(
            stage.connection, "sh", "-c", _DRESS, "reinstate-dress", path, owner(entry), f"{entry.mode:05o}", time
        )  # fmt: skip
    if not written.ok:
        raise PreconditionFailed(
            f"{path} cannot be written: {written.tail(2)}.",
            stage.connection.name,
            "free space in the state directory; nothing live was touched",
        )
    return path
