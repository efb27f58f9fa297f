"""`reinstate baseline`: what differs from the packages, and accepting it as wanted."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.output import JSON, PlanRef, emit, out, quiet_prefect, reported, say, show_table
from model.errors import BadInput


@reported
def baseline(
    plan: PlanRef,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="Accept as wanted: `all`, the name of an asset, or a path or glob; may be repeated."
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Your id in the plan; kept with what you accept.")] = "",
    reason: Annotated[str, typer.Option(help="Why it is wanted; kept for ever.")] = "",
    record: Annotated[
        bool, typer.Option("--record", help="First record what is healthy now, as `back-up` does.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Review how hosts differ from their packages, and accept what is wanted; that is no finding any more.

    Without --accept nothing is accepted. What is not accepted stays a finding until it is repaired.
    """
    quiet_prefect()
    from blocks.home import open_store
    from tasks import accepting
    from tasks.work import accepted, load_plan

    if accept and not (by and reason):
        raise BadInput(
            "who accepts, and why, is missing.",
            "baseline",
            "give `--by PERSON` and `--reason TEXT` with --accept",
        )
    store = open_store()
    file = load_plan(plan, store)
    if record:
        for sentence in accepting.record_all(file):
            say(sentence)
    found = accepting.review(file, store)
    picked = accepting.chosen(found, accept or ())
    if picked:
        accepting.accept(file, store, picked, by, reason)
    agreed = [(name, one) for name in found for one in accepted(store, file.plan, name)]
    taken = {(name, one) for name, several in picked.items() for one in several}
    left = [(name, one) for name in found for one in found[name] if (name, one) not in taken]
    result = {
        "differs": [
            {"asset": name, "path": one.entry.path, "codes": one.codes, "package": one.package}
            for name, one in left
        ],
        "accepted": [{"asset": name, **one.model_dump(mode="json")} for name, one in agreed],
    }

    def text() -> None:
        if left:
            rows = [
                (one.entry.path, name, one.package or "–", ", ".join(one.codes) or "edited configuration")
                for name, one in sorted(left, key=lambda pair: (pair[0], pair[1].package, pair[1].entry.path))
            ]
            show_table("Differs, not accepted", ("path", "asset", "package", "how"), rows)
        if agreed:
            people = [
                (one.entry.path, name, one.person, f"{one.at:%Y-%m-%d %H:%M}", one.reason)
                for name, one in agreed
            ]
            show_table("Accepted", ("path", "asset", "by", "at (UTC)", "reason"), people)
        if not left:
            out("Nothing else differs from the packages.")

    emit(result, as_json, text)
