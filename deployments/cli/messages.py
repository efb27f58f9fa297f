"""`reinstate messages`: texts that wait for approval."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.incidents import IncidentId
from deployments.cli.output import CODE, JSON, KEY, emit, out, quiet_prefect, reported
from model.errors import BadInput

app = typer.Typer(no_args_is_help=True)


@app.command("list")
@reported
def list_messages(incident: IncidentId, as_json: JSON = False) -> None:
    """Show the messages of an incident that are held back, as they would be sent now."""
    quiet_prefect()
    from tasks.releasing import waiting
    from tasks.work import open_work

    found = waiting(open_work(incident))

    def text() -> None:
        for one in found:
            out(f"{one.message}\n\n{one.text.subject}\n\n{one.text.body}\n")
        if not found:
            out("No message waits for approval.")

    emit(
        [{"message": o.message, "subject": o.text.subject, "body": o.text.body} for o in found], as_json, text
    )


@app.command()
@reported
def approve(
    incident: IncidentId,
    person: Annotated[str, typer.Option("--as", help="Your id in the plan.", show_default=False)],
    message: Annotated[str, typer.Option(help="Which one; needed where several wait.")] = "",
    deny: Annotated[bool, typer.Option("--deny", help="It is not sent at all.")] = False,
    key: KEY = None,
    code: CODE = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you read it.")] = False,
    as_json: JSON = False,
) -> None:
    """Read a message that is held back and let it be sent, to the letter."""
    quiet_prefect()
    from blocks.people import sign_statement
    from tasks.inform import keep_text
    from tasks.releasing import Decision, release, release_statement, waiting
    from tasks.work import open_work

    work = open_work(incident)
    found = [one for one in waiting(work) if message in {"", one.message}]
    if len(found) != 1:
        names = ", ".join(one.message for one in found)
        raise BadInput(
            f"several messages wait: {names}." if found else "no such message waits.", incident,
            "name one with `--message`" if found else f"see `reinstate messages list {incident}`",
        )  # fmt: skip
    one = found[0]
    decision: Decision = "deny" if deny else "approve"
    if not as_json:
        out(f"{one.text.subject}\n\n{one.text.body}\n")
    if not yes and not typer.confirm(f"{decision} {one.message}?", err=True):
        raise typer.Exit(1)
    signature = ""
    if key is not None:
        signature = sign_statement(
            release_statement(work, one.message, keep_text(work, one.text), person, decision), key
        )
    elif not code:
        code = typer.prompt("One-time code", err=True, hide_input=True)
    done = release(work, one, person, decision, code=code, signature=signature)
    emit(done, as_json, lambda: out(f"{one.message}: {'it is not sent' if deny else 'it is sent now'}."))
