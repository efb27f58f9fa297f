"""The contract of a connection: commands, streams, files, identity. Run against every SSH server."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.hosts import identity, scripts
from blocks.hosts.base import Connection, Identity
from blocks.hosts.connection import SSHConnection
from model.command import Command, Masked
from model.errors import BadInput, PreconditionFailed, Refused, Transient
from tests.conftest import lab_required
from tests.support.sshservers import MACHINE_ID, Server

MIB = 1 << 20
WORDS = (
    "",
    "two words",
    "it's \"quoted\"",
    "new\nline\ttab\r",
    "ünïcödé – 日本",
    "-rf",
    "--",
    "$(touch /nowhere) `id` ${HOME} $HOME",
    "*;?[a]|&&||<>#!~\\",
    "\x1b[31mred\x07",
)


def cut(connection: SSHConnection) -> None:
    """What a cable pulled out does, at once."""
    connection._transport.sock.close()
    connection._transport.close()


def test_run_command_that_fails_returns_its_status_and_both_streams(connection: SSHConnection) -> None:
    result = connection.run(Command(("sh", "-c", "echo out; echo err >&2; exit 7")))
    assert (7, b"out\n", b"err\n") == (result.status, result.stdout, result.stderr)
    assert not result.ok


def test_run_is_what_the_seam_promises(connection: SSHConnection) -> None:
    seam: Connection = connection
    assert seam.run(Command(("true",))).ok


def test_run_argv_with_shell_syntax_arrives_intact(connection: SSHConnection) -> None:
    """G10: no shell strings."""
    result = connection.run(Command(("printf", "%s\\0", *WORDS)))
    assert WORDS == tuple(result.stdout.decode().split("\0")[:-1])


def test_run_env_and_masked_arguments_arrive_and_are_not_shown(connection: SSHConnection) -> None:
    """G9: secrets are masked."""
    command = Command(("sh", "-c", 'echo "$GREETING $1"', "sh", Masked("s3cret")), env={"GREETING": "it's"})
    result = connection.run(command)
    assert b"it's s3cret\n" == result.stdout
    assert "s3cret" not in result.command


def test_command_with_nul_is_refused() -> None:
    with pytest.raises(BadInput, match="NUL"):
        Command(("echo", "a\0b"))


def test_run_eight_mebibytes_on_both_streams_does_not_hang(connection: SSHConnection) -> None:
    """Paramiko's own example stops for ever at 2 MiB of stderr."""
    script = f"head -c {8 * MIB} /dev/zero >&2; head -c {8 * MIB} /dev/zero"
    result = connection.run(Command(("sh", "-c", script), timeout=30))
    assert (0, 8 * MIB, 8 * MIB) == (result.status, len(result.stdout), len(result.stderr))
    assert not result.truncated


def test_run_echoes_eight_mebibytes_of_stdin(connection: SSHConnection) -> None:
    data = os.urandom(8 * MIB)
    assert data == connection.run(Command(("cat",), stdin=data, timeout=30)).stdout


def test_run_source_and_on_stdout_stream_without_cap(connection: SSHConnection) -> None:
    got: list[int] = []
    chunks = (bytes(MIB) for _ in range(12))
    result = connection.run(
        Command(("cat",), timeout=30), limit=10, source=chunks, on_stdout=lambda data: got.append(len(data))
    )
    assert (0, 12 * MIB, b"") == (result.status, sum(got), result.stdout)


def test_run_command_that_reads_no_stdin_ends(connection: SSHConnection) -> None:
    result = connection.run(Command(("sh", "-c", "exit 3"), stdin=bytes(8 * MIB), timeout=30))
    assert 3 == result.status


def test_run_without_stdin_gives_end_of_file(connection: SSHConnection) -> None:
    assert b"" == connection.run(Command(("cat",), timeout=10)).stdout


def test_run_source_that_fails_raises_its_error(connection: SSHConnection) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise Transient("the store went away")

    with pytest.raises(Transient, match="store went away"):
        connection.run(Command(("sh", "-c", "cat; sleep 5"), timeout=20), source=broken())
    assert connection.run(Command(("true",))).ok


