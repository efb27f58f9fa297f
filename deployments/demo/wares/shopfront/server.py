"""The shop's web server."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from . import catalog, health, pages
from .config import Config


class Handler(BaseHTTPRequestHandler):
    """Answers GET requests."""

    server: Shop
    timeout = 30

    def do_GET(self) -> None:
        """Finds the page; whatever goes wrong is a 500 with its reason in the log."""
        path = unquote(urlsplit(self.path).path)
        try:
            status, kind, body = self.answer(path)
        except Exception as error:  # noqa: BLE001 - one broken page must not end the shop
            sys.stderr.write(f"shopfront: {path}: {type(error).__name__}: {error}\n")
            status, kind, body = 500, "text/plain; charset=utf-8", b"The shop is out of order.\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        config = self.server.config
        if path == "/":
            page = pages.front(config.title, catalog.products(config))
            return 200, "text/html; charset=utf-8", page.encode()
        if path == "/orders":
            return 200, "application/json", _json(catalog.latest_orders(config))
        if path == "/health":
            checks = health.check(self.server.config_path)
            sound = all(result == "ok" for result in checks.values())
            status = {"status": "ok" if sound else "failed", "checks": checks}
            return 200 if sound else 503, "application/json", _json(status)
        if path == "/theme.css":
            return 200, "text/css", config.theme.read_bytes()
        file = (config.files / path.removeprefix("/files/")).resolve()
        if path.startswith("/files/") and file.is_relative_to(config.files.resolve()) and file.is_file():
            return 200, "application/octet-stream", file.read_bytes()
        return 404, "text/plain; charset=utf-8", b"Not found.\n"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method we override
        """Keeps the log for what matters."""


class Shop(ThreadingHTTPServer):
    """The server and its configuration."""

    daemon_threads = True

    def __init__(self, path: Path, config: Config) -> None:
        self.config_path = path
        self.config = config
        super().__init__(("127.0.0.1", config.port), Handler)


def serve(path: Path, config: Config, ready: Path) -> None:
    """Serves until SIGTERM or until the supervisor, at the other end of standard input, is gone."""
    shop = Shop(path, config)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=_follow_supervisor, daemon=True).start()
    sys.stderr.write(f"shopfront: open on 127.0.0.1:{config.port}\n")
    ready.write_text(f"{os.getpid()}\n")
    shop.serve_forever()


def _follow_supervisor() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
