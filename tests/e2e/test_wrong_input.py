"""Wrong input to a recovery: what it says, where and what to do; how it ends; and that nothing changed (must show 8).

What the plan reader and the commands say to wrong files and words is tested in tests/model and tests/deployments.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from blocks.home import open_store
from blocks.journals.verify import verify_incident
from deployments.cli.app import app
from tests.support.sshservers import Server, asyncssh_server
from tests.support.wrongworld import SmallWorld, make_small_world
from tests.tasks.localhost import fingerprint

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICa7bvwWYdZpIvRr/iHHtIUGuwbMJpuaH5gX5YUsAHLJ"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def world(server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    """A backed-up host with one damaged file; wide enough a terminal that no sentence is broken."""
    monkeypatch.setenv("COLUMNS", "300")
    folder = tmp_path / "world"
    folder.mkdir()
    made = make_small_world(server, folder)
    made.back_up()
    (made.files / "a.txt").write_text("all is lost\n")
    return made


def run(*words: str) -> Result:
    """The command line, as typed."""
    return CliRunner().invoke(app, list(words))


def host_of(world: SmallWorld) -> tuple[object, object]:
    """Everything a recovery could change on the host: its files, and its own record of effects."""
    trace = Path(world.server.host.state_dir) / "trace"
    return fingerprint(world.files), trace.read_text() if trace.is_file() else ""


def said(result: Result) -> str:
    """All that a person sees, as one line."""
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda text: text.replace('"version"', '"versoin"'), "versoin"),
        (lambda text: text.replace('"name": "small",', '"name": "small",\n "name": "large",'), "name"),
    ],
    ids=["unknown key", "duplicate key"],
)
def test_a_wrong_plan_opens_no_incident(world: SmallWorld, write: Any, words: str) -> None:  # noqa: ANN401
    world.plan_file.write_text(write(world.plan_file.read_text()))
    before = host_of(world)
    result = run("recover", str(world.plan_file), "--by", "lena", "--local")
    assert 65 == result.exit_code, said(result)
    assert "BAD_PLAN" in said(result)
    assert words in said(result)
    assert re.search(r"line \d+", said(result))
    assert not open_store().incidents()
    assert before == host_of(world)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def stranger(world: SmallWorld) -> dict[str, str]:
    """A key the host does not know."""
    key = world.folder / "secrets" / "ssh-key"
    key.write_text((world.server.folder / "stranger").read_text())
    return {}


def opened(world: SmallWorld) -> dict[str, str]:
    """A secret everybody may read."""
    (world.folder / "secrets" / "ssh-key").chmod(0o644)
    return {}


def role(world: SmallWorld) -> dict[str, str]:
    """A host that says it is another one than the plan means."""
    place = Path(world.server.host.state_dir) / "role"
    place.parent.mkdir(exist_ok=True)
    place.write_text("staging\n")
    return {"role": "production"}


WRONG_HOSTS: Mapping[str, tuple[Any, int, tuple[str, ...]]] = {
    "unreachable": (
        lambda world: {"port": closed_port()}, 75, ("TRANSIENT", "web (127.0.0.1", "refused", "host is up"),
    ),
    "unknown name": (lambda world: {"address": "no-such-host.invalid"}, 75, ("TRANSIENT", "no-such-host.invalid")),
    "changed host key": (lambda world: {"host_key": OTHER_KEY}, 11, ("SHA256:", "plan pins", "do not go on")),
    "wrong client key": (
        stranger, 11, ("does not accept the key", "authorized_keys"),
    ),
    "missing secret": (lambda world: {"key": "file:secrets/none"}, 11, ("secrets/none", "cannot be read")),
    "open secret": (opened, 11, ("read by every user", "chmod 600")),
    "wrong machine-id": (lambda world: {"machine_id": "f" * 32}, 11, ("says it is machine", "f" * 32, "right host")),
    "wrong role": (role, 11, ("says its role is staging", "production")),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_HOSTS)
def test_a_host_that_is_not_as_the_plan_says_is_named_and_left_alone(
    world: SmallWorld, home: Path, case: str
) -> None:
    """G7, G8: what, where and what to do; the incident ends or waits; the host is as it was."""
    change, code, words = WRONG_HOSTS[case]
    try:
        world.write_plan({"hosts": {"web": change(world)}})
        before = host_of(world)
        result = run("recover", str(world.plan_file), "--by", "lena", "--local")
        assert code == result.exit_code, said(result)
        assert [] == [word for word in words if word not in said(result)], said(result)
        assert "Traceback" not in said(result)
        assert before == host_of(world)
    finally:
        (Path(world.server.host.state_dir) / "role").unlink(missing_ok=True)
    (incident,) = open_store().incidents()
    assert [] == verify_incident(home, incident)


def test_an_asset_without_any_backup_is_an_error_and_no_repair_is_made_up(world: SmallWorld) -> None:
    """G11: what cannot be compared is not healthy, and says what to do."""
    world.write_plan({"backups": {"disk": {"path": "elsewhere"}}})
    before = host_of(world)
    scan = run("scan", str(world.plan_file))
    assert 2 == scan.exit_code, said(scan)
    assert "no recovery point" in said(scan)
    result = run("recover", str(world.plan_file), "--by", "lena", "--local", "--json")
    assert 11 == result.exit_code, said(result)
    assert "no recovery point" in said(result)
    assert before == host_of(world)


def test_a_backup_that_is_gone_after_the_scan_is_an_unmet_finding(world: SmallWorld) -> None:
    """A finding nothing cures stands in the proposal with what to do; nobody is asked to sign a hope."""
    world.write_plan({"hosts": {"web": {"machine_id": "e" * 32}}})
    identity = Path(world.server.host.machine_id_file)
    kept = identity.read_text()
    identity.write_text("e" * 32 + "\n")
    try:
        before = host_of(world)
        result = run("propose", str(world.plan_file), "--json")
        assert 0 == result.exit_code, said(result)
        proposal = json.loads(result.stdout)
        assert [] == proposal["actions"]
        assert "another host" in proposal["unmet"][0]["sentence"]
        assert proposal["unmet"][0]["remedy"]
        assert before == host_of(world)
    finally:
        identity.write_text(kept)
