"""Named jobs: started at most once, whatever happens to the connection, the starter or the host (G2, G3, N6)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.hosts.connection import SSHConnection
from blocks.hosts.jobs import _Reply
from model.command import Command
from model.errors import BadInput, PreconditionFailed, Refused, ReinstateError, Transient
from tests.blocks.hosts.jobtools import once, start_and_drop, trace, wait_for
from tests.support.sshservers import Server


@pytest.fixture
def state(server: Server) -> Path:
    return Path(server.host.state_dir)


def test_job_returns_status_and_output_and_leaves_a_trace(connection: SSHConnection, state: Path) -> None:
    command = Command(
        ("sh", "-c", 'cat; echo "$1" >&2; umask; exit 3', "sh", "it's $(x)\n–"), stdin=b"in\0put"
    )
    result = connection.job("first", command, 7)
    assert (3, "it's $(x)\n–\n".encode()) == (result.status, result.stderr)
    assert result.stdout.startswith(b"in\0put0")
    assert oct(os.umask(os.umask(0o022)))[2:] in result.text or "0022" in result.text
    assert "7\n" == (state / "fence").read_text()
    assert ["first"] == trace(state)
    assert not (state / "jobs" / "first" / "stdin").exists()
    assert 0o700 == state.stat().st_mode & 0o777
    assert [] == list((state / "running").iterdir())


def test_job_called_again_returns_the_stored_result(
    connection: SSHConnection, state: Path, tmp_path: Path
) -> None:
    """G2: executing twice equals once."""
    results = [connection.job("again", once(tmp_path / "effect"), 1) for _ in range(3)]
    assert {b"done\n"} == {result.stdout for result in results}
    assert "started\n" == (tmp_path / "effect").read_text()
    assert ["again"] == trace(state)


def test_job_result_is_returned_to_an_older_token_too(connection: SSHConnection, tmp_path: Path) -> None:
    connection.job("older", once(tmp_path / "effect"), 1)
    connection.job("newer", Command(("true",)), 2)
    assert b"done\n" == connection.job("older", once(tmp_path / "effect"), 1).stdout


def test_job_survives_a_dropped_connection(server: Server, state: Path, tmp_path: Path) -> None:
    """Fact 6: a drop is not a stop; the next connection reads the result."""
    effect = tmp_path / "effect"
    start_and_drop(server, "dropped", once(effect, 1.5))
    with server.connect() as connection:
        assert b"done\n" == connection.job("dropped", once(effect, 1.5), 1).stdout
    assert "started\n" == effect.read_text()
    assert ["dropped"] == trace(state)


def test_job_result_is_there_after_it_ended_unattended(server: Server, tmp_path: Path) -> None:
    effect = tmp_path / "effect"
    start_and_drop(server, "unattended", once(effect, 0.5))
    wait_for(Path(server.host.state_dir) / "jobs" / "unattended" / "rc")
    with server.connect() as connection:
        assert b"done\n" == connection.job("unattended", once(effect, 0.5), 1).stdout


def test_job_started_by_many_at_once_runs_once(server: Server, state: Path, tmp_path: Path) -> None:
    """Bar: start races, 0 overlaps in the host-side trace."""
    effect = tmp_path / "effect"
    connections = [server.connect() for _ in range(6)]
    gate = threading.Barrier(len(connections))

    def start(connection: SSHConnection) -> bytes:
        gate.wait()
        return connection.job("raced", once(effect, 0.3), 1).stdout

    with ThreadPoolExecutor(len(connections)) as pool:
        outputs = list(pool.map(start, connections))
    for connection in connections:
        connection.close()
    assert [b"done\n"] * len(connections) == outputs
    assert "started\n" == effect.read_text()
    assert ["raced"] == trace(state)


def test_jobs_of_many_tokens_at_once_never_overlap(server: Server, tmp_path: Path) -> None:
    """N6: at most one fenced writer per host; the older one is refused or had ended before."""
    log = tmp_path / "log"
    script = 'echo begin >>"$1"; sleep 0.2; echo end >>"$1"'
    connections = [server.connect() for _ in range(6)]
    gate = threading.Barrier(len(connections))

    def start(numbered: tuple[int, SSHConnection]) -> type[ReinstateError] | None:
        token, connection = numbered
        gate.wait()
        try:
            connection.job(f"writer-{token}", Command(("sh", "-c", script, "sh", str(log))), token)
        except (Refused, Transient) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(len(connections)) as pool:
        ends = list(pool.map(start, enumerate(connections, start=1)))
    for connection in connections:
        connection.close()
    ran = ends.count(None)
    assert ran >= 1
    assert ["begin", "end"] * ran == log.read_text().split()


def test_job_with_an_older_token_is_refused_without_effect(
    connection: SSHConnection, state: Path, tmp_path: Path
) -> None:
    """G3."""
    connection.job("new", Command(("true",)), 5)
    with pytest.raises(Refused, match=r"holds token 5, this run has the older 4"):
        connection.job("old", once(tmp_path / "effect"), 4)
    assert not (tmp_path / "effect").exists()
    assert not (state / "jobs" / "old").exists()
    assert ["new"] == trace(state)


def test_job_waits_until_that_of_an_older_token_has_ended(
    server: Server, connection: SSHConnection, tmp_path: Path
) -> None:
    """N6: a fenced-off writer may still be writing."""
    start_and_drop(server, "slow", once(tmp_path / "effect", 1.5), token=1)
    with pytest.raises(Transient, match=r"another run still runs on the host \(slow 1\)"):
        connection.job("eager", Command(("true",)), 2)
    with pytest.raises(Refused):
        connection.job("late", Command(("true",)), 1)
    wait_for(Path(server.host.state_dir) / "jobs" / "slow" / "rc")
    assert connection.job("eager", Command(("true",)), 2).ok


def test_job_with_a_broken_fence_is_refused(connection: SSHConnection, state: Path) -> None:
    """G8: fail closed."""
    connection.write_file(str(state / "fence"), b"five\n")
    with pytest.raises(PreconditionFailed, match="does not hold a number"):
        connection.job("job", Command(("true",)), 6)
    assert not (state / "jobs" / "job").exists()


def test_job_beyond_its_timeout_goes_on_and_can_be_waited_for(
    connection: SSHConnection, tmp_path: Path
) -> None:
    effect = tmp_path / "effect"
    with pytest.raises(Transient, match="still runs after 1 s"):
        connection.job("patient", once(effect, 2, timeout=1), 1)
    assert b"done\n" == connection.job("patient", once(effect, 2), 1).stdout
    assert "started\n" == effect.read_text()


def test_job_longer_than_its_step_may_take_is_stopped_by_the_host(
    connection: SSHConnection, tmp_path: Path
) -> None:
    """The host stops it by itself, and calling it again does not start it again."""
    effect = tmp_path / "effect"
    connection.longest = 1
    for _ in range(2):
        with pytest.raises(PreconditionFailed, match="ran longer than 1 s and was stopped"):
            connection.job("slow", once(effect, 30), 1)
    assert "started\n" == effect.read_text()
    assert b"" == connection.job("quick", Command(("true",)), 1).stdout


def test_job_tells_about_once_a_second_how_long_it_runs(connection: SSHConnection) -> None:
    told: list[float] = []
    connection.job("told", Command(("sleep", "2.2")), 1, told.append)
    assert 2 <= len(told) <= 5
    assert sorted(told) == told
    assert told[-1] >= 1


def test_job_output_beyond_the_cap_is_kept_on_the_host(connection: SSHConnection, state: Path) -> None:
    size = 9 << 20
    result = connection.job("loud", Command(("sh", "-c", f"head -c {size} /dev/zero; exit 1"), timeout=60), 1)
    assert (1, 8 << 20, True) == (result.status, len(result.stdout), result.truncated)
    assert size == (state / "jobs" / "loud" / "out").stat().st_size


def test_job_with_eight_mebibytes_of_input_gets_them_all(connection: SSHConnection, state: Path) -> None:
    data = os.urandom(8 << 20)
    assert data == connection.job("fed", Command(("cat",), stdin=data, timeout=60), 1).stdout
    assert ["fed"] == sorted(path.name for path in (state / "jobs").iterdir())


def test_job_that_starts_a_service_does_not_wait_for_it(connection: SSHConnection) -> None:
    """A daemon that keeps its output open would hang an ordinary session."""
    began = time.monotonic()
    result = connection.job("service", Command(("sh", "-c", "sleep 6 & echo up"), timeout=30), 1)
    assert b"up\n" == result.stdout
    assert time.monotonic() - began < 5


def test_job_command_that_is_not_there_returns_127(connection: SSHConnection) -> None:
    result = connection.job("absent", Command(("/no/such/program",)), 1)
    assert 127 == result.status
    assert b"/no/such/program" in result.stderr


@pytest.mark.parametrize("name", ["", "../up", "a b", "UPPER", "a/b", "x" * 201, "line\n"])
def test_job_with_a_name_that_is_none_is_refused(connection: SSHConnection, name: str) -> None:
    with pytest.raises(BadInput):
        connection.job(name, Command(("true",)), 1)


def test_job_reply_split_anywhere_is_read_the_same() -> None:
    told: list[float] = []
    text = b"wait 0\nwait 12\ndone 3 5 0\nwait\n"
    for size in range(1, len(text) + 1):
        told.clear()
        reply = _Reply(told.append)
        for start in range(0, len(text), size):
            reply(text[start : start + size])
        assert (["done", "3", "5", "0"], b"wait\n", [0.0, 12.0]) == (reply.words, bytes(reply.output), told)


def test_job_cut_off_at_any_time_still_happens_once(server: Server, state: Path, tmp_path: Path) -> None:
    """Fault matrix: drop before, during and after the start; the input never stays behind."""
    for number in range(10):
        effect, name = tmp_path / f"effect-{number}", f"cut-{number}"
        command = Command(once(effect, 0.05).argv, stdin=b"secret", timeout=30)
        with server.connect() as connection:
            cut = threading.Timer(number * 0.012, connection.close)
            cut.start()
            with contextlib.suppress(Transient):
                connection.job(name, command, number)
            cut.join()
        with server.connect() as connection:
            assert b"done\n" == connection.job(name, command, number).stdout
        assert "started\n" == effect.read_text()
    assert [f"cut-{number}" for number in range(10)] == trace(state)
    assert [] == [*state.glob("jobs/.*"), *state.glob("jobs/*/stdin"), *state.glob("running/*")]
