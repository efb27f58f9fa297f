"""`reinstate people`: who is in the plan, and by what they prove that it is them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deployments.cli.output import JSON, PlanRef, emit, out, quiet_prefect, reported, say, show_table
from model.errors import BadInput

app = typer.Typer(no_args_is_help=True)

PersonId = Annotated[str, typer.Argument(help="Id of the person in the plan.", show_default=False)]


@app.command("list")
@reported
def list_people(plan: PlanRef, as_json: JSON = False) -> None:
    """List the people of a plan: roles, how they sign, and how they are reached."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.proofs import people_of
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)
    rows = people_of(file, store)
    columns = ("person", "name", "roles", "one-time code", "SSH keys", "reached by")
    emit(
        rows,
        as_json,
        lambda: show_table(f"People of {file.plan.name}", columns, [list(row.values()) for row in rows]),
    )


@app.command()
@reported
def enrol(plan: PlanRef, person: PersonId, as_json: JSON = False) -> None:
    """Give a person one-time codes: shows a QR code for their phone, and asks for the code it shows."""
    _enrol(plan, person, as_json, again=False)


@app.command()
@reported
def rotate(plan: PlanRef, person: PersonId, as_json: JSON = False) -> None:
    """Replace a person's one-time-code secret; the old one counts until the new one is proven."""
    _enrol(plan, person, as_json, again=True)


def _enrol(plan: str, person: str, as_json: bool, *, again: bool) -> None:
    quiet_prefect()
    import segno

    from blocks.home import open_store
    from tasks.proofs import enrol
    from tasks.work import load_plan

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadInput(
            "this shows a secret, which belongs into no file and no log.", "reinstate people",
            "run it in a terminal, with the person in front of it",
        )  # fmt: skip
    store = open_store()

    def show(address: str, secret: str) -> None:
        segno.make(address, error="m").terminal(sys.stderr, compact=True)
        groups = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
        say(f"Scan it with an authenticator app, or type: {groups}")

    def ask() -> str:
        return str(typer.prompt("The code the phone shows now", err=True))

    event = enrol(load_plan(plan, store), store, person, show, ask, again=again)
    emit(event, as_json, lambda: out(f"{person} signs with this phone from now on."))


@app.command()
@reported
def revoke(
    plan: PlanRef,
    person: PersonId,
    reason: Annotated[str, typer.Option(help="Why; kept for ever.", show_default=False)],
    by: Annotated[str, typer.Option("--by", help="Your name, or id in the plan.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JSON = False,
) -> None:
    """Make a person's code and SSH keys worthless from now on, when a phone is lost or somebody leaves."""
    quiet_prefect()
    from blocks.home import open_store
    from tasks.proofs import revoke
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)
    if not yes and not typer.confirm(f"Revoke every proof of {person} in {file.plan.name}?", err=True):
        raise typer.Exit(1)
    event = revoke(file, store, person, by, reason)
    what = [*(["the one-time code"] if event.code else []), *event.keys]
    emit(
        event, as_json, lambda: out(f"Revoked of {person}: {', '.join(what)}. What was signed before stays.")
    )
