"""A storm of alerts: signed messages at a fixed pace over many connections, sent again until they are acknowledged.

The pace does not wait for answers: each acknowledgement is timed from the moment at which its message was due.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.model.builders import PLAN_TEXT

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


FULL = Size(20_000, 10.0)
TENTH = Size(2_000, 1.0)


@dataclass
class Storm:
    """What came of a storm.

    Attributes:
        taken: fingerprint → seconds from the moment its message was due to its acknowledgement.
        given_up: fingerprints nobody acknowledged.
        cut: how often a message was sent again, because the line broke or the answer was no 202.
        seconds: until the last acknowledgement.
    """

    taken: dict[str, float] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
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


def rage(port: int, size: Size, at: Sequence[tuple[float, Callable[[], None]]] = ()) -> Storm:
    """Send a storm to a port of this machine, over 50 connections.

    Args:
        port: where the gateway listens.
        size: of the storm.
        at: what happens in the middle of it: (share of the alerts that were acknowledged, what is called then).
    """
    storm = Storm()
    asyncio.run(_rage(port, size, storm, list(at)))
    return storm


async def _rage(port: int, size: Size, storm: Storm, at: list[tuple[float, Callable[[], None]]]) -> None:
    wanted = messages(size)
    begin = time.monotonic() + 0.2
    gap = size.seconds / size.alerts

    def happen() -> None:
        while at and len(storm.taken) >= at[0][0] * size.alerts:
            at.pop(0)[1]()

    async def send(first: int) -> None:
        line = _Line(port)
        for number in range(first, size.alerts, CONNECTIONS):
            due = begin + number * gap
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await _until_taken(line, *wanted[number], due, storm)
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
