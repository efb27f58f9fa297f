"""`reinstate people`: who is in the plan, and by what they prove that it is them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from deployments.cli.output import (
    CODE,
    JSON,
    KEY,
    PlanRef,
    emit,
    out,
    quiet_prefect,
    reported,
    say,
    show_table,
)
from model.assets import Seconds
from model.errors import BadInput
from model.outcome import Gate

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


Giver = Annotated[str, typer.Option("--as", help="Your id in the plan.", show_default=False)]


@app.command()
@reported
def delegate(
    plan: PlanRef,
    person: Giver,
    to: Annotated[str, typer.Option(help="Who signs in your place.", show_default=False)],
    until: Annotated[
        str, typer.Option(help="How long: 12h, 3d, or a moment (2026-12-24T08:00, UTC).", show_default=False)
    ],
    reason: Annotated[str, typer.Option(help="Why; kept for ever.", show_default=False)],
    gate: Annotated[list[Gate] | None, typer.Option(help="Only at this gate; may be repeated.")] = None,
    key: KEY = None,
    code: CODE = "",
    as_json: JSON = False,
) -> None:
    """Let another person sign in your place until a moment; you do not sign yourself as long as that holds."""
    _delegate(plan, person, to, _moment(until), tuple(gate or ()), reason, key, code, as_json)


@app.command()
@reported
def recall(
    plan: PlanRef,
    person: Giver,
    reason: Annotated[str, typer.Option(help="Why; kept for ever.")] = "I am back.",
    key: KEY = None,
    code: CODE = "",
    as_json: JSON = False,
) -> None:
    """End your delegation: you sign for yourself again."""
    _delegate(plan, person, "", datetime.now(UTC), (), reason, key, code, as_json)


def _delegate(
    plan: str, person: str, to: str, until: datetime, gates: tuple[Gate, ...], reason: str, key: Path | None,
    code: str, as_json: bool,
) -> None:  # fmt: skip
    quiet_prefect()
    from blocks.home import open_store
    from blocks.people import sign_statement
    from tasks.delegating import delegate, delegation_statement, draft
    from tasks.work import load_plan

    store = open_store()
    file = load_plan(plan, store)
    given, signature = draft(file, person, to, until, gates, reason), ""
    if key is not None:
        signature = sign_statement(delegation_statement(file.plan.name, given), key)
    elif not code:
        code = typer.prompt("One-time code", err=True, hide_input=True)
    done = delegate(file, store, given, code=code, signature=signature)
    said = f"{to} signs for {person} until {until:%Y-%m-%d %H:%M} UTC." if to else f"{person} signs again."
    emit(done, as_json, lambda: out(said))


def _moment(text: str) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(seconds=TypeAdapter(Seconds).validate_python(text))
    except ValidationError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{text!r} is no duration and no moment.", "--until", "write 12h, 3d or 2026-12-24T08:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
