"""Rungs that need no supplies: links that lead astray, and what belongs to nobody. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.manifest import Entry, FileType
from model.outcome import Stage
from model.proposal import RestoreLinks, Rung, SetAside

AT_ONCE = 100
"""Paths of one action: they travel as arguments."""

_LINK = "link to "


def links(draft: Draft, name: str, host: str, wrong: Sequence[Finding]) -> list[Finding]:
    """Put links of alternatives back, each where its group leads; returns what is left to cure."""
    mine = [f for f in wrong if f.code is Code.ALTERNATIVE_BROKEN and f.expected.startswith(_LINK)]
    if mine:
        entries = tuple(
            Entry(path=path, type=FileType.LINK, mode=0o777, link=target)
            for path, target in sorted({f.subject: f.expected.removeprefix(_LINK) for f in mine}.items())
        )
        draft.actions.append(
            RestoreLinks(
                id=UNNUMBERED, host=host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
                reason=f"dpkg's records say where {counted(len(entries), 'link')} of alternatives lead.",
                undo="Each link goes back to what the snapshot recorded.",
                touches=tuple(entry.path for entry in entries), minutes=minutes(0.05, 0),
                findings=tuple(f.id for f in mine), links=entries,
            )
        )  # fmt: skip
    return [finding for finding in wrong if finding not in mine]


def clear_the_way(draft: Draft, name: str, host: str, damaged: Sequence[Finding]) -> None:
    """Move aside what would stop dpkg while packages come back: damaged lists of files, what took a folder's place.

    dpkg dies of a list that is cut, removes whatever else one names, and takes a file in a folder's place for another
    package's.
    """
    lists = {f.subject for f in damaged if f.code is Code.HASH_LIST_DIFFERS and f.subject.endswith(".list")}
    folders = {
        f.subject for f in damaged if f.code is Code.FILE_TYPE_DIFFERS and f.expected == FileType.DIRECTORY
    }
    paths = tuple(sorted(lists | folders))
    if paths:
        draft.actions.append(
            SetAside(
                id=UNNUMBERED, host=host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
                reason=f"{counted(len(paths), 'path')} would stop dpkg: damaged lists, or what took a folder's place. "
                "Their packages, installed again below, make them anew.",
                undo="They are moved back from quarantine.", touches=paths, minutes=minutes(0.05, 0), paths=paths,
            )
        )  # fmt: skip


def nobodys(draft: Draft, name: str, host: str, wrong: Sequence[Finding]) -> list[Finding]:
    """Move what no package delivers into quarantine; returns what is left to cure."""
    mine = [finding for finding in wrong if finding.code is Code.FILE_FOREIGN]
    everything = sorted({finding.subject for finding in mine})
    for start in range(0, len(everything), AT_ONCE):
        paths = tuple(everything[start : start + AT_ONCE])
        draft.actions.append(
            SetAside(
                id=UNNUMBERED, host=host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
                reason=f"{counted(len(paths), 'path')} of no package where only packages put files. What is wanted "
                "there is accepted with `reinstate baseline` instead.",
                undo="Everything is moved back from quarantine.", touches=paths, minutes=minutes(0.05, 0),
                findings=tuple(f.id for f in mine if f.subject in paths), paths=paths,
            )
        )  # fmt: skip
    return [finding for finding in wrong if finding not in mine]
