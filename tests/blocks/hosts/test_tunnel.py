"""Tunnels: bytes both ways, half-closed ends, several connections, and what happens when nobody answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from blocks.hosts.connection import SSHConnection
from model.errors import Transient
from tests.support.sshservers import free_port


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that returns everything once the client has finished sending."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,)).start()

    def answer(client: socket.socket) -> None:
        with client:
            data = b""
            while chunk := client.recv(1 << 16):
                data += chunk
            client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(20)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(1 << 16):
            answer += chunk
        return answer


def test_tunnel_moves_bytes_both_ways_for_several_connections(connection: SSHConnection, echo: int) -> None:
    with connection.tunnel("127.0.0.1", echo) as port:
        for size in (5, 3 << 20, 0):
            assert bytes(size) == ask(port, bytes(size))


def test_tunnel_is_closed_with_its_context(connection: SSHConnection, echo: int) -> None:
    with connection.tunnel("127.0.0.1", echo) as port:
        idle = socket.create_connection(("127.0.0.1", port), 5)
    with idle, contextlib.suppress(ConnectionResetError):
        idle.settimeout(10)
        assert b"" == idle.recv(1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)


def test_tunnel_listens_on_the_loopback_only(connection: SSHConnection, echo: int) -> None:
    with connection.tunnel("127.0.0.1", echo) as port, pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", port), 2)


def test_tunnel_to_a_closed_port_says_so_before_it_is_used(connection: SSHConnection) -> None:
    port = free_port()
    with (
        pytest.raises(Transient, match=f"nothing answers at 127.0.0.1:{port}"),
        connection.tunnel("127.0.0.1", port),
    ):
        raise AssertionError("the context began")
