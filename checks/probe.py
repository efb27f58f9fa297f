"""HTTP probes: does the service answer as the plan says, seen from the orchestrator or from the host itself?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import httpx

from blocks.hosts.base import Connection
from model.command import Command, printable
from model.errors import Transient
from model.finding import CheckResult, Code, Degree, Finding, Verdict, judged
from model.plan import Plan, Probe

BODY_LIMIT = 1 << 20
"""Bytes of a body that are searched for the expected text."""

# The same on hosts without curl: body, newline, status; no redirects, no proxies.
_GET = """
import sys
import urllib.error
import urllib.request

class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay())
try:
    answer = opener.open(sys.argv[1], timeout=float(sys.argv[2]))
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    sys.exit(str(error))
sys.stdout.buffer.write(answer.read(int(sys.argv[3])) + b"\\n%d" % answer.getcode())
"""

SHOWN = 160
"""Characters of an answer that a finding quotes."""


@dataclass(frozen=True)
class Answer:
    """What a probe got: a status and a body, or the reason why there is none."""

    status: int | None
    body: str
    reason: str = ""


def collect(probe: Probe, connection: Connection | None = None) -> Answer:
    """Send one probe; redirects are not followed, proxies not used.

    Args:
        probe: what to ask.
        connection: the host to ask from; None asks from here.

    Raises:
        Transient: the connection to the host was lost.
    """
    if connection is not None:
        return _from_host(probe, connection)
    try:
        with (
            httpx.Client(timeout=probe.timeout, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", probe.url) as answer,
        ):
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) >= BODY_LIMIT:
                    break
            return Answer(answer.status_code, body[:BODY_LIMIT].decode("utf-8", "replace"))
    except httpx.TimeoutException:
        return Answer(None, "", f"no answer within {probe.timeout:g} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(None, "", f"{type(error).__name__}: {error}")


def _from_host(probe: Probe, connection: Connection) -> Answer:
    words: tuple[str, ...]
    words = ("curl", "--globoff", "--silent", "--show-error", "--noproxy", "*", "--max-time", f"{probe.timeout:g}",
             "--max-filesize", str(BODY_LIMIT), "--write-out", "\n%{http_code}", "--", probe.url)  # fmt: skip
    result = connection.run(Command(words, timeout=probe.timeout + 15), limit=2 * BODY_LIMIT)
    if result.status == 127:
        words = ("python3", "-I", "-", probe.url, f"{probe.timeout:g}", str(BODY_LIMIT))
        again = Command(words, stdin=_GET.encode(), timeout=probe.timeout + 15)
        result = connection.run(again, limit=2 * BODY_LIMIT)
    if result.status is None:
        raise Transient("the connection was lost during a probe.", connection.name, "run it again")
    body, _, status = result.text.rpartition("\n")
    if not result.ok or not status.isdigit():
        reason = "neither curl nor python3 runs on the host" if result.status == 127 else result.tail(1)
        return Answer(None, "", reason or f"curl ended with {result.status}")
    return Answer(int(status), body)


def judge(probe: Probe, host: str, answer: Answer) -> CheckResult:
    """Compare an answer with what the plan expects."""
    actual = ""
    if answer.status is None:
        actual = answer.reason
    elif answer.status != probe.status:
        actual = f"status {answer.status}: {printable(answer.body.strip())[:SHOWN]}"
    elif probe.contains not in answer.body:
        actual = "the answer does not contain it"
    expected = f"status {probe.status}" + (f" and {probe.contains!r}" if probe.contains else "")
    findings = (
        (
            Finding(
                code=Code.PROBE_FAILED, host=host, asset=probe.name, subject=probe.url, degree=Degree.TOTAL,
                expected=expected, actual=actual,
            ),
        )
        if actual
        else ()
    )  # fmt: skip
    return judged("probe", host, probe.name, 1, findings, "probes")


def probe_host(plan: Plan, probe: Probe) -> str:
    """Which host a probe tells about: the one it is sent from, else the plan's first."""
    return probe.from_host or next(iter(plan.hosts))


def probe_all(plan: Plan, connect: Callable[[str], Connection]) -> tuple[CheckResult, ...]:
    """Send every probe of a plan, opening connections only for those sent from a host."""
    with ExitStack() as stack:
        hosts = sorted({probe.from_host for probe in plan.checks.probes if probe.from_host})
        connections = {host: stack.enter_context(connect(host)) for host in hosts}
        return probe_with(plan, connections)


def probe_with(plan: Plan, connections: Mapping[str, Connection]) -> tuple[CheckResult, ...]:
    """Send every probe of a plan over open connections; a plan without probes gives no results."""
    results = []
    for probe in plan.checks.probes:
        start = time.monotonic()
        connection = connections.get(probe.from_host) if probe.from_host else None
        if probe.from_host and connection is None:
            result = CheckResult(
                check="probe", host=probe.from_host, asset=probe.name, verdict=Verdict.ERROR, examined=0,
                sentence=f"{probe.name} was not probed: host {probe.from_host} cannot be reached.",
                not_checked=(f"{probe.name}: host {probe.from_host} cannot be reached",),
            )  # fmt: skip
        else:
            result = judge(probe, probe_host(plan, probe), collect(probe, connection))
        results.append(result.model_copy(update={"seconds": round(time.monotonic() - start, 3)}))
    return tuple(results)
