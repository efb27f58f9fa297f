"""`reinstate backups …`: the recovery points there are, which one a recovery would use, and why no other."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deployments.cli.output import (
    JSON,
    TROUBLED_EXIT,
    PlanRef,
    emit,
    out,
    quiet_prefect,
    reported,
    show_table,
)
from model.errors import BadInput


class ShowByDefault(TyperGroup):
    """`reinstate backups PLAN` is `reinstate backups show PLAN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer hides its class
        """Put the command in front of a plan."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(no_args_is_help=True, cls=ShowByDefault)

Asset = Annotated[str, typer.Argument(help="An asset of the plan with a backup.", show_default=False)]
Point = Annotated[str, typer.Argument(help="Id of a recovery point.", show_default=False)]


@app.command()
@reported
def show(
    plan: PlanRef,
    asset: Annotated[list[str] | None, typer.Option(help="Only this asset; may be repeated.")] = None,
    as_json: JSON = False,
) -> None:
    """Show the recovery points of every asset: verdict, reason, and which one a recovery would use now.

    Exit code 2 when one is missing or was altered, or an asset is overdue.
    """
    quiet_prefect()
    from blocks.home import open_store
    from tasks.recovery_points import backed_up, survey
    from tasks.render import size
    from tasks.render_points import as_data, rows, told
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)
    known = backed_up(file.plan)
    if unknown := sorted(set(asset or ()) - set(known)):
        raise BadInput(
            f"{unknown[0]!r} is no asset with a backup.", "--asset", f"give one of {', '.join(known)}"
        )
    found = survey(file, store, only=set(asset) if asset else None)
    troubles = told(found)

    def text() -> None:
        columns = ("point", "taken", "source", "size", "files or rows", "verdict", "chosen", "why")
        for about in found:
            lines = [{**row, "size": size(row["bytes"])} for row in rows([about])]
            title = f"{about.asset} ({about.kind}) on {about.host}"
            show_table(title, columns, [[line[column] for column in columns] for line in lines])
            if about.protection:
                out(f"{about.chosen} is {about.protection} in {about.source}.")
        for said in troubles:
            out(said)
        if not found:
            out("No asset of this plan is backed up.")

    emit(as_data(found), as_json, text)
    if troubles:
        raise typer.Exit(TROUBLED_EXIT)


@app.command()
@reported
def adopt(
    plan: PlanRef,
    asset: Asset,
    snapshot: Annotated[
        str, typer.Argument(help="The tool's id of it; default: the newest that is no recovery point yet.")
    ] = "",
    as_json: JSON = False,
) -> None:
    """Take over a snapshot that your own restic, borg or rsync made: it is read and hashed once, then a recovery point.

    It must be of the asset's own host and hold the asset's path.
    """
    quiet_prefect()
    from blocks.home import open_store
    from tasks.backing_up import adopt_snapshot
    from tasks.point_words import source_of
    from tasks.work import load_plan

    file = load_plan(plan, open_store())
    source_of(file.plan, asset)
    sentence = adopt_snapshot.fn(str(file.path), asset, file.plan.assets[asset].host, snapshot)
    emit({"adopted": sentence}, as_json, lambda: out(sentence))


@app.command()
@reported
def trust(
    plan: PlanRef,
    asset: Asset,
    point: Point,
    by: Annotated[str, typer.Option("--by", help="Your id in the plan.", show_default=False)],
    reason: Annotated[str, typer.Option(help="How you know it; kept.", show_default=False)],
    as_json: JSON = False,
) -> None:
    """Say that a doubtful or shrunk recovery point is as it should be; checks then compare with it."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.point_words import trust as say_so
    from tasks.work import load_plan

    store = open_store()
    sentence = say_so(load_plan(plan, store), store, asset, point, by, reason)
    emit({"trusted": sentence}, as_json, lambda: out(sentence))


@app.command()
@reported
def forget(plan: PlanRef, asset: Asset, point: Point, as_json: JSON = False) -> None:
    """Expect a vanished recovery point no longer, once you know why it is gone. No backup is touched."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.point_words import forget as strike_out
    from tasks.work import load_plan

    store = open_store()
    sentence = strike_out(load_plan(plan, store), store, asset, point)
    emit({"forgotten": sentence}, as_json, lambda: out(sentence))


@app.command()
@reported
def recount(
    plan: PlanRef,
    asset: Asset,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JSON = False,
) -> None:
    """Begin the inventory of an asset anew from the recovery points there are, when it was altered or lost.

    What vanished before is then no longer noticed: look at the list first, and find out who altered it.
    """
    quiet_prefect()
    from blocks.home import open_store
    from tasks.point_words import recount as count_again
    from tasks.work import load_plan

    if not yes and not typer.confirm(
        f"Begin the inventory of {asset} anew? What it missed is forgotten.", err=True
    ):
        raise typer.Exit(1)
    store = open_store()
    sentence = count_again(load_plan(plan, store), store, asset)
    emit({"recounted": sentence}, as_json, lambda: out(sentence))
