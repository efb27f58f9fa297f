"""What paths of a host are now, as manifest entries, and whether two of them are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from blocks.hosts.base import Connection
from checks.stat import collect
from model.command import printable
from model.errors import PreconditionFailed, Unsupported
from model.manifest import Entry, FileType


def entries(connection: Connection, paths: Iterable[str]) -> dict[str, Entry]:
    """Facts of every path, with SHA-256.

    Raises:
        Transient: the connection was lost.
        PreconditionFailed: a file cannot be read, so it cannot be preserved.
        Unsupported: a name or link target is not UTF-8.
    """
    found = collect(connection, paths)
    for fact in found.values():
        if fact.error:
            raise PreconditionFailed(
                f"{printable(fact.path)} cannot be read: {fact.error}.",
                connection.name,
                "look at the kernel log: if the disk fails, copy the disk before anything else",
            )
    try:
        return {path: fact.entry() for path, fact in found.items()}
    except ValidationError as error:
        raise Unsupported(
            f"a file name or link target is not UTF-8: {printable(str(error.errors()[0]['input'])[:200])}.",
            connection.name,
            "rename it on the host, or leave it out with `exclude` or `ignore`",
        ) from error


def difference(was: Entry, is_now: Entry) -> str:
    """What differs, in words; empty when the two are the same. Times of directories change by use and do not count."""
    if was.type is not is_now.type:
        return f"is {is_now.type}, was {was.type}"
    pairs: Mapping[str, tuple[object, object]] = {
        "content": ((was.sha256, was.size), (is_now.sha256, is_now.size)),
        "link": (was.link, is_now.link),
        "mode": (was.mode, is_now.mode),
        "owner": ((was.uid, was.gid), (is_now.uid, is_now.gid)),
        "time": (was.mtime_ns, is_now.mtime_ns),
    }
    counted = [name for name in pairs if not (name == "time" and was.type is FileType.DIRECTORY)]
    return ", ".join(name for name in counted if pairs[name][0] != pairs[name][1])
