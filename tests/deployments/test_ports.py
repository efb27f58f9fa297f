"""The port of the UI: somebody else may take it between the look and the server's start."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments.demo.processes import free_port
from deployments.server import up
from deployments.server.engine import Child, start_server
from deployments.server.paths import Paths
from model.errors import ReinstateError


class _Another(http.server.BaseHTTPRequestHandler):
    """Says of everything that it is not for us, as another installation does."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing is logged."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def others(home: Path) -> Iterator[ExitStack]:
    """Servers of others, ended with the test."""
    assert home.is_dir()
    with ExitStack() as stack:
        yield stack


def listen(stack: ExitStack, port: int) -> None:
    """Another program's server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _Another)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def test_port_that_another_takes_meanwhile_is_left_to_it(
    others: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's server is taken for ours because it is healthy; ours starts elsewhere."""
    taken: list[int] = []
    started: list[Paths] = []
    here = Child.__new__(Child)

    def start(paths: Paths, _url: str) -> Child:
        if not taken:
            listen(others, paths.port)
            taken.append(paths.port)
            raise ReinstateError("address already in use", str(paths.port), "look there")
        started.append(paths)
        return here

    monkeypatch.setattr(up, "start_server", start)
    said: list[str] = []
    installation = up.Up([], free_port(), said.append)
    assert here is installation._start_server()
    assert [installation.where] == started
    assert started[0].port not in taken
    assert f"Another program took port {taken[0]}" in said[0]


def test_healthy_server_of_another_is_not_ours(others: ExitStack, home: Path) -> None:
    """The server that answers must know our password; ours cannot bind and says so."""
    port = free_port()
    listen(others, port)
    (home / "up").mkdir()
    with pytest.raises(ReinstateError, match="did not become healthy"):
        start_server(Paths(home / "up", port), f"sqlite+aiosqlite:///{home}/test.db")
