"""A relay on this machine that cuts, slows down or refuses connections: what networks and object stores do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Trouble:
    """What happens to one connection.

    Attributes:
        up: cut once so many bytes went to the server; -1: never.
        down: cut once so many bytes came from the server; -1: never.
        answer: what the client gets at once instead of any server.
        pace: bytes per second from the server at most; 0: as fast as they come.
    """

    up: int = -1
    down: int = -1
    answer: bytes = b""
    pace: int = 0


def http(status: str) -> Trouble:
    """An object store's error."""
    return Trouble(answer=f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


@dataclass
class Relay:
    """A running relay.

    Attributes:
        troubles: taken one by one by the connections they are meant for; the rest passes through.
        meant: whether a connection is meant, by the first bytes of its client.
        usual: what happens to those that are meant once `troubles` is empty.
        carried: bytes that came from the server to those that are meant.
        sent: bytes that went to the server from those that are meant.
    """

    target: tuple[str, int]
    port: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    meant: Callable[[bytes], bool] = lambda _first: True
    usual: Trouble = field(default_factory=Trouble)
    carried: int = 0
    sent: int = 0
    _open: set[socket.socket] = field(default_factory=set)

    def cut_all(self) -> None:
        """Every connection ends now."""
        for one in list(self._open):
            _end(one)

    def serve(self, listener: socket.socket) -> None:
        """Until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        self._open.add(client)
        # Servers that speak first (SSH) are not waited for: their client speaks at once, too.
        first = client.recv(_CHUNK)
        meant = bool(first) and self.meant(first)
        trouble = Trouble()
        if meant:
            trouble = self.troubles.pop(0) if self.troubles else self.usual
        if not first or trouble.answer:
            with contextlib.suppress(OSError):
                client.sendall(trouble.answer)
            _end(client)
            return
        server = socket.create_connection(self.target)
        self._open.add(server)
        upward = threading.Thread(
            target=self._upward, args=(client, server, first, trouble, meant), daemon=True
        )
        upward.start()
        left, began, passed = trouble.down, time.monotonic(), 0
        with contextlib.suppress(OSError):
            while left and (chunk := server.recv(_CHUNK if left < 0 else min(left, _CHUNK))):
                client.sendall(chunk)
                passed += len(chunk)
                left -= len(chunk) if left > 0 else 0
                self.carried += len(chunk) if meant else 0
                if trouble.pace:
                    time.sleep(max(0.0, began + passed / trouble.pace - time.monotonic()))
        _end(client)
        _end(server)

    def _upward(
        self, client: socket.socket, server: socket.socket, first: bytes, trouble: Trouble, meant: bool
    ) -> None:
        left, chunk = trouble.up, first
        with contextlib.suppress(OSError):
            while chunk and left:
                server.sendall(chunk)
                self.sent += len(chunk) if meant else 0
                left = max(0, left - len(chunk)) if left > 0 else left
                chunk = client.recv(_CHUNK) if left else b""
        if not left:
            _end(client)
        _end(server)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def relay(host: str, port: int) -> Iterator[Relay]:
    """A relay to a server; its own port is in `port`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Relay((host, port), listener.getsockname()[1])
        thread = threading.Thread(target=running.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(5)
            running.cut_all()
