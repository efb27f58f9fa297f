"""`reinstate actions …` and `reinstate review`: what is left to do after an incident, and what its leaders say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from deployments.cli.incidents import IncidentId
from deployments.cli.output import CODE, JSON, KEY, emit, out, quiet_prefect, reported, show_table
from model.canonical import now
from model.command import printable
from model.errors import BadInput
from model.review import Judgement

if TYPE_CHECKING:
    from model.review import Item


class ListByDefault(TyperGroup):
    """`reinstate actions` is `reinstate actions list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer hides its class
        """Put the command in front of nothing, or of options other than --help."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=ListByDefault)

ItemId = Annotated[str, typer.Argument(help="Id of an item (`reinstate actions`).", show_default=False)]
By = Annotated[str, typer.Option("--by", help="Your id in the plan; kept with it.")]


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is no date.", "--due", "give it as YYYY-MM-DD") from None


def _plain(item: Item) -> dict[str, object]:
    return {**item.model_dump(mode="json"), "overdue": item.overdue(now().date())}


def _show(items: Sequence[Item]) -> None:
    today = now().date()
    rows = [
        (
            item.id,
            "OVERDUE" if item.overdue(today) else item.state,
            item.due,
            item.owner,
            item.text + (f" – {item.note}" if item.note else ""),
        )
        for item in items
    ]
    show_table(f"{len(items)} items", ("item", "state", "due", "owner", "what"), rows)


@app.command("list")
@reported
def list_items(as_json: JSON = False) -> None:
    """List the rectification items of all incidents: open ones first, those past their date marked.

    `reinstate actions` alone is the same.
    """
    quiet_prefect()
    from blocks.home import open_store
    from tasks.reviewing import all_items

    items = all_items(open_store())
    emit(
        [_plain(item) for item in items],
        as_json,
        lambda: _show(items) if items else out("There is no rectification item."),
    )


@app.command()
@reported
def add(
    incident: IncidentId,
    text: Annotated[str, typer.Argument(help="What shall be put right.", show_default=False)],
    by: By = "",
    as_json: JSON = False,
) -> None:
    """Add a rectification item to an incident."""
    quiet_prefect()
    from tasks.reviewing import add_item
    from tasks.work import open_work

    item = add_item(open_work(incident), text, by)
    emit(_plain(item), as_json, lambda: out(f"{item.id}: {item.owner} has it, due {item.due}."))


@app.command()
@reported
def assign(
    item: ItemId,
    owner: Annotated[str, typer.Option(help="Who sees to it, by id in the plan.")] = "",
    due: Annotated[str, typer.Option(help="The last day it may be open, as YYYY-MM-DD.")] = "",
    by: By = "",
    as_json: JSON = False,
) -> None:
    """Give an open item an owner, a due date, or both."""
    quiet_prefect()
    from tasks.reviewing import assign_item

    found = assign_item(item, owner or None, _day(due), by)
    emit(_plain(found), as_json, lambda: out(f"{found.id}: {found.owner} has it, due {found.due}."))


@app.command()
@reported
def close(
    item: ItemId,
    by: Annotated[str, typer.Option("--by", help="Your id in the plan.", show_default=False)],
    note: Annotated[str, typer.Option(help="What was done; kept for ever.", show_default=False)],
    as_json: JSON = False,
) -> None:
    """Close an item that is done."""
    quiet_prefect()
    from tasks.reviewing import close_item

    found = close_item(item, by, note)
    emit(_plain(found), as_json, lambda: out(f"{found.id}: closed by {by}."))


@reported
def review(
    incident: IncidentId,
    person: Annotated[str, typer.Option("--person", help="Your id in the plan.", show_default=False)],
    opinion: Annotated[
        str, typer.Option(help="What you say of the report; kept for ever.", show_default=False)
    ],
    decision: Annotated[
        Judgement, typer.Option(help="approve, or more when it leaves questions.")
    ] = Judgement.APPROVE,
    key: KEY = None,
    code: CODE = "",
    as_json: JSON = False,
) -> None:
    """Give your opinion of an incident's report as a member of the leading group, by SSH signature or one-time code."""
    quiet_prefect()
    from deployments.signing import sign_opinion
    from tasks.reviewing import report_digest
    from tasks.work import open_work

    work = open_work(incident)
    digest = report_digest(work)
    if key is None and not code:
        code = typer.prompt("One-time code", err=True, hide_input=True)
    said = sign_opinion(work, person, decision, opinion, report=digest, key=key, code=code)
    emit(
        said,
        as_json,
        lambda: out(
            f"{said.person} said {said.decision} of the report {digest[:12]}: {printable(said.text)}"
        ),
    )
