"""Sudo: used where the plan says so, and a refusal tells what to add. Here it is a script; the lab has the real one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts.connection import SSHConnection
from model.command import Command
from model.errors import PreconditionFailed
from tests.support.sshservers import SYSTEM_PATH, Server, asyncssh_server

TOOLS = [
    "sh",
    "echo",
    "env",
    "cat",
    "id",
    "head",
    "wc",
    "mkdir",
    "mv",
    "rm",
    "rmdir",
    "chmod",
    "date",
    "sleep",
    "sync",
    "true",
    "setsid",
    "flock",
    "printf",
]
SUDO = """#!/bin/sh
# Understands what the product writes: sudo -n [-u USER] -- COMMAND
[ "$1" = -n ] || exit 99
shift
user=root
if [ "$1" = -u ]; then user=$2; shift 2; fi
[ "$1" = -- ] || exit 98
shift
echo "$user: $*" >>"$(dirname "$0")/sudo.log"
if [ -e "$(dirname "$0")/deny" ]; then cat "$(dirname "$0")/deny" >&2; exit 1; fi
exec "$@"
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with what a host has, and a sudo that can be told to refuse."""
    folder = tmp_path_factory.mktemp("bin")
    for tool in (*TOOLS, "dirname"):
        found = shutil.which(tool, path=SYSTEM_PATH)
        if found:
            (folder / tool).symlink_to(found)
    return folder


@pytest.fixture(scope="module")
def sudo_server(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("sudo") / "server", user="ops", path=str(tools)) as server:
        yield server


@pytest.fixture
def sudo(tools: Path) -> Iterator[Path]:
    """The sudo of this test; it lets everything through unless a file `deny` is beside it."""
    path = tools / "sudo"
    path.write_text(SUDO)
    path.chmod(0o755)
    yield path
    for name in ("sudo", "sudo.log", "deny"):
        (tools / name).unlink(missing_ok=True)


@pytest.fixture
def connection(sudo_server: Server, tmp_path: Path) -> Iterator[SSHConnection]:
    with sudo_server.connect(sudo=True, state_dir=str(tmp_path / "state")) as connection:
        yield connection


def test_sudo_is_used_only_where_it_is_asked_for(connection: SSHConnection, sudo: Path) -> None:
    assert connection.run(Command(("echo", "plain"))).ok
    assert not (sudo.parent / "sudo.log").exists()
    assert "a b\n" == connection.run(Command(("echo", "a b"), sudo=True, env={"A": "1"})).text
    assert "x\n" == connection.run(Command(("echo", "x"), user="postgres")).text
    assert ["root: env A=1 echo a b", "postgres: echo x"] == (
        sudo.parent / "sudo.log"
    ).read_text().splitlines()


def test_sudo_guards_files_identity_and_jobs(connection: SSHConnection, sudo: Path) -> None:
    path = f"{connection.host.state_dir}/file"
    connection.write_file(path, b"data")
    assert b"data" == connection.read_file(path)
    assert connection.identity().machine_id
    assert b"y\n" == connection.job("job", Command(("echo", "y"), sudo=True), 1).stdout
    lines = [
        line for line in (sudo.parent / "sudo.log").read_text().splitlines() if line.startswith("root: env")
    ]
    assert 4 == len(lines)


def test_command_that_fails_by_itself_under_sudo_is_an_ordinary_result(
    connection: SSHConnection, sudo: Path
) -> None:
    result = connection.run(Command(("sh", "-c", "echo sudo: my own words >&2; exit 1"), sudo=True))
    assert (1, b"sudo: my own words\n") == (result.status, result.stderr)


@pytest.mark.parametrize(
    "words",
    [
        "sudo: a password is required",
        "ops is not in the sudoers file.\nsudo: no",
        "sudo: Ein Passwort ist notwendig",
    ],
)
def test_sudo_that_refuses_says_which_line_is_missing(
    connection: SSHConnection, sudo: Path, words: str
) -> None:
    (sudo.parent / "deny").write_text(f"{words}\n")
    state = connection.host.state_dir
    for act in (
        lambda: connection.run(Command(("true",), sudo=True)),
        lambda: connection.write_file(f"{state}/file", b"x"),
        lambda: connection.read_file(f"{state}/file"),
        lambda: connection.job("job", Command(("true",)), 1),
    ):
        with pytest.raises(PreconditionFailed, match=r"ops ALL=\(ALL\) NOPASSWD: ALL"):
            act()
    assert not Path(state).exists()


def test_sudo_that_is_missing_says_so(connection: SSHConnection, sudo: Path) -> None:
    sudo.unlink()
    with pytest.raises(PreconditionFailed, match="sudo is not installed"):
        connection.run(Command(("true",), sudo=True))


def test_sudo_is_never_used_where_the_plan_has_none(sudo_server: Server, sudo: Path, tmp_path: Path) -> None:
    with sudo_server.connect(sudo=False, state_dir=str(tmp_path / "state")) as connection:
        assert connection.run(Command(("true",), sudo=True)).ok
        assert connection.job("job", Command(("true",), sudo=True), 1).ok
        with pytest.raises(PreconditionFailed, match="no sudo"):
            connection.run(Command(("true",), user="postgres"))
    assert not (sudo.parent / "sudo.log").exists()
