"""`reinstate incidents`, `reinstate report`, `reinstate status-page`, `reinstate journal verify`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import JSON, PlanRef, emit, out, quiet_prefect, reported, show_table
from model.errors import BadInput, Damaged

if TYPE_CHECKING:
    from tasks.report_values import Report

journal = typer.Typer(no_args_is_help=True)

IncidentId = Annotated[
    str, typer.Argument(help="Id of an incident (`reinstate incidents`).", show_default=False)
]


class Format(StrEnum):
    """Formats of a report."""

    MD = "md"
    HTML = "html"
    JSON = "json"
    PDF = "pdf"


@reported
def list_incidents(as_json: JSON = False) -> None:
    """List all incidents with their verdict or next step."""
    from blocks.home import open_store
    from model.journal import fold
    from model.steps import next_step

    store = open_store()
    rows = []
    for incident in store.incidents():
        try:
            state = fold(store.read(incident))
            opened = state.require_incident()
        except Damaged as error:  # the others are needed now more than ever
            unknown = dict.fromkeys(("kind", "plan", "summary", "opened_at", "verdict"), "")
            rows.append({"incident": incident, **unknown, "next": f"The journal is damaged: {error}"})
            continue
        step = next_step(state)
        rows.append(
            {
                "incident": incident, "kind": str(opened.kind), "plan": opened.plan, "summary": opened.summary,
                "opened_at": opened.opened_at.isoformat(), "verdict": str(state.ended.verdict) if state.ended else "",
                "next": step.reason,
            }
        )  # fmt: skip

    def text() -> None:
        if not rows:
            out("No incident was ever opened here.")
            return
        columns = ("incident", "kind", "plan", "summary", "verdict", "next")
        show_table(
            f"{len(rows)} incident{'s' if len(rows) != 1 else ''}",
            columns,
            [[row[c] for c in columns] for row in rows],
        )

    emit(rows, as_json, text)


@reported
def report(
    incident: IncidentId,
    form: Annotated[Format, typer.Option("--format", help="md, html, json or pdf.")] = Format.MD,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write it to; default: standard output.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Print the report of an incident, ended or not, built from its journal now."""
    from tasks.report import build_report
    from tasks.report_pages import report_html, report_markdown
    from tasks.work import open_work

    built = build_report(open_work(incident))
    if output is None and form is not Format.PDF:
        if as_json or form is Format.JSON:
            emit(built, True, lambda: None)
        else:
            out(report_html(built) if form is Format.HTML else report_markdown(built))
        return
    if output is None and sys.stdout.isatty():
        raise BadInput("a PDF is nothing for a terminal.", "--format pdf", "give `--output report.pdf`")
    data = _file(built, form)
    if output is None:
        sys.stdout.buffer.write(data)
        return
    from blocks.durable import explained

    with explained(output):
        output.write_bytes(data)
    emit({"file": str(output)}, as_json, lambda: out(str(output)))


def _file(built: Report, form: Format) -> bytes:
    from tasks.report_pages import report_html, report_markdown

    if form is Format.PDF:
        from tasks.report_pdf import report_pdf

        return report_pdf(built)
    if form is Format.JSON:
        return (built.model_dump_json(indent=1) + "\n").encode()
    return (report_html(built) if form is Format.HTML else report_markdown(built)).encode()


@journal.command()
@reported
def verify(
    incident: IncidentId,
    key: Annotated[
        Path | None,
        typer.Option(help="Public key kept elsewhere (file or folder); default: the installation's."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Check an incident's journal offline: every record, its signature, the chain and its end."""
    from blocks.home import home, open_store
    from blocks.journals.verify import verify_incident

    store = open_store()
    if incident not in {*store.incidents(), *store.publications(), *store.drills()}:
        raise BadInput(
            "there is no such incident.", where=incident, remedy="`reinstate incidents` lists them"
        )
    problems = verify_incident(home(), incident, key)
    if problems:
        raise Damaged(
            f"the journal has {len(problems)} problem{'s' if len(problems) != 1 else ''}: "
            + "; ".join(problems),
            where=incident,
            remedy="keep it as it is, compare with its backup, and treat the incident's record as altered",
        )
    emit({"incident": incident, "problems": []}, as_json, lambda: out(f"{incident}: the journal is intact."))


@reported
def status_page(plan: PlanRef, as_json: JSON = False) -> None:
    """Write the status page of a plan now; `up` and every recovery write it at each change."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.status_page import page_folder, write_status_page
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)
    folder, written = page_folder(file), write_status_page(file, store) is not None
    said = "" if written else " It said so already."
    emit({"folder": str(folder), "written": written}, as_json, lambda: out(f"{folder / 'index.html'}{said}"))
