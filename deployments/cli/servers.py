"""`reinstate up` and `reinstate demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import console, out, reported, say


@reported
def up(
    plans: Annotated[list[str] | None, typer.Argument(help="Plan files to register.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the UI; default 4200 or the next free one.")
    ] = None,
    alerts: Annotated[
        str, typer.Option(help="HOST:PORT at which alerts are taken, for plans that have `alerts`.")
    ] = "127.0.0.1:4280",
) -> None:
    """Start PostgreSQL, the Prefect server, all deployments and a worker; Ctrl-C stops them in order."""
    from deployments.gateway.serving import parse_address
    from deployments.server.up import Up, serve
    from tasks.work import load_plan

    def ready(installation: Up) -> None:
        where = installation.where
        out(
            f"Reinstate runs: {where.url}\n"
            f"Log in with `admin:` and the password, as one text; the password is in {where.folder / 'password'}\n"
            "Ctrl-C stops it."
        )

    parse_address(alerts)
    serve([load_plan(plan) for plan in plans or []], port, say, ready, alerts)


@reported
def gateway(
    plans: Annotated[
        list[str], typer.Argument(help="Plan files, or names of registered plans.", show_default=False)
    ],
    listen: Annotated[str, typer.Option(help="HOST:PORT at which alerts are taken.")] = "127.0.0.1:4280",
) -> None:
    """Take alerts, in a process of its own; `up` starts one itself where a plan has `alerts`, and deals with them."""
    from deployments.gateway.serving import serve_plans

    serve_plans(plans, listen, out)


@reported
def demo(
    damage: Annotated[list[str] | None, typer.Option(help="What to break; `none` breaks nothing.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign with the demo's own people.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON to this file.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where everything of the demo lives.")] = Path(".demo"),
    local: Annotated[bool, typer.Option("--local", help="Without a Prefect server.")] = False,
    corrupt_backup: Annotated[bool, typer.Option(help="Flip bytes of the backup first.")] = False,
    deny: Annotated[
        bool, typer.Option(help="With --yes: deny at acceptance: everything is rolled back.")
    ] = False,
) -> None:
    """Build a throw-away shop, break it for real, and recover it with your signature."""
    from deployments.demo.run import run_demo

    code = run_demo(
        folder=folder, damage=damage, yes=yes, json_file=json_file, local=local, corrupt_backup=corrupt_backup,
        deny=deny, console=console,
    )  # fmt: skip
    if code:
        raise typer.Exit(code)
