"""What messages are delivered to: a real SMTP server and a real webhook, both on this machine, each with its faults."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

import pytest

T = TypeVar("T")


@dataclass(frozen=True)
class Mail:
    """A mail that the server took."""

    sender: str
    to: str
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["subject"])

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain", "html"))
        assert part is not None
        return str(part.get_content())


class _Session(socketserver.StreamRequestHandler):
    """RFC 5321 as far as a sender needs it."""

    server: SmtpServer

    def handle(self) -> None:
        self._say("220 test")
        sender, to = "", list[str]()
        while line := self.rfile.readline().decode().strip():
            verb = line.upper()
            if verb.startswith("MAIL FROM:"):
                sender = line[10:].split("<")[1].split(">")[0]
                self._say("250 ok")
            elif verb.startswith("RCPT TO:"):
                one = line[8:].split("<")[1].split(">")[0]
                answer = self.server.refuse.get(one, "250 ok")
                to += [one] if answer.startswith("250") else []
                self._say(answer)
            elif verb == "DATA":
                self._take(sender, to)
                to = []
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 test")

    def _take(self, sender: str, to: list[str]) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.server.mails += [Mail(sender, one, message) for one in to]
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class SmtpServer(socketserver.ThreadingTCPServer):
    """Takes mail; `refuse` maps addresses to the answer they get."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[Mail] = []
        self.refuse: dict[str, str] = {}

    @property
    def url(self) -> str:
        """As an Apprise URL for one person at a time."""
        return f"mailto://127.0.0.1:{self.server_address[1]}/?from=plan@example.org&to={{to}}&mode=insecure"


@dataclass(frozen=True)
class Post:
    """A request that the webhook received, whatever it answered."""

    path: str
    data: dict[str, object]


@dataclass
class Webhook:
    """Receives JSON; what it answers is said by `status`, `pause` and `drop`."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    status: int = 200
    pause: float = 0.0
    drop: bool = False

    def url(self, path: str = "hook") -> str:
        """As an Apprise URL."""
        return f"json://127.0.0.1:{self.port}/{path}"


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that runs."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["content-length"])))
            hook.posts.append(Post(self.path, data))
            time.sleep(hook.pause)
            if hook.drop:
                self.close_connection = True
                return
            self.send_response(hook.status)
            if 300 <= hook.status < 400:
                self.send_header("Location", f"http://127.0.0.1:{hook.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_port
        yield from _served(server, hook)


@contextmanager
def smtp() -> Iterator[SmtpServer]:
    """An SMTP server that runs."""
    with SmtpServer() as server:
        yield from _served(server, server)


def _served(server: socketserver.BaseServer, value: T) -> Iterator[T]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield value
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def nobody() -> Iterator[int]:
    """A port on which nobody listens, held so that nobody else takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook for one test."""
    with webhook() as running:
        yield running


@pytest.fixture
def mail() -> Iterator[SmtpServer]:
    """A mail server for one test."""
    with smtp() as running:
        yield running
