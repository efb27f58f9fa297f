"""One command over an open transport: three streams at once, one deadline, output kept up to a cap."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

import paramiko

from blocks.hosts.transport import lost
from model.command import Result
from model.errors import BadInput, Transient

OPEN_SECONDS = 15.0
PACKET = 256 << 10
"""Largest packet we accept; the biggest single gain for downloads that paramiko offers."""
LONGEST_WIRE = 120_000
"""Bytes of a command line; Linux takes 128 KiB for one argument, and the server hands the line over as one."""
_SETTLE_SECONDS = 5.0

Sink = Callable[[bytes], None]


class _Kept:
    """Keeps the first bytes of a stream and notes when there were more."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.limit = limit
        self.truncated = False

    def __call__(self, chunk: bytes) -> None:
        room = self.limit - len(self.data)
        self.data += chunk[:room]
        self.truncated = self.truncated or len(chunk) > room


def execute(
    transport: paramiko.Transport,
    wire: str,
    shown: str,
    *,
    timeout: float,
    limit: int,
    stdin: Iterable[bytes] | None = None,
    on_stdout: Sink | None = None,
    where: str = "",
) -> Result:
    """Run one command line and read it to its end.

    `stdin` is iterated in a helper thread, `on_stdout` is called in the caller's; an error of either ends the call.

    Raises:
        Transient: nothing was started because the connection is gone, or the deadline passed (the command may go on).
        BadInput: the command line is longer than hosts accept.
    """
    if len(wire.encode("utf-8", "surrogateescape")) > LONGEST_WIRE:
        raise BadInput(
            f"the command line `{shown[:80]}…` is longer than {LONGEST_WIRE} bytes.",
            where,
            "Hand long lists over on standard input.",
        )
    began = time.monotonic()
    with lost(where):
        channel = transport.open_session(max_packet_size=PACKET, timeout=min(timeout, OPEN_SECONDS))
    expired = threading.Event()
    watchdog = threading.Timer(timeout, _expire, (channel, expired))
    watchdog.daemon = True
    watchdog.start()
    kept, errors = _Kept(limit), _Kept(limit)
    try:
        # A call that dies here is not known to have started nothing: the request may have reached the host.
        with lost(where):
            channel.exec_command(wire)
        _pump(channel, stdin, on_stdout or kept, errors)
        finished = channel.exit_status >= 0 and (channel.eof_received or transport.is_active())
    except Transient:
        if not expired.is_set():
            raise
        finished = False
    finally:
        watchdog.cancel()
        channel.close()
    if expired.is_set() and not finished:
        raise Transient(
            f"`{shown}` did not end within {timeout:g} s and may still be running on the host.",
            where,
            "Look at the host's load; this is tried again.",
        )
    return Result(
        shown,
        channel.exit_status if finished else None,
        bytes(kept.data),
        bytes(errors.data),
        time.monotonic() - began,
        kept.truncated or errors.truncated,
    )


def _expire(channel: paramiko.Channel, expired: threading.Event) -> None:
    expired.set()
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # gone already
        channel.close()


def _pump(channel: paramiko.Channel, stdin: Iterable[bytes] | None, out: Sink, err: Sink) -> None:
    """Move all three streams until the host closes its two and the command has ended, or the channel is closed."""
    helpers = ThreadPoolExecutor(2, thread_name_prefix="ssh")
    tasks = [helpers.submit(_drain, channel.recv_stderr, err)]
    if stdin is None:
        _end_input(channel)
    else:
        feeding = helpers.submit(contextvars.copy_context().run, _feed, channel, stdin)
        # An upload that cannot go on must not look like one that ended: the channel goes, and the error with it.
        feeding.add_done_callback(lambda done: channel.close() if done.exception() else None)
        tasks.append(feeding)
    try:
        _drain(channel.recv, out)
        channel.status_event.wait()
        for task in tasks:
            if task.done() or task is tasks[0]:
                task.result()
    finally:
        channel.close()
        # One that still waits for its source ends with the next chunk; one that hangs in a write, with the connection.
        wait(tasks, _SETTLE_SECONDS)
        helpers.shutdown(wait=False)


def _drain(receive: Callable[[int], bytes], sink: Sink) -> None:
    while chunk := receive(PACKET):
        sink(chunk)


def _feed(channel: paramiko.Channel, chunks: Iterable[bytes]) -> None:
    piece = channel.out_max_packet_size
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            try:
                sent = channel.send(bytes(view[:piece]))
            except OSError:  # the command ended or closed its input; its status says why
                return
            if not sent:
                return
            view = view[sent:]
    _end_input(channel)


def _end_input(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # the command has ended already
        channel.shutdown_write()
