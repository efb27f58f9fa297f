"""The world's processes: started detached, recognised by a mark in their environment, ended by pid only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

MARK = "REINSTATE_DEMO_WORLD"
"""Environment variable that holds the world's id in every process of the world, detached ones included."""

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

_children: dict[int, subprocess.Popen[bytes]] = {}


def clean_environment(world_id: str, **more: str) -> dict[str, str]:
    """An environment that has nothing of the caller's: no credentials, no virtual environment."""
    return {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", MARK: world_id, **more}


def spawn(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> int:
    """Starts a process in a session of its own that outlives this one; its output goes to a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    return child.pid


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: str = "",
    timeout: float = 120,
) -> str:
    """Runs a command to its end and returns its standard output.

    Raises:
        RuntimeError: it failed; the message names the command and has the end of its output.
    """
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=dict(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        tail = (done.stderr or done.stdout)[-800:].strip()
        raise RuntimeError(f"{Path(argv[0]).name} ended with {done.returncode}: {tail}")
    return done.stdout


def free_port(preferred: int | None = None) -> int:
    """A TCP port of 127.0.0.1 that nobody listens on; the preferred one if it is free."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError("no free TCP port on 127.0.0.1")


def wait_until(condition: Callable[[], bool], *, timeout: float, step: float = 0.03) -> bool:
    """Whether the condition became true in time (seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.3).close()
    except OSError:
        return False
    return True


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be collected by its parent does not."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    return True


def is_ours(pid: int, world_id: str, folder: Path) -> bool:
    """Whether a pid, perhaps read from an old file, is a process of this world and not a stranger with its number."""
    if pid <= 1 or pid == os.getpid() or not alive(pid):
        return False
    proc = Path(f"/proc/{pid}")
    if proc.is_dir():
        with contextlib.suppress(OSError):
            if _marked(proc, world_id):
                return True
            return os.fsencode(folder) in (proc / "cmdline").read_bytes()
        return False
    listing = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return os.fsencode(folder) in listing.stdout


def read_pid(path: Path) -> int | None:
    """The pid in a file's first line, or None."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def marked(world_id: str) -> list[int]:
    """Every process that carries this world's mark (Linux; elsewhere the pid files must do)."""
    own = {os.getpid(), os.getppid()}
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(proc.name) not in own and _marked(proc, world_id) and alive(int(proc.name)):
                found.append(int(proc.name))
    return found


def end(pids: Iterable[int], *, patience: float = 5) -> None:
    """Ends processes: asks them, waits for `patience` seconds, then kills what is left."""
    left = [pid for pid in pids if alive(pid)]
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, sent)
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            left = [pid for pid in left if alive(pid)]
            time.sleep(0.02 if left else 0)
        if not left:
            return
    raise RuntimeError(f"processes {left} did not end, not even when killed")


def _marked(proc: Path, world_id: str) -> bool:
    mark = f"{MARK}={world_id}".encode()
    return mark in (proc / "environ").read_bytes().split(b"\0")
