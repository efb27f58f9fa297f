"""`reinstate up` as a user has it: one per home, behind a password, everything deployed, stopped in order."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import httpx
import pytest

from deployments.server.paths import POOL
from model.errors import BadInput
from model.outcome import Stage
from tests.support.installation import Installation
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def healthy(installation: Installation) -> bool:
    """Whether the server answers somebody who is logged in."""
    url = f"{installation.where.url}/api/admin/version"
    return httpx.get(url, auth=("admin", installation.where.password), timeout=10).status_code == 200


def test_up_second_start_refused_and_first_unharmed(installation: Installation) -> None:
    """R-USE-1: who starts it twice is told where it runs; the first one goes on working, its database too."""
    second = installation.run("up", str(installation.plan))
    assert BadInput.exit_code == second.returncode
    assert "already runs here" in second.stderr
    assert installation.where.url in second.stderr
    assert healthy(installation)
    assert [] != installation.ask("deployments/filter", limit=1), "the database below the server was stopped"


@pytest.mark.parametrize("path", ["api/deployments/filter", "api/flow_runs/filter", "api/work_pools/filter"])
def test_up_api_without_password_answers_401(installation: Installation, path: str) -> None:
    """R-SEC: nobody reads or starts anything without the generated password."""
    url = f"{installation.where.url}/{path}"
    assert 401 == httpx.post(url, json={}, timeout=10).status_code
    assert 401 == httpx.post(url, json={}, auth=("admin", "admin"), timeout=10).status_code


def test_up_password_generated_and_private(installation: Installation) -> None:
    """The password is long, its file is the owner's alone, and it appears in no output and no command line."""
    folder = installation.home / "up"
    password = (folder / "password").read_text()
    assert len(password) >= 20
    assert 0o600 == stat.S_IMODE((folder / "password").stat().st_mode)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert password not in installation.said
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in installation.pids()]
    assert [] != lines
    assert not any(password.encode() in line for line in lines)


def test_up_every_flow_deployed_on_our_pool(installation: Installation) -> None:
    """R-FRAME: each response stage is its own deployment, and so is what strings them together."""
    deployments = installation.ask("deployments/filter", limit=100)
    flows = {flow["id"]: flow["name"] for flow in installation.ask("flows/filter", limit=100)}
    deployed = {flows[deployment["flow_id"]] for deployment in deployments}
    others = {"recover", "back_up", "scan", "verify_backups", "publish_plan", "readiness", "drill"}
    assert {stage.value.replace(" ", "_") for stage in Stage} | others == deployed
    assert {POOL} == {deployment["work_pool_name"] for deployment in deployments}
    assert all(deployment["description"] for deployment in deployments)
    by_plan = {flows[d["flow_id"]] for d in deployments if "plan:demo-shop" in d["tags"]}
    assert {"report", *others} == by_plan


def test_up_ctrl_c_ends_every_process_in_order(installation: Installation) -> None:
    """R-USE-1: Ctrl-C stops worker, server and database in this order; the next start finds everything again."""
    assert {"prefect worker", "prefect server", "postgres"} == {
        word for word in ("prefect worker", "prefect server", "postgres") if installation.pids(word)
    }
    before = {d["id"] for d in installation.ask("deployments/filter", limit=100)}
    assert 0 == installation.stop()
    assert [] == installation.pids()
    said = installation.said
    assert (
        said.index("Stopping the worker")
        < said.index("Stopping the server")
        < said.index("Stopping PostgreSQL")
    )
    assert "Traceback" not in said
    assert not (installation.home / "up/running.json").exists()
    installation.start()
    assert before == {d["id"] for d in installation.ask("deployments/filter", limit=100)}
    names = [one["name"] for one in installation.ask("automations/filter", limit=50)]
    assert len(set(names)) == len(names) == 3, "an automation was made twice"


def test_up_killed_next_start_takes_over(installation: Installation) -> None:
    """A `kill -9` of `up` leaves server, worker and database; the next `up` ends or uses them and says so."""
    installation.kill()
    left = set(installation.pids("prefect"))
    assert len(left) >= 2, "the server and the worker outlive `up`"
    installation.start()
    assert "Ending what a killed `up` left behind" in installation.said
    assert not left & set(installation.pids("prefect"))
    assert healthy(installation)


@pytest.mark.parametrize("word", ["prefect worker", "prefect server"])
def test_up_dead_child_started_again(installation: Installation, word: str) -> None:
    """The watching `up` notices a dead worker or server within 30 s and starts it again."""
    (pid,) = installation.pids(word)
    os.kill(pid, signal.SIGKILL)
    wait_for(f"another {word}", lambda: [other for other in installation.pids(word) if other != pid], 120)
    wait_for("the server answers", lambda: _answers(installation), 180)


def _answers(installation: Installation) -> bool:
    try:
        return healthy(installation)
    except httpx.HTTPError:
        return False
