"""What `up` looks at anew: a plan that changed since its newest look, once for each change."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from deployments.server import ready
from deployments.server.paths import Paths
from model.errors import BadInput
from tasks.readiness import assess, basis, remember
from tasks.work import load_plan
from tests.support.labworld import merged
from tests.support.site import Site, server, site

__all__ = ["server", "site"]


class Server:
    """Stands for the Prefect server: takes what is started, or does not answer."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.trouble: Exception | None = None

    def start(self, _where: Paths, plan: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.started.append(plan)


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Server:
    there = Server()
    monkeypatch.setattr(ready, "start_readiness", there.start)
    return there


def look(site: Site) -> None:
    """A look is remembered, as its run does."""
    file = load_plan(site.plan)
    before = basis(site.store, file.plan.name, file.path)
    remember(site.store, assess(file, site.store).model_copy(update={"basis": before}))


def test_each_change_is_looked_at_once_and_going_back_is_a_change(site: Site, prefect: Server) -> None:
    where, said = Paths(Path("/nowhere"), 0), list[str]()
    changes = ready.Changes(site.store, [load_plan(site.plan)])

    def ticks() -> int:
        """Looks that were started by some ticks of `up`."""
        before = len(prefect.started)
        for _ in range(3):
            changes.look(where, said.append)
        return len(prefect.started) - before

    assert 1 == ticks(), "a plan that nobody ever looked at"
    look(site)
    assert 0 == ticks()
    text = site.world.plan_file.read_text()
    site.world.plan_file.write_text(text + "\n")
    assert 1 == ticks()
    look(site)
    assert 0 == ticks()
    site.world.plan_file.write_text(text)
    assert 1 == ticks(), "it was changed back"
    look(site)
    site.publish()
    assert 1 == ticks(), "a version was published"
    look(site)
    prefect.trouble = httpx.ConnectError("away")
    site.world.plan_file.unlink()
    assert 0 == ticks()
    prefect.trouble = None
    assert 1 == ticks(), "the file is gone, and the server is back"
    site.world.plan_file.write_text(text)
    look(site)
    site.world.plan_file.write_text(text + "\n\n")
    prefect.trouble = BadInput("plan small is not registered.")
    assert 0 == ticks()
    assert "cannot be looked at" in said[-1]
    assert 1 == sum("cannot" in one for one in said), "it is not said again at every tick"


def test_plan_that_is_looked_at_by_hand_only_is_left_alone(site: Site, prefect: Server) -> None:
    plan = merged(json.loads(site.world.plan_file.read_text()), {"readiness": {"schedule": ""}})
    site.world.plan_file.write_text(json.dumps(plan))
    ready.Changes(site.store, [load_plan(site.plan)]).look(Paths(Path("/nowhere"), 0), lambda text: None)
    assert [] == prefect.started
