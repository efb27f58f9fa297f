"""Probes against a real HTTP server, from here and from the host."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from checks import probe
from model.finding import CheckResult, Verdict
from model.plan import Probe
from tests.checks.local import LocalConnection


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(3)
        self.send_response({"/moved": 302, "/broken": 500}.get(self.path, 200))
        self.send_header("Location", "/")
        self.end_headers()
        with suppress(BrokenPipeError):  # whoever asked does not wait for what is slow
            self.wfile.write(b"no database\n" if self.path == "/broken" else b"hello\nshop")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _without_curl(folder: Path) -> LocalConnection:
    (folder / "bin").mkdir()
    (folder / "bin/curl").write_text("#!/bin/sh\nexit 127\n")
    (folder / "bin/curl").chmod(0o755)
    return LocalConnection(path=f"{folder}/bin:/usr/bin:/bin")


@pytest.fixture(params=["here", "curl", "python3"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> LocalConnection | None:
    if request.param == "here":
        return None
    return LocalConnection() if request.param == "curl" else _without_curl(tmp_path)


def check(connection: LocalConnection | None, url: str, **more: object) -> CheckResult:
    asked = Probe.model_validate({"name": "home", "url": url, "timeout": 1} | more)
    return probe.judge(asked, "web-1", probe.collect(asked, connection))


def test_probe_that_gets_what_it_expects_passes(connection: LocalConnection | None, url: str) -> None:
    assert Verdict.PASSED is check(connection, f"{url}/", contains="shop").verdict
    assert Verdict.PASSED is check(connection, f"{url}/moved", status=302).verdict


@pytest.mark.parametrize(
    ("path", "contains", "reason"),
    [
        ("/broken", "", "status 500: no database"),
        ("/moved", "", "status 302"),
        ("/", "absent", "does not contain"),
        ("/slow", "", ""),
    ],
)
def test_probe_that_gets_something_else_fails_with_the_reason(
    connection: LocalConnection | None, url: str, path: str, contains: str, reason: str
) -> None:
    result = check(connection, f"{url}{path}", contains=contains)
    assert Verdict.FAILED is result.verdict
    assert reason in result.findings[0].actual
    assert result.findings[0].actual


def test_probe_of_a_closed_port_fails(connection: LocalConnection | None) -> None:
    assert Verdict.FAILED is check(connection, "http://127.0.0.1:1/").verdict
