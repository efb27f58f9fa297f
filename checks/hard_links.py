"""Hard links among the files of a set: which paths are one file, and which should be and are not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from checks.fact import Fact
from model.finding import Code
from model.manifest import Entry, FileType


def firsts(facts: Iterable[Fact]) -> dict[str, str]:
    """For each path that is another name of a file, the first of that file's names; sorted by path, firsts left out."""
    first: dict[tuple[int, int], str] = {}
    found: dict[str, str] = {}
    for fact in sorted(facts, key=lambda fact: fact.path):
        if fact.type is FileType.FILE and fact.names > 1 and fact.file is not None:
            name = first.setdefault(fact.file, fact.path)
            if name != fact.path:
                found[fact.path] = name
    return found


def differences(
    expected: Mapping[str, Entry], facts: Mapping[str, Fact]
) -> Iterator[tuple[str, tuple[Code, str, str]]]:
    """Paths that are not the one file they should be, or one file that should be several.

    Args:
        expected: by path; `same_as` is a path of this mapping, too.
        facts: of these paths; where they do not know which file a path is, nothing is said.
    """
    shared: dict[tuple[int, int], list[str]] = {}
    for path, entry in sorted(expected.items()):
        fact = facts[path]
        if entry.type is not FileType.FILE or fact.type is not FileType.FILE or entry.attributes is None:
            continue
        first = facts.get(entry.same_as) if entry.same_as else None
        if entry.same_as and entry.same_as not in expected:
            continue
        if fact.file is None or (first is not None and first.file is None):
            continue
        if entry.same_as:
            if first is None or first.file != fact.file:
                wanted = f"the same file as {entry.same_as}"
                yield path, (Code.FILE_HARD_LINK_BROKEN, wanted, "a file of its own")
        elif fact.names > 1:
            shared.setdefault(fact.file, []).append(path)
    for paths in shared.values():
        for path in paths if len(paths) > 1 else ():
            other = paths[0] if path != paths[0] else paths[1]
            yield path, (Code.FILE_HARD_LINK_BROKEN, "a file of its own", f"the same file as {other}")
