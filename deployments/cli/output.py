"""Terminal and JSON output, and the one place where our errors become exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from model.command import printable
from model.errors import BadPlan, ReinstateError

P = ParamSpec("P")
R = TypeVar("R")

console = Console(stderr=True, highlight=False)
"""For people: progress, questions, errors. Standard output is for results."""

PlanRef = Annotated[
    str, typer.Argument(help="A plan file, or the name of a registered plan.", show_default=False)
]
KEY = Annotated[
    Path | None,
    typer.Option("--key", help="Your SSH private key (or the public one with an agent) to sign with."),
]
CODE = Annotated[
    str, typer.Option("--code", help="A one-time code instead of a signature; asked for when empty.")
]
JSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]

TROUBLED_EXIT = 2
"""Exit code when a recovery point is missing, altered, not whole or overdue."""


def quiet_prefect() -> None:
    """Without a server our own log lines suffice."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")


def clean(text: object) -> str:
    """Tainted text for rich: markup and control characters inert."""
    return escape(printable(str(text)))


def emit(value: object, as_json: bool, text: Callable[[], None]) -> None:
    """Print a result as JSON or for people."""
    if as_json:
        sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")
    else:
        text()


def plain(value: object) -> Any:  # noqa: ANN401 - JSON data
    """Models and containers as JSON data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def say(text: str) -> None:
    """A line for people on standard error."""
    console.print(clean(text))


def out(text: str) -> None:
    """A line of the result on standard output."""
    sys.stdout.write(text + "\n")


def show_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; its first column is never broken, so that an id can be copied."""
    table = Table(title=title, title_justify="left", show_lines=False)
    for number, name in enumerate(head):
        table.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(clean(cell) for cell in row))
    Console(highlight=False).print(table)


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a ReinstateError into a message and its exit code; with --json also into an object on standard output."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ReinstateError as error:
            if kwargs.get("as_json"):
                problems = [str(p) for p in error.problems] if isinstance(error, BadPlan) else []
                data = {
                    "error": error.code, "what": error.what, "where": error.where, "remedy": error.remedy,
                    "problems": problems,
                }  # fmt: skip
                sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
            console.print(f"[bold red]{error.code}[/] {clean(error.where)}", soft_wrap=True)
            console.print(f"  {clean(error.what)}", soft_wrap=True)
            if error.remedy:
                console.print(f"  [bold]What to do:[/] {clean(error.remedy)}", soft_wrap=True)
            raise typer.Exit(error.exit_code) from None

    return run


def show_markdown(text: str) -> None:
    """Markdown whose tainted parts are inert already, on standard output."""
    Console(highlight=False).print(Markdown(text, hyperlinks=False))
