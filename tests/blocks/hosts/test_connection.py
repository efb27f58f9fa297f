"""The contract of a connection: commands and their streams. Run against every SSH server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from blocks.hosts.base import Connection
from blocks.hosts.connection import SSHConnection
from model.command import Command, Masked
from model.errors import BadInput, PreconditionFailed, Transient
from tests.support.sshservers import Server

MIB = 1 << 20
WORDS = (
    "",
    "two words",
    'it\'s "quoted"',
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
    result = connection.run(
        Command(("sh", "-c", f"echo start; head -c {3 * MIB} /dev/zero; exit 4")), limit=100
    )
    assert (4, 100, True) == (result.status, len(result.stdout), result.truncated)
    assert result.stdout.startswith(b"start\n")


def test_run_killed_by_a_signal_is_not_done(connection: SSHConnection) -> None:
    """None when the login shell replaced itself by the command, 128 + 9 when it waited for it."""
    result = connection.run(Command(("sh", "-c", "echo before; kill -9 $$")))
    assert result.status in {None, 137}
    assert not result.ok
    assert b"before\n" == result.stdout


@pytest.mark.parametrize("script", ["sleep 20", "exec yes", "exec >&- 2>&-; sleep 20"])
def test_run_beyond_its_timeout_is_transient_and_says_it_may_go_on(
    connection: SSHConnection, script: str
) -> None:
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


def test_close_twice_is_fine(server: Server) -> None:
    connection = server.connect()
    connection.close()
    connection.close()
    with pytest.raises(Transient):
        connection.run(Command(("true",)))
