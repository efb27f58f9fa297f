"""What is to be done for paths to be as a manifest says, and whether they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from checks.fact import Fact
from model.manifest import Entry, FileType


@dataclass(frozen=True)
class RestoreWork:
    """What is to be done, by path on the host.

    Attributes:
        content: files whose bytes are fetched.
        hard: path → the first name of the same file, which is restored before it or is right.
        links: symbolic links that are not as they should be.
        made: directories that are not there, or something else.
        folders: directories whose mode, owner or attributes are wrong.
        dressed: files whose content is right, for mode, owner, time and attributes.
    """

    content: dict[str, Entry] = field(default_factory=dict)
    hard: dict[str, str] = field(default_factory=dict)
    links: dict[str, Entry] = field(default_factory=dict)
    made: dict[str, Entry] = field(default_factory=dict)
    folders: dict[str, Entry] = field(default_factory=dict)
    dressed: dict[str, Entry] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """Everything that changes."""
        groups = (self.content, self.hard, self.links, self.made, self.folders, self.dressed)
        return [path for group in groups for path in group]


def compare(targets: Mapping[str, Entry], live: Mapping[str, Fact], names: Mapping[str, int]) -> RestoreWork:
    """The work for these paths.

    Args:
        targets: entries by path on the host; `same_as` is a path on the host, too.
        live: what is there, looked at with `more`.
        names: how many names each file has in the manifest, by its first one on the host.
    """
    work = RestoreWork()
    for path in sorted(targets):
        entry, fact = targets[path], live[path]
        if any(str(above) in work.made for above in PurePosixPath(path).parents):
            fact = Fact(path, FileType.ABSENT)  # what is seen there now is seen through what is replaced
        if entry.type is FileType.DIRECTORY:
            if fact.type is not entry.type:
                work.made[path] = entry
            elif not _dressed(entry, fact):
                work.folders[path] = entry
        elif entry.type is FileType.LINK:
            if (fact.type, fact.link, fact.uid, fact.gid) != (entry.type, entry.link, entry.uid, entry.gid):
                work.links[path] = entry
        elif entry.same_as in targets:
            first = live[entry.same_as]
            if entry.same_as in work.content or fact.file is None or fact.file != first.file:
                work.hard[path] = entry.same_as
        elif (fact.type, fact.size, fact.sha256) != (entry.type, entry.size, entry.sha256) or (
            entry.attributes is not None
            and fact.names > names.get(entry.same_as or path, 1)  # a file of its own, under our names alone
        ):
            work.content[path] = entry
        elif not _dressed(entry, fact) or fact.mtime_ns != entry.mtime_ns:
            work.dressed[path] = entry
    return work


def _dressed(entry: Entry, fact: Fact) -> bool:
    return (fact.mode, fact.uid, fact.gid) == (entry.mode, entry.uid, entry.gid) and _attributes(entry, fact)


def _attributes(entry: Entry, fact: Fact) -> bool:
    """Where the host cannot be asked, only an entry without any is taken as satisfied."""
    if entry.attributes is None:
        return True
    wanted = tuple((one.name, one.value) for one in entry.attributes), entry.capabilities
    there = (), ""
    if fact.attributes is not None:
        return wanted == (fact.attributes, fact.capabilities or "")
    return wanted == there


def restored(entry: Entry, fact: Fact, first: Fact | None) -> bool:
    """Whether a path is as restored; contents were hashed in staging and arrived by rename.

    Args:
        entry: what it should be.
        fact: what it is; its content was not read.
        first: the first name of the same file, if it has several.
    """
    same = (fact.type, fact.uid, fact.gid) == (entry.type, entry.uid, entry.gid)
    if entry.type is FileType.LINK:
        return same and fact.link == entry.link
    same = same and fact.mode == entry.mode and (fact.attributes is None or _attributes(entry, fact))
    if entry.type is FileType.FILE:
        same = same and (fact.size, fact.mtime_ns) == (entry.size, entry.mtime_ns)
    return same and (first is None or fact.file == first.file)
