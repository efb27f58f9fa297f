"""A small organisation with four people: two lead, two work; and a clock that a test turns on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest

from blocks.home import open_store
from blocks.journals.base import JournalStore
from blocks.people import STEP
from flows.publish_plan import publish_plan
from model.canonical import now
from model.incident import Source
from model.outcome import Gate
from model.signoff import Decision, Standing
from model.steps import Ask, next_step
from tasks.publishing import open_publication
from tasks.voting import cast_vote, gate_digest, open_gate
from tasks.work import load_plan, open_work
from tests.support.labworld import write_secret
from tests.support.sshservers import Server, asyncssh_server
from tests.support.wrongworld import SmallWorld, make_small_world

Later = Callable[[timedelta], None]
"""Lets time pass."""

CLOCKS = (
    "tasks.voting", "tasks.signed", "tasks.deadlines", "tasks.inform", "tasks.steps", "flows.gate",
    "blocks.journals.sealed", "tests.support.site",
)  # fmt: skip
PEOPLE = ("lena", "omar", "rita", "paul")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


class Site:
    """A small organisation: Lena and Omar lead, Rita and Paul work; each code is used once."""

    def __init__(self, world: SmallWorld) -> None:
        self.world = world
        self.used: dict[str, int] = {}
        self.changes: dict[str, Any] = {
            "people": {one: {"name": one.title(), "totp": f"file:secrets/totp-{one}"} for one in PEOPLE},
            "roles": {"leading_group": ["lena", "omar"], "working_group": ["rita", "paul"]},
        }
        for one in PEOPLE:
            write_secret(world.folder, f"totp-{one}", pyotp.random_base32())
        self.write()

    @property
    def store(self) -> JournalStore:
        return open_store()

    @property
    def plan(self) -> str:
        return str(self.world.plan_file)

    def write(self, **changes: object) -> None:
        """Change the plan file."""
        self.changes |= changes
        self.world.write_plan(self.changes)

    def sign(
        self, ident: str, person: str, decision: Decision = Decision.APPROVE, gate: Gate | None = None
    ) -> Standing:
        """Sign what waits, or a gate that is named, by a fresh code."""
        work = open_work(ident)
        step = next_step(work.state())
        gate = gate or (step.gate if isinstance(step, Ask) else None)
        assert gate is not None, step
        state = open_gate(work, gate)
        secret = (self.world.folder / "secrets" / f"totp-{person}").read_text().strip()
        at = now()
        step_now = int(at.timestamp()) // STEP
        used = self.used[person] = max(self.used.get(person, 0) + 1, step_now - 1)
        code = pyotp.TOTP(secret).at(at + timedelta(seconds=(used - step_now) * STEP))
        return cast_vote(
            work, gate, person=person, decision=decision, reason=f"{person} says so.",
            signed_digest=gate_digest(state, gate), code=str(code),
        )  # fmt: skip

    def publish(self, *signers: str, proposed_by: str = "rita") -> str:
        """Propose the plan file as it is, sign it, write it down; returns the publication's id."""
        ident = open_publication(load_plan(self.plan), self.store, proposed_by, Source.CLI).incident.id
        for person in signers or ("lena",):
            self.sign(ident, person)
        asyncio.run(publish_plan.fn(publication=ident))
        return ident

    def damage(self) -> None:
        (self.world.files / "a.txt").write_text("damaged\n")


@pytest.fixture
def site(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    return Site(make_small_world(server, tmp_path / "world"))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Let time pass for sign-offs, deadlines and messages."""
    passed = [timedelta()]

    def clock() -> datetime:
        return datetime.now(UTC) + passed[0]

    for module in CLOCKS:
        monkeypatch.setattr(f"{module}.now", clock)

    def pass_by(span: timedelta) -> None:
        passed[0] += span

    return pass_by
