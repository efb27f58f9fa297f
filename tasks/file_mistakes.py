"""What a mistake did to a file set: the backup of before against what is there, by the times of the last changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blocks.hosts.base import Connection
from checks import files
from checks.compare import moment
from checks.fact import Fact
from model.assets import FilesAsset
from model.finding import Code
from model.manifest import Entry, FileType, absolute
from model.mistake import FileDifference, Mistake
from model.supplies import MistakeSupply, PointSupply
from tasks.render import size


def see(
    connection: Connection, name: str, asset: FilesAsset, points: Sequence[PointSupply], mistake: Mistake
) -> MistakeSupply:
    """Compare the best recovery point of before the mistake with what is there now.

    The time of the last change (ctime) says who changed a path: before the mistake, by it, or since. Unlike the time of
    the last modification, programs cannot set it back. Only where something touched a file since (a change of owner, a
    recovery that was rolled back) the time of its content counts.

    Args:
        connection: the host.
        name: of the asset.
        asset: the file set.
        points: its recovery points, best first.
        mistake: as reported.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's tools are missing or damaged.
    """
    before = mistake.at
    supply = next(
        (
            point
            for point in points
            if point.asset == name
            and before is not None
            and point.point.taken_at <= before
            and point.manifest.machine_id == connection.host.recorded_as
        ),
        None,
    )
    if supply is None:
        return MistakeSupply(
            asset=name, mistake=mistake, why=f"no recovery point of before {mistake.when} may be used"
        )
    data = files.collect(connection, asset, supply.manifest)
    findings = files.judge(name, asset, data, supply.manifest).findings
    entries = {absolute(asset.path, entry.path): entry for entry in supply.manifest.entries}
    wanted = [absolute(asset.path, path) for path in mistake.paths]
    differ = sorted({finding.subject for finding in findings if _within(finding.subject, wanted)})
    gone = {finding.subject for finding in findings if finding.code is Code.FILE_MISSING}
    return MistakeSupply(
        asset=name, mistake=mistake, point=supply.point,
        files=tuple(_difference(path, entries, data.facts, mistake, gone) for path in differ),
    )  # fmt: skip


def _within(path: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(path == one or path.startswith(f"{one}/") for one in wanted)


def _difference(
    path: str, entries: Mapping[str, Entry], facts: Mapping[str, Fact], mistake: Mistake, gone: set[str]
) -> FileDifference:
    entry, fact = entries[path], facts[path]
    then = f"{_kind(entry.type, entry.size)} of {moment(entry.mtime_ns)}"
    if path in gone:
        return FileDifference(path=path, then=then, now="gone")
    begin, end = (round(m.timestamp() * 1e9) if m else None for m in (mistake.at, mistake.until))
    changed, kept = fact.ctime_ns or fact.mtime_ns, ""
    if begin is not None and changed < begin:
        kept = f"changed {moment(changed)}, before the mistake"
    elif begin is not None and end is not None and changed > end and not begin <= fact.mtime_ns <= end:
        kept = f"changed {moment(changed)}, after the mistake"
    now = f"{_kind(fact.type, fact.size)} of {moment(fact.mtime_ns)}"
    return FileDifference(path=path, then=then, now=now, kept=kept)


def _kind(kind: FileType, count: int) -> str:
    return size(count) if kind is FileType.FILE else f"a {kind.value}"
