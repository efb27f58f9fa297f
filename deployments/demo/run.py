"""`reinstate demo`: build, back up, break, notice, recover with sign-off, prove. Nothing in it is staged."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from rich.console import Console

from deployments.cli.output import clean
from deployments.demo.damage import Damage, Kind, inflict, kinds
from deployments.demo.planning import write_plan
from deployments.demo.world import World
from model.canonical import now
from model.errors import BadInput, ReinstateError

EVERYTHING: tuple[Kind, ...] = ("package-file", "config", "data-file", "database-page", "pip-file")
"""What is broken when nothing was chosen; the pip file last, because it restarts the shop."""
EXPECTED = {"RECOVERED": 0, "ROLLED_BACK": 10, "STOPPED_SAFE": 11}
"""Exit codes by verdict."""


@dataclass
class Wishes:
    """What the person asked for."""

    folder: Path
    damage: Sequence[str] | None
    yes: bool
    json_file: Path | None
    local: bool
    corrupt_backup: bool
    deny: bool
    console: Console = field(repr=False)

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of damage to inflict.

        Raises:
            BadInput: an unknown kind.
        """
        chosen = [word for entry in self.damage or () for word in entry.split(",") if word]
        known = get_args(Kind)
        for word in chosen:
            if word not in (*known, "none", "all"):
                raise BadInput(
                    f"there is no damage {word!r}.",
                    where="--damage",
                    remedy=f"known: none, all, {', '.join(known)}",
                )
        if not chosen:
            return EVERYTHING
        if "none" in chosen:
            return ()
        wanted = known if "all" in chosen else chosen
        return cast(tuple[Kind, ...], tuple(sorted(set(wanted), key=lambda kind: (kind == "pip-file", kind))))

    def step(self, text: str) -> None:
        """A line for the person."""
        self.console.print(f"[bold cyan]▸[/] {clean(text)}", soft_wrap=True)


def run_demo(**wishes: Any) -> int:  # noqa: ANN401 - the fields of Wishes
    """Run the demo.

    Returns:
        Exit code: 0 recovered or healthy, otherwise see EXPECTED.

    Raises:
        BadInput: a wish makes no sense. ReinstateError: a part of the demo did not start.
    """
    wish = Wishes(**wishes)
    chosen = wish.kinds()
    wish.folder = wish.folder.absolute()
    os.environ["REINSTATE_HOME"] = str(wish.folder / "home")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    start = time.monotonic()
    try:
        with ExitStack() as stack:
            result = _run(wish, chosen, stack)
    except (RuntimeError, ValueError) as error:
        raise ReinstateError(
            str(error), where=str(wish.folder), remedy="`make clean`, then try again"
        ) from error
    result["seconds"] = round(time.monotonic() - start, 1)
    if wish.json_file is not None:
        wish.json_file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    wish.console.print(
        f"Everything of this demo is in {wish.folder}; `make clean` removes it.", soft_wrap=True
    )
    return EXPECTED.get(result["verdict"] or "RECOVERED", 1)


def _run(wish: Wishes, chosen: tuple[Kind, ...], stack: ExitStack) -> dict[str, Any]:
    from deployments.demo.session import (
        LocalSession,
        ServerSession,
        back_up,
        corrupt,
        forget_unfinished,
        healthy,
    )

    wish.step("Building a throw-away shop: SSH host, web application, PostgreSQL, packages, object store …")
    world = World.build(wish.folder)
    stack.callback(world.stop)
    plan = write_plan(world.facts)
    forget_unfinished()
    session = LocalSession(wish, plan) if wish.local else ServerSession(wish, plan)
    stack.callback(session.stop)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(session.start)
        wish.step("Backing it up for real …")
        for sentence in back_up(plan):
            wish.console.print(f"    {clean(sentence)}", soft_wrap=True)
        inflicted = [inflict(world.facts, kind) for kind in chosen if kind in kinds(world.facts)]
        detected = now()
        for damage in inflicted:
            wish.console.print(
                f"    [red]broken[/] {damage.kind}: {clean(damage.where)}, {damage.how}", soft_wrap=True
            )
        if wish.corrupt_backup:
            wish.step(f"Flipping bytes of the backup: {corrupt(world.facts)}")
        starting.result()
    if session.url:
        wish.step(f"The Prefect UI runs at {session.url} (user admin, password {session.password})")
    wish.step("A smoke probe looks at the shop …")
    if healthy(plan):
        wish.step("The host is healthy: every check passed, so no incident was opened.")
        return {"verdict": None, "healthy": True, "damage": [], "incident": None}
    wish.step("The shop is not healthy: an incident is opened.")
    work = session.recover(detected)
    return _result(wish, work, inflicted)


def _result(wish: Wishes, work: Any, inflicted: list[Damage]) -> dict[str, Any]:  # noqa: ANN401 - tasks.work.Work
    from tasks.render import duration
    from tasks.report import build_report

    report = build_report(work)
    lines = []
    for damage in inflicted:
        finding = next((f for f in report.findings if _named(damage, f.subject)), None)
        action = next((a for a in report.actions if finding is not None and finding.id in a.findings), None)
        lines.append(
            damage.model_dump()
            | {
                "finding": None if finding is None else finding.model_dump(mode="json") | {"id": finding.id},
                "action": None if action is None else action.model_dump(mode="json"),
            }
        )
    ended = report.ended
    verdict = str(ended.verdict) if ended else None
    page = work.folder("report") / "report.html"
    wish.console.print(f"[bold]{verdict}[/] {clean(ended.sentence) if ended else ''}", soft_wrap=True)
    if report.rto is not None and report.rpo is not None:
        wish.console.print(
            f"RTO {duration(report.rto)} (target {duration(report.rto_target)}), "
            f"RPO {duration(report.rpo)} (target {duration(report.rpo_target)})"
        )
    wish.console.print(f"Report: {page}", soft_wrap=True)
    return {
        "verdict": verdict, "healthy": False, "incident": work.incident.id, "damage": lines, "rto": report.rto,
        "rpo": report.rpo, "sentence": ended.sentence if ended else "", "report": str(page),
        "next_human_step": ended.next_human_step if ended else "",
    }  # fmt: skip


def _named(damage: Damage, subject: str) -> bool:
    return damage.where == subject or damage.where.endswith(f".{subject}") or subject.endswith(damage.where)