def test_run_callback_that_fails_raises_its_error(connection: SSHConnection) -> None:
    def refuse(_: bytes) -> None:
        raise BadInput("not wanted")

    with pytest.raises(BadInput, match="not wanted"):
        connection.run(Command(("yes",), timeout=20), on_stdout=refuse)
    assert connection.run(Command(("true",))).ok


def test_run_two_inputs_are_refused(connection: SSHConnection) -> None:
    with pytest.raises(BadInput, match="two inputs"):
        connection.run(Command(("cat",), stdin=b"a"), source=[b"b"])


def test_run_output_beyond_the_limit_is_read_and_dropped(connection: SSHConnection) -> None:
    result = connection.run(Command(("sh", "-c", f"echo start; head -c {3 * MIB} /dev/zero; exit 4")), limit=100)
    assert (4, 100, True) == (result.status, len(result.stdout), result.truncated)
    assert result.stdout.startswith(b"start\n")


def test_run_killed_by_a_signal_is_not_done(connection: SSHConnection) -> None:
    """None when the login shell replaced itself by the command, 128 + 9 when it waited for it."""
    result = connection.run(Command(("sh", "-c", "echo before; kill -9 $$")))
    assert result.status in {None, 137}
    assert not result.ok
    assert b"before\n" == result.stdout


@pytest.mark.parametrize("script", ["sleep 20", "exec yes", "exec >&- 2>&-; sleep 20"])
def test_run_beyond_its_timeout_is_transient_and_says_it_may_go_on(connection: SSHConnection, script: str) -> None:
    began = time.monotonic()
    with pytest.raises(Transient, match="may still be running"):
        connection.run(Command(("timeout", "20", "sh", "-c", script), timeout=1))
    assert time.monotonic() - began < 8
    assert connection.run(Command(("true",))).ok


def test_run_connection_lost_in_the_middle_has_no_status(connection: SSHConnection) -> None:
    """An SSH drop is not a stop, and not an end either (guarantees, fact 6)."""
    result = connection.run(
        Command(("sh", "-c", "echo begun; exec sleep 20"), timeout=30), on_stdout=lambda _: cut(connection)
    )
    assert result.status is None
    with pytest.raises(Transient):
        connection.run(Command(("true",)))


def test_run_hostile_output_is_kept_raw_and_shown_safe(connection: SSHConnection) -> None:
    """Attack table: ANSI, OSC, invalid UTF-8."""
    evil = rb"\033]0;title\007\033[2J\377\376{{7*7}}<script>"
    result = connection.run(Command(("sh", "-c", f"printf '{evil.decode()}' >&2; exit 1")))
    assert b"\x1b]0;title\x07\x1b[2J\xff\xfe{{7*7}}<script>" == result.stderr
    assert "\x1b" not in result.tail()
    assert "\x07" not in result.tail()


def test_run_command_line_too_long_is_refused_with_the_way_out(connection: SSHConnection) -> None:
    with pytest.raises(BadInput, match="standard input"):
        connection.run(Command(("true", "x" * 130_000)))


def test_run_unknown_user_of_a_host_without_sudo_is_refused(server: Server) -> None:
    with server.connect() as connection:
        if server.host.user == "root":
            with pytest.raises(PreconditionFailed, match="could not become"):
                connection.run(Command(("true",), user="nobody-here"))
        else:
            with pytest.raises(PreconditionFailed, match="no sudo"):
                connection.run(Command(("true",), user="nobody-here"))
        with pytest.raises(BadInput, match="user name"):
            connection.run(Command(("true",), user="-x"))


def test_run_as_another_user_when_root(connection: SSHConnection) -> None:
    if connection.host.user != "root":
        pytest.skip("not root")
    assert "nobody\n" == connection.run(Command(("id", "-un"), user="nobody")).text


def test_sudo_on_a_host_without_root_runs_as_the_login(connection: SSHConnection) -> None:
    result = connection.run(Command(("id", "-un"), sudo=True))
    assert f"{connection.host.user}\n" == result.text


def test_write_file_creates_folders_mode_and_leaves_no_temporary_file(
    connection: SSHConnection, tmp_path: Path
) -> None:
    data = os.urandom(3 * MIB)
    path = tmp_path / "state" / "deep" / "it's a \"file\""
    connection.write_file(str(path), b"old")
    connection.write_file(str(path), data, 0o640)
    assert data == path.read_bytes()
    assert 0o640 == path.stat().st_mode & 0o777
    assert [path] == list(path.parent.iterdir())
    assert 0o700 == path.parent.stat().st_mode & 0o777


