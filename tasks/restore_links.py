"""Putting symbolic links back where they lead astray; each changes in one rename."""

from __future__ import annotations

from blocks.hosts.base import Connection
from model.assets import AssetBase
from model.command import printable
from model.errors import Damaged
from model.manifest import FileType
from model.proposal import RestoreLinks
from tasks.filestate import entries
from tasks.performed import Performed
from tasks.placing import Step, flushes, owner, place
from tasks.staging import Progress


def perform(
    connection: Connection,
    asset: AssetBase,  # noqa: ARG001 - all performers are called alike
    action: RestoreLinks,
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Make each link what was signed for; what stands in its place and is a folder with content is set aside.

    Raises:
        Damaged: a link does not hold.
    """
    steps = [Step("symlink", entry.path, entry.link, owner(entry)) for entry in action.links]
    aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
    place(
        connection,
        f"{job_prefix}-links",
        [*steps, *flushes(e.path for e in action.links)],
        token,
        aside=aside,
    )
    after = entries(connection, [entry.path for entry in action.links])
    for entry in action.links:
        live = after[entry.path]
        if live.type is not FileType.LINK or live.link != entry.link:
            raise Damaged(
                f"the link {printable(entry.path)} did not hold.",
                connection.name,
                "see what else manages it there",
            )
    progress(1, 1)
    count = len(action.links)
    return Performed(f"{count} link{'s' if count != 1 else ''} put back.")
