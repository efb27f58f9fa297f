"""Setting mode and owner of files whose content is right."""

from __future__ import annotations

from blocks.hosts.base import Connection
from model.assets import AssetBase
from model.command import printable
from model.errors import Damaged, PreconditionFailed
from model.manifest import Entry, FileType
from model.proposal import SetMetadata
from tasks.filestate import entries, same_attributes
from tasks.performed import Performed
from tasks.placing import Step, attributes, flushes, moment, owner, place
from tasks.staging import Progress


def perform(
    connection: Connection,
    asset: AssetBase,  # noqa: ARG001 - all performers are called alike
    action: SetMetadata,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Set mode, owner and, where the proposal names one, time.

    Raises:
        PreconditionFailed: a path is not what the proposal was signed for; nothing was touched.
        Damaged: they do not hold afterwards.
    """
    wanted = {entry.path: entry for entry in action.files}
    live = entries(connection, wanted)
    for path, entry in wanted.items():
        if live[path].type is not entry.type or (entry.sha256 and live[path].sha256 != entry.sha256):
            raise PreconditionFailed(
                f"{printable(path)} is not the {entry.type} the proposal was signed for.",
                connection.name,
                "find out who changed it, then propose again",
            )
    # Setting an owner drops capabilities: those that were right are set again.
    kept = {
        path: e.capabilities if path in action.capable else live[path].capabilities or e.capabilities
        for path, e in wanted.items()
    }
    steps = [
        Step(
            "meta" if entry.type is FileType.LINK else "own", path, owner(entry), f"{entry.mode:05o}",
            moment(entry.mtime_ns) if entry.mtime_ns else "",
        )
        for path, entry in wanted.items()
    ] + [Step("cap", path, hexes) for path, hexes in kept.items() if hexes]  # fmt: skip
    steps += attributes(
        [(path, e.model_copy(update={"capabilities": kept[path]})) for path, e in wanted.items()]
    )
    aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
    place(connection, f"{job_prefix}-metadata", [*steps, *flushes(wanted)], token, aside=aside)
    after = entries(connection, wanted)
    wrong = [
        path
        for path, entry in wanted.items()
        if _worn(after[path]) != _worn(entry)
        or after[path].capabilities != kept[path]
        or not same_attributes(entry, after[path])
    ]
    if wrong:
        raise Damaged(
            f"mode, owner, capabilities or attributes of {printable(wrong[0])} did not hold.",
            connection.name,
            "see what else manages this file there",
        )
    progress(1, 1)
    count = len(wanted)
    return Performed(f"Mode and owner of {count} path{'s' if count != 1 else ''} set.")


def _worn(entry: Entry) -> tuple[int, int, int]:
    return (0 if entry.type is FileType.LINK else entry.mode, entry.uid, entry.gid)
