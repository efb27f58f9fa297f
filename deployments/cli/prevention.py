"""`reinstate updates`, `verify-backups` and `readiness`, and the history that `reinstate scan --history` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import (
    JSON,
    TROUBLED_EXIT,
    PlanRef,
    emit,
    out,
    quiet_prefect,
    reported,
    say,
    show_table,
)
from model.command import printable
from model.errors import BadInput
from model.finding import CheckResult

if TYPE_CHECKING:
    from blocks.journals.base import JournalStore
    from model.readiness import PlanReadiness, ReadinessHistory
    from tasks.work import PlanFile

RUNS_SHOWN = 10


@reported
def updates(
    plan: PlanRef,
    host: Annotated[list[str] | None, typer.Option(help="Only this host; may be repeated.")] = None,
    refresh: Annotated[
        bool | None,
        typer.Option(
            "--refresh/--no-refresh", help="Fetch the package lists, into our own folder on the host."
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Show pending updates of a plan's hosts and which of them mend vulnerabilities; changes nothing."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.scanning import updates_of, updates_rows
    from tasks.work import load_plan

    file = load_plan(plan, open_store())
    unknown = sorted(set(host or ()) - set(file.plan.hosts))
    if unknown:
        raise BadInput(
            f"the plan has no host {unknown[0]!r}.", "--host", f"give one of {', '.join(file.plan.hosts)}"
        )
    reports = updates_of(file, host or list(file.plan.hosts), refresh)

    def text() -> None:
        columns = ("package", "host", "installed", "candidate", "security", "vulnerabilities", "held back")
        rows = [row for row in updates_rows(reports) if row["package"]]
        if rows:
            show_table("Pending updates", columns, [[row[column] for column in columns] for row in rows])
        for report in reports:
            out(f"{report.asset} on {report.host}: {report.sentence}")
            for note in report.notes:
                out(f"  Not known: {note}.")
        if not reports:
            out("No asset of these hosts has versions.")

    emit(reports, as_json, text)


@reported
def verify_backups(
    plan: PlanRef,
    asset: Annotated[list[str] | None, typer.Option(help="Only this asset; may be repeated.")] = None,
    point: Annotated[str, typer.Option(help="This recovery point of the asset.")] = "",
    history: Annotated[
        bool, typer.Option("--history", help="Show when each asset was last proven, and restore nothing.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Restore recovery points into a sandbox, check them there, and remove them again; nothing live is touched.

    Exit code 2 when one is not whole, missing or overdue.
    """
    quiet_prefect()
    from blocks.home import open_store
    from flows.verify_backups import try_points
    from tasks.verifying import proven_rows, trial_rows, trials_of
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)

    def show_proven() -> None:
        rows = proven_rows(file.plan, trials_of(store, file.plan.name))
        if rows:
            show_table("Backups proven", tuple(rows[0]), [tuple(row.values()) for row in rows])
        else:
            out("No asset of this plan is backed up.")

    if history:
        emit(trials_of(store, file.plan.name), as_json, show_proven)
        return
    seen = asyncio.run(try_points(plan, list(asset or ()), point))

    def text() -> None:
        rows = trial_rows(seen.trials)
        if rows:
            show_table("Restored into the sandbox", tuple(rows[0]), [tuple(row.values()) for row in rows])
        show_proven()
        for said in (seen.sentence, *seen.wrong):
            out(said)

    emit(seen, as_json, text)
    if seen.wrong:
        raise typer.Exit(TROUBLED_EXIT)


@reported
def readiness(
    plan: PlanRef,
    history: Annotated[
        bool, typer.Option("--history", help="Show what earlier looks found, and ask nobody.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Look whether a recovery could be done now: hosts, rights, tools, room, packages, recovery points, people, plan.

    Changes nothing. Exit code 2 when something is blocked.
    """
    quiet_prefect()
    from blocks.home import open_store
    from flows.readiness import look_now
    from model.readiness import Qualification
    from tasks.readiness_page import as_data, history_of
    from tasks.work import load_plan

    store = open_store()
    if history:
        known = history_of(store, load_plan(plan, store).plan.name)
        emit(known, as_json, lambda: _looks(known))
        return
    seen, looked = asyncio.run(look_now(plan))

    def text() -> None:
        _ready(seen)
        for change in looked.changes:
            out(printable(f"Changed: {change.sentence}"))

    emit(as_data(seen), as_json, text)
    if looked.state is Qualification.BLOCKED:
        raise typer.Exit(TROUBLED_EXIT)


def _ready(seen: PlanReadiness) -> None:
    """A look, for people."""
    columns = ("asset", "state", "host", "proven until", "gaps")
    rows = [
        (row.name, row.state, row.host, f"{row.proven_until:%Y-%m-%d %H:%M} UTC", len(row.gaps))
        for row in seen.rows
    ]
    show_table(f"Readiness of {seen.plan}", columns, rows)
    for row in seen.rows:
        for gap in row.gaps:
            out(printable(f"{row.name}: {'' if gap.blocks else '(degrades) '}{gap.sentence}"))
    out(seen.sentence)


def _looks(known: ReadinessHistory) -> None:
    """Earlier looks, for people."""
    if known.latest is None:
        out("This plan was never looked at.")
        return
    _ready(known.latest)
    runs = [
        (f"{run.at:%Y-%m-%d %H:%M} UTC", run.state, run.qualified, run.degraded, run.blocked,
         "; ".join(change.sentence for change in run.changes))
        for run in reversed(known.runs[-RUNS_SHOWN:])
    ]  # fmt: skip
    show_table("Newest looks", ("at", "state", "qualified", "degraded", "blocked", "changes"), runs)


def say_ready(plan: str) -> None:
    """The newest look that is kept, in a few lines: nobody is asked in the middle of an incident."""
    from blocks.home import open_store
    from model.canonical import now
    from tasks.readiness_page import history_of, in_short

    for line in in_short(history_of(open_store(), plan), plan, now()):
        say(line)


def show_history(file: PlanFile, store: JournalStore, as_json: bool) -> None:
    """What earlier scans found."""
    from tasks.scanning import history_of, history_rows

    history = history_of(store, file.plan.name)

    def text() -> None:
        if not history.runs:
            out("This plan was never scanned.")
            return
        columns = ("asset", "host", "verdict", "findings", "last scanned", "last whole")
        rows = history_rows(history)
        show_table("By asset", columns, [[row[column] for column in columns] for row in rows])
        runs = [
            (
                f"{run.at:%Y-%m-%d %H:%M} UTC",
                ", ".join(run.hosts),
                run.findings,
                run.new,
                run.errors,
                run.incident,
            )
            for run in reversed(history.runs[-RUNS_SHOWN:])
        ]
        show_table("Newest scans", ("at", "hosts", "findings", "new", "not looked at", "incident"), runs)

    emit(history, as_json, text)


def remember_scan(
    file: PlanFile, store: JournalStore, results: Sequence[CheckResult], seconds: float
) -> None:
    """Put a scan by hand into the history."""
    from model.canonical import now
    from model.scanning import remember
    from tasks.scanning import history_of, save_history

    history = history_of(store, file.plan.name)
    hosts = sorted({result.host for result in results} & set(file.plan.hosts))
    save_history(store, file.plan.name, remember(history, now(), hosts, results, seconds=seconds))
