"""What a person may accept in a Python environment: strays, and modes and owners that are meant to be so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.hosts.base import Connection
from checks.baseline import Candidate
from checks.pip_environment import collect, judge
from checks.pip_facts import Seen
from model.accepted import Accepted
from model.assets import PipAsset
from model.finding import Code, Finding
from model.manifest import Entry, FileType

ACCEPTABLE = frozenset({Code.FILE_FOREIGN, Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS})
"""Content that differs from its RECORD is never meant: the environment would be built anew with it."""


def pip_candidates(
    connection: Connection, name: str, asset: PipAsset, agreed: Sequence[Accepted]
) -> Iterator[Candidate]:
    """Paths that differ and may be accepted; of a folder that belongs to nobody every file is one.

    Raises:
        Transient: the connection was lost. PreconditionFailed: no Python of the host runs.
    """
    data = collect(connection, asset)
    result = judge(name, asset, data, accepted=[one.entry for one in agreed])
    seen = {file.seen.path: file.seen for d in data.distributions for file in d.files}
    seen |= {folder.path: folder for folder in data.folders} | {s.seen.path: s.seen for s in data.strays}
    wrong: dict[str, list[Finding]] = {}
    for finding in result.findings:
        if finding.code in ACCEPTABLE:
            for path in _inside(finding, seen):
                wrong.setdefault(path, []).append(finding)
    for path, findings in wrong.items():
        codes = tuple(dict.fromkeys(finding.code for finding in findings))
        yield Candidate(_entry(seen[path]), codes, findings[0].package, findings[0].sentence)


def _inside(finding: Finding, seen: dict[str, Seen]) -> list[str]:
    whole = (
        finding.code is Code.FILE_FOREIGN
        and seen.get(finding.subject, Seen("", "directory")).type == "directory"
    )
    below = [p for p, one in seen.items() if p.startswith(f"{finding.subject}/") and one.type != "directory"]
    return below if whole else [finding.subject]


def _entry(one: Seen) -> Entry:
    return Entry(
        path=one.path, type=FileType(one.type), mode=one.mode, uid=one.uid, gid=one.gid,
        size=one.size, sha256=one.actual if one.type == "file" else "", link=one.link,
    )  # fmt: skip
