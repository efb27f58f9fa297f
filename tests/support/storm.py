"""A storm of alerts: signed messages at a fixed pace over many connections, sent again until they are acknowledged.

The pace does not wait for answers: each acknowledgement is timed from the moment at which its message was due.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from blocks.journals.base import JournalStore
from deployments.demo.processes import listens
from deployments.server.engine import Child, spawn
from model.incident import Source
from model.journal import fold
from tests.model.builders import PLAN_TEXT
from tests.support.waiting import wait_for

KEY = b"0123456789abcdef0123456789abcdef"
SOURCE = "/alerts/shop/monitor"
CONNECTIONS = 50
PATIENCE = 60.0
"""Seconds after which a message that nobody acknowledged is given up."""

AGAIN = 0.05
"""Seconds until a sender that was cut off or refused tries again."""


class Size(NamedTuple):
    """How large a storm is.

    Attributes:
        alerts: messages, each with one alert.
        seconds: in which they are due.
        hosts: that they name.
        causes: for each of them.
    """

    alerts: int
    seconds: float
    hosts: int = 10
    causes: int = 4


@dataclass
class Storm:
    """What came of a storm.

    Attributes:
        taken: fingerprint → seconds from the moment its message was due to its acknowledgement.
        given_up: fingerprints nobody acknowledged.
        before: fingerprints that were acknowledged before what happened in the middle.
        cut: how often a message was sent again, because the line broke or the answer was no 202.
        seconds: until the last acknowledgement.
    """

    taken: dict[str, float] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    cut: int = 0
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the messages was acknowledged."""
        return statistics.quantiles(self.taken.values(), n=1000)[round(share * 1000) - 1]


def write_plan(folder: Path, size: Size) -> Path:
    """A plan whose hosts a storm names, and the secret it is signed with."""
    begin, end = PLAN_TEXT.index("  web-1:\n"), PLAN_TEXT.index("backups:\n")
    host = PLAN_TEXT[begin:end]
    hosts = "".join(host.replace("web-1", f"web-{number}", 1) for number in range(1, size.hosts + 1))
    source = 'alerts: {sources: {monitor: {kind: standard, secrets: ["file:monitor"]}}}\n'
    plan, secret = folder / "plan.yaml", folder / "monitor"
    plan.write_text(PLAN_TEXT[:begin] + hosts + PLAN_TEXT[end:] + source)
    secret.write_text(f"whsec_{base64.b64encode(KEY).decode()}")
    secret.chmod(0o600)
    return plan


