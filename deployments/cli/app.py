"""The command tree. Each group lives in its own module; heavy imports happen inside the commands."""

from __future__ import annotations

import typer

from deployments.cli import (
    actions,
    backups,
    baseline,
    drilling,
    drills,
    incidents,
    messages,
    packages,
    people,
    plans,
    prevention,
    recovery,
    servers,
)

app = typer.Typer(
    name="reinstate",
    help="Brings damaged software back: find the damage, sign the repair, watch it, prove the result.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.add_typer(plans.app, name="plan", help="Check, show and describe plan files.")
app.add_typer(incidents.journal, name="journal", help="The journal of an incident.")
app.add_typer(
    packages.app, name="packages", help="Package stores: sign and stock what repairs are made from."
)
app.add_typer(
    backups.app, name="backups", help="Recovery points: which there are, which is used, which are missed."
)
app.add_typer(
    actions.app, name="actions", help="What is to be put right after incidents, tracked until it is closed."
)
app.add_typer(messages.app, name="messages", help="Messages whose text waits for approval.")
app.add_typer(people.app, name="people", help="Who is in a plan, and by what they prove that it is them.")
app.command()(servers.up)
app.command()(servers.gateway)
app.command()(servers.demo)
app.command("back-up")(recovery.back_up)
app.command()(baseline.baseline)
app.command()(recovery.scan)
app.command()(prevention.updates)
app.command("verify-backups")(prevention.verify_backups)
app.command()(drills.drills)
app.command()(recovery.propose)
app.command()(recovery.recover)
app.command()(drilling.drill)
app.command()(recovery.approve)
app.command()(recovery.withdraw)
app.command("incidents")(incidents.list_incidents)
app.command()(incidents.report)
app.command()(actions.review)
app.command("status-page")(incidents.status_page)


def main() -> None:
    """Run the command line."""
    app()
