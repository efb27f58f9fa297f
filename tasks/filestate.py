"""What paths of a host are now, as manifest entries, and whether two of them are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blocks.hosts.base import Connection
from checks.hard_links import firsts
from checks.stat import Digests, collect
from model.command import printable
from model.errors import PreconditionFailed
from model.manifest import Entry, FileType


def entries(connection: Connection, paths: Iterable[str], digests: Digests = "sha256") -> dict[str, Entry]:
    """Facts of every path, with SHA-256, or with XXH3, too.

    Raises:
        Transient: the connection was lost.
        PreconditionFailed: a file cannot be read, so it cannot be preserved.
    """
    # A list: a mapping would mean which hashes are wanted.
    found = collect(connection, list(paths), digests, more=True)
    for fact in found.values():
        if fact.error:
            raise PreconditionFailed(
                f"{printable(fact.path)} cannot be read: {fact.error}.",
                connection.name,
                "look at the kernel log: if the disk fails, copy the disk before anything else",
            )
    same = firsts(found.values())
    return {
        path: fact.entry().model_copy(update={"same_as": same[path]}) if path in same else fact.entry()
        for path, fact in found.items()
    }


def same_attributes(wanted: Entry, live: Entry) -> bool:
    """Whether extended attributes are as they should be, as far as it is known of both."""
    return None in (wanted.attributes, live.attributes) or wanted.attributes == live.attributes


def nul_list(paths: Iterable[str]) -> bytes:
    """Paths as tools with `-0` or `--null` take them on standard input."""
    return b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)


def difference(was: Entry, is_now: Entry) -> str:
    """What differs, in words; empty when the two are the same.

    Times of directories change by use and do not count; attributes count where it is known what they were.
    """
    if was.type is not is_now.type:
        return f"is {is_now.type}, was {was.type}"
    pairs: Mapping[str, tuple[object, object]] = {
        "content": ((was.sha256, was.size), (is_now.sha256, is_now.size)),
        "link": (was.link, is_now.link),
        "mode": (was.mode, is_now.mode),
        "owner": ((was.uid, was.gid), (is_now.uid, is_now.gid)),
        "capabilities": (was.capabilities, is_now.capabilities),
        "attributes": (True, same_attributes(was, is_now)),
        "time": (was.mtime_ns, is_now.mtime_ns),
    }
    counted = [name for name in pairs if not (name == "time" and was.type is FileType.DIRECTORY)]
    return ", ".join(name for name in counted if pairs[name][0] != pairs[name][1])
