"""The baseline of RPM packages: which there are, and what a person may accept as different from rpm's records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.hosts.base import Connection
from checks import rpm_database
from checks.baseline import ACCEPTABLE, Candidate
from checks.rpm_packages import MARK, collect, edited, judge, named
from model.accepted import Accepted
from model.assets import RpmAsset
from model.errors import PreconditionFailed
from model.finding import Code
from model.manifest import Entry, FileType


def record(connection: Connection, asset: RpmAsset) -> tuple[Entry, ...]:
    """Which packages there are, to be kept off the host: a database that lost some cannot say so itself.

    Modes, owners and contents need no baseline, rpm has them. Entries `rpm:NAME-VERSION.ARCH` hold the SHA-256 of the
    package's record.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the database is damaged: damage is never the measure.
    """
    database = rpm_database.read(connection)
    if database.damaged:
        raise PreconditionFailed(
            f"the rpm database is damaged ({database.damaged}): what it says now is not recorded.",
            f"{connection.name}:{database.path}",
            "recover this asset first",
        )
    return tuple(
        Entry(path=f"{MARK}{package.id}", type=FileType.OTHER, sha256=package.header)
        for package in (*database.packages, *database.keys)
        if package.name == "gpg-pubkey" or named(package, asset)
    )


def candidates(
    connection: Connection,
    name: str,
    asset: RpmAsset,
    baseline: Sequence[Entry],
    accepted: Sequence[Accepted],
) -> Iterator[Candidate]:
    """Every path that differs from rpm's records today and is not accepted as it is, edited configuration included.

    Raises:
        Transient: the connection was lost. PreconditionFailed: see `checks.rpm_packages.collect`.
    """
    data = collect(connection, asset, accepted)
    by_path: dict[str, list[Code]] = {}
    for finding in judge(name, asset, data, baseline, accepted).findings:
        if finding.code in ACCEPTABLE and finding.subject in data.facts:
            by_path.setdefault(finding.subject, []).append(finding.code)
    agreed = {one.entry.path: one.entry for one in accepted}
    for path in edited(data):
        if path not in by_path and (path not in agreed or agreed[path].sha256 != data.facts[path].sha256):
            by_path[path] = []
    for path, codes in sorted(by_path.items()):
        fact, records = data.facts[path], data.owned.get(path, ())
        absent = fact.type is FileType.ABSENT
        entry = Entry(path=path, type=FileType.ABSENT) if absent else fact.entry()
        said = ", ".join(codes) or "edited configuration file"
        yield Candidate(entry, tuple(codes), records[-1][0].name if records else "", f"{path}: {said}")
