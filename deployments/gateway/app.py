"""The gateway's HTTP side: prove, read, map to a host of the plan, keep; then 202 (N4, R-USE-6).

It opens nothing and changes nothing: `tasks.alerting` deals with what the spool holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from blocks.alerts import sns
from blocks.alerts.admission import admit
from blocks.alerts.bounds import LARGEST
from blocks.alerts.spool import Spool, Taken
from model.alerts import Alert
from model.canonical import now
from model.errors import BadInput, PreconditionFailed, Refused, ReinstateError, Transient
from tasks.work import PlanFile

PATIENCE = 10.0
"""Seconds in which a whole message must have come."""

AT_ONCE = 500
"""Alerts that share one sync of the disk."""

QUEUE = 2000
"""Messages that wait for the disk; more are told to come again."""

FRESH = 2.0
"""Seconds for which a secret that was looked up is taken as it is."""

Plans = Callable[[], Mapping[str, PlanFile]]
"""The plans that the gateway serves, by name, as they are now."""


class _Waiting(NamedTuple):
    taken: list[Taken]
    done: asyncio.Future[int]


class Gateway:
    """What one gateway process holds.

    Args:
        plans: the plans as they are now.
        spool: where alerts are kept.
        clock: the present moment.
        get: fetches what Amazon SNS names.
    """

    def __init__(
        self, plans: Plans, spool: Spool, clock: Callable[[], datetime] = now, get: sns.Fetch = sns.fetch
    ) -> None:
        self._plans, self._spool, self._clock, self._get = plans, spool, clock, get
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(QUEUE)

        self._secrets: dict[tuple[Path, tuple[str, ...]], tuple[float, list[str]]] = {}

    def app(self) -> Router:
        """The application: `POST /alerts/PLAN/SOURCE`, `GET /health`."""
        return Router(
            routes=[
                Route("/alerts/{plan}/{source}", _Answering(self.take), methods=["POST"]),
                Route("/health", self.health, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Router) -> AsyncIterator[None]:
        keeper = asyncio.create_task(self._keep())
        yield
        keeper.cancel()

    async def health(self, _: Request) -> JSONResponse:
        """Whether alerts can be kept, and how many messages wait for the disk."""
        return JSONResponse({"status": "ok", "queued": self._queue.qsize()})

    async def take(self, request: Request) -> JSONResponse:
        """One message of a monitoring system."""
        plan, source = request.path_params["plan"], request.path_params["source"]
        try:
            body = await _body(request)
            return await self._take(plan, source, dict(request.headers), body)
        except _Answer as answer:
            return self._refused(plan, source, str(answer), answer.status)
        except Refused as error:
            return self._refused(plan, source, error.what, 401)
        except BadInput as error:
            return self._refused(plan, source, error.what, 422)
        except (Transient, PreconditionFailed) as error:
            return JSONResponse({"error": error.what}, 503, {"Retry-After": "30"})

    async def _take(self, plan: str, source: str, headers: Mapping[str, str], body: bytes) -> JSONResponse:
        file = self._plans().get(plan)
        rules = file.plan.alerts if file is not None else None
        declared = rules.sources.get(source) if rules is not None else None
        if file is None or rules is None or declared is None:
            raise _Answer(404, "no plan has this source.")
        secrets = await self._resolved(file, declared.secrets)
        proof = (declared, headers, body, secrets, self._clock(), self._get)
        admitted = await asyncio.to_thread(admit, *proof) if declared.kind == "sns" else admit(*proof)
        taken: list[Taken] = []
        unknown: list[Alert] = []
        for alert in admitted.alerts:
            host = rules.host_of(alert.target, file.plan.hosts)
            if host is None:
                unknown.append(alert)
            else:
                taken.append(Taken(plan, source, host, alert))
        for alert in unknown[:20]:
            reason = f"{alert.target[:100]!r} is no host of the plan ({alert.cause[:100]})."
            self._spool.refuse(plan, source, reason, self._clock())
        if unknown and not taken:
            return JSONResponse({"error": f"{unknown[0].target[:100]!r} is no host of the plan."}, 422)
        new = await self._kept(taken) if taken else 0
        return JSONResponse(
            {"taken": len(taken), "new": new, "unknown": len(unknown), "note": admitted.note}, 202
        )

    async def _resolved(self, file: PlanFile, references: tuple[str, ...]) -> list[str]:
        """The secrets of a source; looked up beside everything else, for a block asks the Prefect server."""
        at, secrets = self._secrets.get((file.path, references), (0.0, []))
        if time.monotonic() - at > FRESH:
            secrets = await asyncio.to_thread(lambda: [file.secrets.resolve(one) for one in references])
            self._secrets[file.path, references] = (time.monotonic(), secrets)
        return secrets

    def _refused(self, plan: str, source: str, reason: str, status: int) -> JSONResponse:
        with suppress(
            PreconditionFailed
        ):  # the answer says it as well; a full disk is told by the next alert
            self._spool.refuse(plan, source, reason, self._clock())
        return JSONResponse({"error": reason}, status)

    async def _kept(self, taken: list[Taken]) -> int:
        """Wait until alerts are durable; returns how many were new.

        Raises:
            Transient: too many wait already. PreconditionFailed: the disk takes none.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(taken, done))
        except asyncio.QueueFull:
            raise Transient("too many messages wait.", "gateway", "send it again") from None
        return await done

    async def _keep(self) -> None:
        """Keep what has come while the disk was busy, many alerts with one sync."""
        while True:
            batch = [await self._queue.get()]
            while sum(len(one.taken) for one in batch) < AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            taken = [alert for one in batch for alert in one.taken]
            try:
                new = iter(await asyncio.to_thread(self._spool.put, taken, self._clock()))
                for one in batch:
                    _settle(one.done, sum(islice(new, len(one.taken))))
            except ReinstateError as error:
                for one in batch:
                    if not one.done.done():
                        one.done.set_exception(error)


class _Answering:
    """An endpoint without the layers that Starlette puts around a function: a storm pays for each of them."""

    def __init__(self, answer: Callable[[Request], Awaitable[JSONResponse]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


def _settle(done: asyncio.Future[int], value: int) -> None:
    if not done.done():  # whoever asked has hung up
        done.set_result(value)


class _Answer(Exception):
    """A message is answered like this and has no effect."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def _body(request: Request) -> bytes:
    """The raw bytes of a message, no more than are read and no slower than we wait.

    Raises:
        _Answer: too large, compressed, or too slow.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise _Answer(415, "a compressed message is not read.")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > LARGEST:
        raise _Answer(413, f"more than {LARGEST} bytes are not read.")
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(PATIENCE):
            while more:
                part = await request.receive()
                if part["type"] == "http.disconnect":
                    raise _Answer(400, "the message did not come to its end.")
                body += part.get("body", b"")
                more = part.get("more_body", False)
                if len(body) > LARGEST:
                    raise _Answer(413, f"more than {LARGEST} bytes are not read.")
    except TimeoutError:
        raise _Answer(408, "the message came too slowly.") from None
    return bytes(body)