class Gateway:
    """A gateway process, as `up` has one: what takes a storm, is killed in it and started again.

    Args:
        plan: file that names the source of the storm.
        home: of the installation.
        port: where it listens, on this machine.
        module: what serves; another one is a peer to compare with.
    """

    def __init__(self, plan: Path, home: Path, port: int, module: str = "deployments.gateway") -> None:
        self._words, self._module = ["--listen", f"127.0.0.1:{port}", str(plan)], module
        self._home, self._port = home, port
        self._child: Child | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        environment = os.environ | {"REINSTATE_HOME": str(self._home)}
        log = self._home.parent / "gateway.log"
        self._child = spawn("gateway", self._module, self._words, environment, log)

    def wait(self) -> None:
        """Until it listens."""
        wait_for("the gateway listens", lambda: listens(self._port), 60)

    def kill_and_start(self) -> None:
        """`kill -9`, and start it anew."""
        assert self._child is not None
        self._child.process.kill()
        self._child.process.wait(10)
        self.start()

    def stop(self) -> None:
        """End it in order."""
        if self._child is not None:
            self._child.stop()

    @property
    def peak(self) -> int:
        """Bytes of memory it had at most."""
        assert self._child is not None
        status = Path(f"/proc/{self._child.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def kept(home: Path) -> set[str]:
    """Fingerprints that the spool holds, dealt with or not, read anew from the disk."""
    with closing(sqlite3.connect(home / "alerts/alerts.sqlite")) as connection:
        return {row[0] for row in connection.execute("SELECT fingerprint FROM alerts")}


def incidents(store: JournalStore) -> Counter[str]:
    """How many incidents are open about each host and cause."""
    states = [fold(store.read(ident)) for ident in store.incidents()]
    of_alerts = [state for state in states if state.ended is None]
    found = [state.require_incident() for state in of_alerts]
    return Counter(one.summary.partition(": ")[0] for one in found if one.source is Source.WEBHOOK)


def messages(size: Size) -> list[tuple[str, bytes]]:
    """(Fingerprint, whole HTTP request) of every alert."""
    stamp = str(int(time.time()))
    return [_message(number, size, stamp) for number in range(size.alerts)]


def _message(number: int, size: Size, stamp: str) -> tuple[str, bytes]:
    fingerprint, host = f"f{number}", number % size.hosts + 1
    body = json.dumps(
        {"fingerprint": fingerprint, "status": "firing", "host": f"web-{host}", "summary": "It does not answer",
         "cause": f"Cause{number // size.hosts % size.causes}", "since": "2026-11-27T09:57:00Z"}
    ).encode()  # fmt: skip
    signed = hmac.new(KEY, f"m{number}.{stamp}.".encode() + body, hashlib.sha256).digest()
    head = (
        f"POST {SOURCE} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\nwebhook-id: m{number}\r\n"
        f"webhook-timestamp: {stamp}\r\nwebhook-signature: v1,{base64.b64encode(signed).decode()}\r\n\r\n"
    )
    return fingerprint, head.encode() + body


def rage(port: int, size: Size, middle: Callable[[], None] | None = None, share: float = 0.5) -> Storm:
    """Send a storm to a port of this machine, over 50 connections.

    Args:
        port: where the gateway listens.
        size: of the storm.
        middle: what happens in the middle of it, if anything.
        share: of the alerts that are acknowledged when it happens.
    """
    storm = Storm()
    asyncio.run(_rage(port, messages(size), size.seconds / size.alerts, storm, middle, share * size.alerts))
    return storm


async def _rage(
    port: int, wanted: Sequence[tuple[str, bytes]], gap: float, storm: Storm, middle: Callable[[], None] | None,
    when: float,
) -> None:  # fmt: skip
    begin = time.monotonic() + 0.2

    async def send(first: int) -> None:
        nonlocal middle
        line = _Line(port)
        for number in range(first, len(wanted), CONNECTIONS):
            due = begin + number * gap
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await _until_taken(line, *wanted[number], due, storm)
            if middle is not None and len(storm.taken) >= when:
                happen, middle, storm.before = middle, None, list(storm.taken)
                happen()
        line.close()

    await asyncio.gather(*(send(first) for first in range(CONNECTIONS)))
    storm.seconds = time.monotonic() - begin


async def _until_taken(line: _Line, fingerprint: str, request: bytes, due: float, storm: Storm) -> None:
    while time.monotonic() < due + PATIENCE:
        try:
            if await line.ask(request) == 202:
                storm.taken[fingerprint] = time.monotonic() - due
                return
        except (OSError, TimeoutError):
            line.close()
        storm.cut += 1
        await asyncio.sleep(AGAIN)
    storm.given_up.append(fingerprint)


class _Line(asyncio.Protocol):
    """One connection that stays open; a client that costs little, for the cores are the gateway's as well."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._read = b""

    async def ask(self, request: bytes) -> int:
        """The status of the answer.

        Raises:
            OSError: the line is cut or cannot be made. TimeoutError: no answer.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        self._answer, self._read = loop.create_future(), b""
        self._transport.write(request)
        async with asyncio.timeout(PATIENCE):
            return await self._answer

    def data_received(self, data: bytes) -> None:
        """Part of an answer; ours have a length."""
        self._read += data
        head, blank, body = self._read.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if blank and len(body) >= int(length) and self._answer is not None and not self._answer.done():
            self._answer.set_result(int(head.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody knows whether what was sent last was taken."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
