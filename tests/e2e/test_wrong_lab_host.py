"""Real hosts on which a recovery cannot work: no sudo, no room; each is named and left as it was (must show 8)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from blocks.home import open_store
from deployments.cli.app import app
from model.outcome import RunVerdict
from tests.e2e.conftest import MakeWorld
from tests.lab import damage
from tests.support import tamper
from tests.support.labworld import LabWorld
from tests.support.locally import back_up_locally, recover_locally
from tests.support.witness import changes, look, trace

pytestmark = [pytest.mark.lab, pytest.mark.slow]

STATE = "/var/lib/reinstate"


def run(*words: str) -> tuple[Result, str]:
    """The command line, and all it says as one line."""
    result = CliRunner().invoke(app, list(words))
    return result, re.sub(r"\s+", " ", result.stdout + result.stderr)


def test_a_login_without_sudo_is_named_with_the_line_to_add(
    make_lab_world: MakeWorld, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    world = make_lab_world({"hosts": {"shop-host": {"user": "nosudo"}}})
    before = look(world.host)
    result, said = run("back-up", str(world.plan_file))
    assert 78 == result.exit_code, said
    assert "shop-host" in said
    assert "NOPASSWD" in said
    result, said = run("recover", str(world.plan_file), "--by", "ines", "--local")
    assert 11 == result.exit_code, said
    assert "NOPASSWD" in said
    assert [] == trace(world.host)
    assert [] == changes(before, look(world.host))


def test_a_full_disk_is_named_and_the_host_stays_as_it_was(
    lab_world: LabWorld, home: Path, tmp_path: Path
) -> None:
    """The state directory has no room: neither the repair nor its undoing may leave anything half done."""
    back_up_locally(lab_world)
    host = lab_world.host
    damage.truncate_file(host)
    damage.replace_binary(host)
    host.must(["mkdir", "-p", STATE])
    host.must(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", STATE])
    before = look(host)
    work = recover_locally(lab_world)
    ended = work.state().ended
    assert ended is not None
    assert ended.verdict in {RunVerdict.STOPPED_SAFE, RunVerdict.ROLLED_BACK}
    assert "no space left" in ended.sentence.lower()
    assert "shop-host" in ended.sentence
    assert ended.next_human_step
    assert [] == changes(before, look(host))
    assert [] == tamper.unnoticed(home, work.incident.id, tmp_path / "altered")
    assert [work.incident.id] == open_store().incidents()
