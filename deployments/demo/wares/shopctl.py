"""The shop's supervisor, as it runs on the host: `shopctl start|stop|restart|status` (LSB exit codes).

status: 0 running, 1 supervised but not up (it keeps crashing), 3 stopped. Needs nothing but the standard library, so
that it works while the shop's own packages are damaged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(sys.argv[1])
PYTHON = ROOT / "opt/shop/venv/bin/python"
CONFIG = ROOT / "etc/shop/shop.ini"
PID = ROOT / "run/shop-supervisor.pid"
READY = ROOT / "run/shop.pid"
CRASHED = ROOT / "run/shop.crashed"
LOG = ROOT / "var/log/shop.log"
PATIENCE = 10.0
LONGEST_PAUSE = 5.0


def supervisor() -> int | None:
    """The supervisor's pid if it runs: it holds a lock on its pid file, so an old file never misleads."""
    try:
        with PID.open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(stream.read().strip() or 0) or None
    except (OSError, ValueError):
        pass
    return None


def status() -> int:
    """LSB: 0 running, 1 not up although it should be, 3 stopped."""
    if supervisor() is None:
        return 3
    return 0 if READY.exists() else 1


def start() -> int:
    """Starts the supervisor, which starts the shop; waits until the shop listens or has crashed."""
    if status() == 1:
        stop()  # a supervisor that waits longer and longer between crashes would waste time
    if supervisor() is None:
        READY.unlink(missing_ok=True)
        CRASHED.unlink(missing_ok=True)
        with LOG.open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(ROOT), "supervise"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if READY.exists() and supervisor() is not None:
            return 0
        if CRASHED.exists():
            return 1
        time.sleep(0.02)
    return 1


def stop() -> int:
    """Ends the supervisor, and with it the shop."""
    pid = supervisor()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + PATIENCE
        while supervisor() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        pid = supervisor()
    READY.unlink(missing_ok=True)
    return 0 if pid is None else 1


def supervise() -> int:
    """Keeps the shop running: starts it again when it ends, ever more slowly while it keeps crashing."""
    stream = PID.open("a+")
    fcntl.flock(stream, fcntl.LOCK_EX)
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    child: subprocess.Popen[bytes] | None = None

    def end(*_: object) -> None:
        if child is not None:
            child.kill()
        READY.unlink(missing_ok=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    pause = 0.25
    while True:
        started = time.monotonic()
        command = [str(PYTHON), "-P", "-u", "-m", "shopfront", "--config", str(CONFIG), "--ready", str(READY)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
        code = child.wait()
        READY.unlink(missing_ok=True)
        sys.stderr.write(f"shopctl: the shop ended with {code}\n")
        if time.monotonic() - started < 10:
            CRASHED.touch()
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            pause = 0.25
        time.sleep(pause)


def main() -> int:
    """Runs the verb."""
    verb = sys.argv[2] if len(sys.argv) == 3 else ""
    if verb == "restart":
        return stop() or start()
    verbs = {"start": start, "stop": stop, "status": status, "supervise": supervise}
    if verb not in verbs:
        sys.stderr.write("usage: shopctl start|stop|restart|status\n")
        return 2
    return verbs[verb]()


sys.exit(main())
