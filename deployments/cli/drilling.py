"""`reinstate drill`: a whole recovery exercised against staging, and what broken-off drills left behind taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.output import JSON, TROUBLED_EXIT, emit, out, quiet_prefect, reported, say, show_markdown
from deployments.cli.recovery import ENDED_EXIT
from model.errors import BadInput


@reported
def drill(
    plan: Annotated[str, typer.Argument(help="A plan file or name; may be left out with --go-on.")] = "",
    go_on: Annotated[
        str, typer.Option("--go-on", help="Go on with this drill, once people have signed.")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="Chooses the damage; the same seed, the same damage.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="A kind of damage to choose from; may be given again.")
    ] = None,
    tabletop: Annotated[
        bool, typer.Option("--tabletop", help="People answer and sign, and nothing is done to any host.")
    ] = False,
    sign_off: Annotated[str, typer.Option(help="people or simulated; left out: the plan's.")] = "",
    case: Annotated[
        int, typer.Option(help="1, 2 or 3: an acceptance case, on a throw-away host of this machine.")
    ] = 0,
    folder: Annotated[Path, typer.Option(help="With --case: where everything of it lives.")] = Path(".demo"),
    reap: Annotated[
        bool, typer.Option("--reap", help="Only clean up after drills whose process is gone.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="Run here, without any Prefect server.")] = False,
    as_json: JSON = False,
) -> None:
    """Damage staging, recover it as in a real incident, and put everything back; production is never touched.

    Exit code with --local: 0 recovered, 3 while people must sign, 10 rolled back, 11 stopped safe.
    """
    from deployments.server.paths import running

    if sign_off not in {"", "people", "simulated"}:
        raise BadInput(f"{sign_off!r} is nobody who signs.", "--sign-off", "give people or simulated")
    quiet_prefect()
    if reap:
        _reap(as_json)
        return
    if case:
        _case(case, folder, seed, fault or [], as_json)
        return
    if not (plan or go_on):
        raise BadInput("the plan is missing.", "drill", "give a plan, or `--go-on DRILL`")
    given: dict[str, Any] = {
        "plan": plan, "drill": go_on, "seed": seed, "faults": fault or None,
        "mode": "tabletop" if tabletop else None, "sign_off": sign_off or None,
    }  # fmt: skip
    up = None if local else running()
    if up is None and not local:
        raise BadInput("no `reinstate up` runs here.", "drill", "start `reinstate up PLAN`, or add `--local`")
    if up is not None:
        from deployments.server.remote import start_drill

        url = start_drill(up.paths, given)
        emit({"flow_run": url}, as_json, lambda: out(f"The drill runs: {url}"))
        return
    _here(given, as_json)


def _here(given: dict[str, Any], as_json: bool) -> None:
    """Run a drill in this process, and show what it scored."""
    from blocks.home import open_store
    from flows.drill import drill as flow
    from tasks.scorecard import card_of
    from tasks.scorecard_page import scorecard_markdown

    sentence: str = asyncio.run(flow.fn(**given))
    store = open_store()
    card = card_of(store, str(given.get("drill") or store.drills()[-1]))
    shown = {"outcome": sentence, "verdict": card.verdict, **card.model_dump(mode="json")}
    emit(shown, as_json, lambda: show_markdown(scorecard_markdown(card, [card])))
    say(sentence)
    if code := ENDED_EXIT.get(sentence.partition(":")[0], 0):
        raise typer.Exit(code)


def _case(case: int, folder: Path, seed: int | None, kinds: list[str], as_json: bool) -> None:
    """An acceptance case, from the building of its host to the scorecard."""
    from deployments.demo.drilling import prepare_case

    staging, plan = prepare_case(folder, case, say)
    try:
        _here({"plan": str(plan), "seed": seed, "faults": kinds or None}, as_json)
    finally:
        staging.stop()


def _reap(as_json: bool) -> None:
    from flows.drill import reap

    troubled: list[str] = []

    def told(sentence: str) -> None:
        say(sentence)
        if "could not be cleaned up" in sentence:
            troubled.append(sentence)

    ended = asyncio.run(reap(told))
    emit({"ended": ended, "troubles": troubled}, as_json, lambda: out(f"{len(ended)} drills cleaned up."))
    if troubled:
        raise typer.Exit(TROUBLED_EXIT)
