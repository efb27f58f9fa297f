"""Mistakes that people report: as findings, and what they cost, seen beside production before anyone signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blocks.backups.base import BackupStore
from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from model.assets import FilesAsset, PostgresAsset
from model.finding import CheckResult, Code, Degree, Finding, Verdict
from model.mistake import Mistake
from model.plan import Plan
from model.supplies import MistakeSupply, Supplies
from tasks import file_mistakes
from tasks.restore_rows import reaching, see
from tasks.work import PlanFile


def as_reported(plan: Plan, mistakes: Sequence[Mistake]) -> tuple[CheckResult, ...]:
    """A result with a finding for each mistake: a person is the check."""
    results = []
    for mistake in mistakes:
        host = plan.assets[mistake.asset].host
        finding = Finding(
            code=Code.OPERATOR_MISTAKE, host=host, asset=mistake.asset, subject=mistake.when, degree=Degree.SERIOUS,
            expected="as just before", actual="deleted or changed, says the report",
        )  # fmt: skip
        results.append(
            CheckResult(
                check="report", host=host, asset=mistake.asset, verdict=Verdict.FAILED, examined=1, findings=(finding,),
                sentence=f"A mistake in {mistake.asset} was reported: all was well until just before {mistake.when}.",
            )
        )  # fmt: skip
    return tuple(results)


def look_beside(
    file: PlanFile,
    connections: Mapping[str, Connection],
    stores: Mapping[str, BackupStore],
    supplies: Supplies,
    mistakes: Sequence[Mistake],
) -> Supplies:
    """The supplies, with what each mistake cost.

    Raises:
        Transient: a connection was lost.
    """
    found = []
    for mistake in mistakes:
        asset = file.plan.assets[mistake.asset]
        if isinstance(asset, FilesAsset):
            found.append(
                file_mistakes.see(connections[asset.host], mistake.asset, asset, supplies.points, mistake)
            )
            continue
        store = stores[asset.backup] if isinstance(asset, PostgresAsset) else None
        if not isinstance(asset, PostgresAsset) or not isinstance(store, PgBackRestStore):
            why = "its backups are dumps, which hold no moment between them"
            found.append(MistakeSupply(asset=mistake.asset, mistake=mistake, why=why))
            continue
        connection = connections[asset.host]
        points = reaching(supplies.points, mistake, connection.host.recorded_as)
        found.append(see(connection, asset, file.secrets, store, points, mistake))
    return supplies.model_copy(update={"mistakes": tuple(found)})
