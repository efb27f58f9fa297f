"""`reinstate packages …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import JSON, emit, out, reported

app = typer.Typer(no_args_is_help=True)


@app.command()
@reported
def index(
    folder: Annotated[
        Path, typer.Argument(help="The folder with .debs, .rpms and wheels.", show_default=False)
    ],
    changed_too: Annotated[
        bool, typer.Option("--changed-too", help="Also sign files that changed since they were signed.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Sign what lies in a package store, with this installation's key. Only what is signed is ever installed."""
    from blocks.home import open_store, signing_key
    from tasks.package_index import index_folder
    from tasks.progress import Progress

    progress = Progress("index", "index")
    done = index_folder(folder, signing_key(), open_store(), progress, changed_too=changed_too)
    emit(
        {"serial": done.index.serial, "packages": len(done.index.packages), "added": done.added, "gone": done.gone},
        as_json,
        lambda: out(done.sentence),
    )  # fmt: skip


@app.command()
@reported
def stock(
    plan: Annotated[
        str, typer.Argument(help="A plan file, or the name of a registered plan.", show_default=False)
    ],
    as_json: JSON = False,
) -> None:
    """Fetch the packages of exactly the installed versions into the plan's stores, through the healthy hosts."""
    from blocks.home import open_store, signing_key
    from blocks.hosts.identity import prove
    from model.assets import DpkgAsset
    from model.errors import PreconditionFailed
    from tasks.progress import Progress
    from tasks.stocking import stock as stock_asset
    from tasks.work import load_plan

    memory = open_store()
    file = load_plan(plan, memory)
    assets = {n: a for n, a in file.plan.assets.items() if isinstance(a, DpkgAsset) and a.store}
    if not assets:
        raise PreconditionFailed(
            "no asset of kind dpkg has a `store`.", file.plan.name, "name a package store in the plan"
        )
    stores = file.package_stores(memory)
    results = []
    for name, asset in assets.items():
        with file.connect(asset.host) as connection:
            prove(connection)
            progress = Progress(f"stock {name}", f"stock-{name}")
            results.append(
                stock_asset(name, asset, connection, stores[asset.store or ""], signing_key(), progress)
            )
    emit(
        [{"asset": r.asset, "fetched": r.fetched, "present": r.present, "missing": dict(r.missing)} for r in results],
        as_json,
        lambda: out("\n".join(result.sentence for result in results)),
    )  # fmt: skip
    if any(result.missing for result in results):
        raise typer.Exit(2)