def test_write_file_outside_the_state_directory_is_refused(connection: SSHConnection, tmp_path: Path) -> None:
    for path in (tmp_path / "elsewhere", tmp_path / "state" / ".." / "elsewhere"):
        with pytest.raises(BadInput, match="state directory"):
            connection.write_file(str(path), b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_write_file_cut_short_keeps_the_old_content(connection: SSHConnection, tmp_path: Path) -> None:
    """N2: the live path is never a mixture."""
    path = tmp_path / "state" / "file"
    connection.write_file(str(path), b"old")
    short = scripts.script(scripts.WRITE, str(path), "10", "600", stdin=b"new")
    assert 74 == connection.run(short).status
    assert b"old" == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


def test_read_file_reads_exactly_up_to_its_limit(connection: SSHConnection, tmp_path: Path) -> None:
    path = tmp_path / "-file"
    path.write_bytes(b"0123456789")
    assert b"0123456789" == connection.read_file(str(path), limit=10)
    with pytest.raises(PreconditionFailed, match="larger than 9"):
        connection.read_file(str(path), limit=9)


def test_read_file_that_is_not_there_or_no_file_says_so(connection: SSHConnection, tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="is not there"):
        connection.read_file(str(tmp_path / "absent"))
    with pytest.raises(PreconditionFailed, match="not a regular file"):
        connection.read_file(str(tmp_path))


@pytest.mark.lab
def test_write_file_and_job_on_a_full_disk_name_the_path_and_the_way_out(server: Server, tmp_path: Path) -> None:
    """Fault matrix: target disk full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr}")
    try:
        (disk / "filler").write_bytes(bytes(48 << 10))
        with server.connect(state_dir=str(disk / "state")) as connection:
            with pytest.raises(PreconditionFailed, match=r"is full.*Free space") as caught:
                connection.write_file(str(disk / "state" / "file"), bytes(MIB))
            assert str(disk / "state" / "file") in caught.value.what
            with pytest.raises(PreconditionFailed, match="is full"):
                connection.job("big-input", Command(("cat",), stdin=bytes(MIB)), 1)
        assert not (disk / "state" / "trace").exists()
        assert [] == list((disk / "state" / "jobs").iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_prove_the_right_host_returns_its_facts(connection: SSHConnection, tmp_path: Path) -> None:
    """G7."""
    assert Identity(machine_id=MACHINE_ID, host_key=connection.host.host_key, role="") == identity.prove(connection)
    connection.write_file(str(tmp_path / "state" / "role"), b"staging\n")
    assert "staging" == identity.prove(connection).role


def test_prove_another_machine_is_refused_with_both_ids(server: Server) -> None:
    """G7: the plan means another machine."""
    with server.connect(machine_id="f" * 32) as connection, pytest.raises(Refused) as caught:
        identity.prove(connection)
    assert MACHINE_ID in caught.value.what
    assert "f" * 32 in caught.value.what


def test_prove_another_role_is_refused_with_both_roles(connection: SSHConnection, tmp_path: Path) -> None:
    """G7, G12: a production host is not staging."""
    connection.write_file(str(tmp_path / "state" / "role"), b"production\n")
    with pytest.raises(Refused, match=r"role is production, the plan says staging"):
        identity.prove(connection)


def test_prove_host_without_machine_id_says_which_file(server: Server, tmp_path: Path) -> None:
    with (
        server.connect(machine_id_file=str(tmp_path / "absent")) as connection,
        pytest.raises(PreconditionFailed, match="absent is missing"),
    ):
        identity.prove(connection)


def test_close_twice_is_fine(server: Server) -> None:
    connection = server.connect()
    connection.close()
    connection.close()
    with pytest.raises(Transient):
        connection.run(Command(("true",)))


def test_openssh_is_tested_where_the_lab_is_required() -> None:
    """G11: skipped is not passed."""
    from tests.support.sshservers import find_sshd

    assert find_sshd() or not lab_required()
