"""Named jobs: effects that start at most once, outlive the connection, and leave a result on the host (G2, G3, N6).

On the host, below `STATE_DIR`, owned by root (or by the login where it has no root rights):

    lock            guards the start of jobs
    fence           newest token seen; an older one starts nothing
    trace           one line `TIME TOKEN NAME` per start
    running/NAME    token of a job that may still run; one with another token keeps new jobs out
    jobs/NAME/      made exactly once, by whoever starts the job
        argv        the command as shown to people
        stdin       its input, mode 600, removed when the job ends
        pid         PID SINCE BOOT-ID START-TIME of its process
        claim       made by the process before it begins, or by whoever declares the job lost before that
        out, err    its output
        rc          its exit status, renamed into place when the output is on disk
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from blocks.hosts import elevate, scripts
from blocks.hosts.base import OUTPUT_LIMIT, Connection, JobLost
from model.command import Command, Masked, Result, printable
from model.errors import BadInput, PreconditionFailed, Refused, ReinstateError, Transient

SLOT_SECONDS = 30
"""How long one remote call waits before the next takes over."""

_NAME = re.compile(r"[a-z0-9-]{1,200}\Z")
_LONGEST_LINE = 4096
_TIMED_OUT = 124
"""How `timeout` of coreutils and of busybox ends when it had to stop its program."""


@dataclass
class _Reply:
    """Reads what job.sh prints: lines of words, and the job's output behind `done`."""

    on_wait: Callable[[float], None] | None
    line: bytearray = field(default_factory=bytearray)
    words: list[str] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)

    def __call__(self, chunk: bytes) -> None:
        if self.words[:1] == ["done"]:
            self.output += chunk
            return
        self.line += chunk
        while b"\n" in self.line:
            line, _, rest = bytes(self.line).partition(b"\n")
            self.line = bytearray(rest)
            self.words = line.decode("ascii", "replace").split() or [""]
            if self.words[0] == "done":
                self.output += rest
                return
            if self.words[0] == "wait" and self.on_wait is not None:
                self.on_wait(float(self.words[1]))
        del self.line[_LONGEST_LINE:]


def job(
    connection: Connection,
    name: str,
    command: Command,
    token: int,
    on_wait: Callable[[float], None] | None = None,
) -> Result:
    """Start a named job unless it was started before, wait for it and return its result; see `Connection.job`.

    A job ended by a signal has the shell's status, 128 and the signal's number.
    """
    if not _NAME.match(name) or token < 0:
        raise BadInput(
            f"{name!r} with token {token} is not a job's name and token.",
            connection.name,
            "Report this as a bug.",
        )
    began = time.monotonic()
    while True:
        left = command.timeout - (time.monotonic() - began)
        if left <= 0:
            raise Transient(
                f"the job {name} (`{command.shown()}`) still runs after {command.timeout:g} s.",
                connection.name,
                "Running this again goes on waiting; look at the host if it should have ended.",
            )
        reply = _Reply(on_wait)
        remote = _remote(connection, name, command, token, int(min(left, SLOT_SECONDS)))
        ended = connection.run(remote, on_stdout=reply)
        if ended.status is None:
            raise Transient(
                f"the connection was lost; the job {name} may be running on the host.",
                connection.name,
                "Calling it again on a new connection goes on waiting; it is never started twice.",
            )
        scripts.explain(ended, f"start the job {name}", connection.name, connection.host.state_dir)
        if reply.words[:1] == ["done"]:
            _require_in_time(connection, name, command, int(reply.words[1]))
            return _result(reply, ended, command, time.monotonic() - began)
        if reply.words[:1] != ["running"]:
            raise _problem(reply.words, name, token, connection)


def _remote(connection: Connection, name: str, command: Command, token: int, slot: int) -> Command:
    host = connection.host
    common = scripts.load("job_common.sh")
    size = "-" if command.stdin is None else str(len(command.stdin))
    return scripts.script(
        f"{common}\n{scripts.load('job.sh')}",
        Masked(f"{common}\n{scripts.load('job_runner.sh')}"),
        host.state_dir.rstrip("/"),
        name,
        str(token),
        size,
        str(slot),
        str(OUTPUT_LIMIT),
        command.shown(),
        *elevate.words(host, _bounded(command, connection.longest), elevate.keeper(host), connection.tools),
        stdin=command.stdin,
        timeout=slot + 60.0 + len(command.stdin or b"") / 1e6,
    )


def _bounded(command: Command, longest: float | None) -> Command:
    """The command, stopped by the host itself after so long: nobody need be connected for that."""
    if longest is None:
        return command
    return replace(command, argv=("timeout", "-k", "10", str(math.ceil(longest)), *command.argv))


def _require_in_time(connection: Connection, name: str, command: Command, status: int) -> None:
    if connection.longest is not None and status == _TIMED_OUT:
        raise PreconditionFailed(
            f"the job {name} (`{command.shown()}`) ran longer than {connection.longest:g} s and was stopped.",
            connection.name,
            "Find out what made it slow, or give the asset a longer `step.timeout` in the plan.",
        )


def _result(reply: _Reply, ended: Result, command: Command, seconds: float) -> Result:
    status, out_bytes, err_bytes = (int(word) for word in reply.words[1:4])
    return Result(
        command.shown(),
        status,
        bytes(reply.output),
        ended.stderr,
        seconds,
        out_bytes > len(reply.output) or err_bytes > len(ended.stderr),
    )


def _problem(words: list[str], name: str, token: int, connection: Connection) -> ReinstateError:
    where, verdict, rest = connection.name, words[0] if words else "", printable(" ".join(words[1:]))
    state = connection.host.state_dir
    if verdict == "lost":
        return JobLost(
            f"the job {name} was started, but {rest}.",
            where,
            "What it was to do is probed before a new attempt; the host may have been rebooted.",
        )
    if verdict == "fenced":
        return Refused(
            f"the host's fence holds token {rest}, this run has the older {token}: {name} was not started.",
            where,
            "Another recovery took the host over. Let it finish, or start a new run.",
        )
    if verdict == "busy":
        return Transient(
            f"a job of another run still runs on the host ({rest}): {name} was not started.",
            where,
            f"It is tried again; see {state}/jobs on the host.",
        )
    if verdict == "unreadable":
        return PreconditionFailed(
            f"the fence {state}/fence does not hold a number.",
            where,
            "Find out who changed it; write the newest token of the journal into it.",
        )
    reasons = {
        "locked": (
            f"the lock of {state} is held",
            f"It is tried again; without flock, remove {state}/lock.d by hand.",
        ),
        "gone": ("another caller could not start it", "It is tried again."),
        "short": ("its input arrived only in part", "It is tried again."),
    }
    what, remedy = reasons.get(
        verdict, ("the host's answer was not understood", "See that its sh is intact.")
    )
    return Transient(f"the job {name} was not started: {what}.", where, remedy)
