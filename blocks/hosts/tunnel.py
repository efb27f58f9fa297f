"""A local TCP port that leads, through the SSH connection, to an address as the host sees it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import paramiko

from blocks.hosts.transport import lost
from model.errors import PreconditionFailed, Transient

_OPEN_SECONDS = 15.0
_CHUNK = 64 << 10
_LOG = logging.getLogger("reinstate.tunnel")
_PROHIBITED = 1  # RFC 4254, section 5.1: SSH_OPEN_ADMINISTRATIVELY_PROHIBITED


@contextlib.contextmanager
def tunnel(transport: paramiko.Transport, address: str, port: int, where: str) -> Iterator[int]:
    """Forward a free local port to `address:port` seen from the host, for the time of the context.

    The way is opened before the context begins, and used by the first local connection.

    Raises:
        Transient: nothing answers at that address, or the connection is lost.
        PreconditionFailed: the SSH server does not forward.
    """
    first = _open(transport, address, port, where)
    with contextlib.ExitStack() as stack:
        stack.callback(first.close)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        relay = _Relay(listener, transport, (address, port), where, first)
        stack.callback(relay.stop)
        relay.start()
        yield int(listener.getsockname()[1])


def _open(transport: paramiko.Transport, address: str, port: int, where: str) -> paramiko.Channel:
    target = f"{address}:{port}"
    try:
        with lost(where):
            return transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=_OPEN_SECONDS
            )
    except Transient as error:
        if not isinstance(error.__cause__, paramiko.ChannelException):
            raise
        if error.__cause__.code == _PROHIBITED:
            raise PreconditionFailed(
                f"the SSH server does not forward to {target}.",
                where,
                f"Set `AllowTcpForwarding local` (and `PermitOpen {target}`) for this login in sshd_config.",
            ) from error
        raise Transient(
            f"nothing answers at {target} on the host.", where, f"See that {target} listens."
        ) from error


class _Relay(threading.Thread):
    """Accepts local connections and moves their bytes."""

    def __init__(
        self,
        listener: socket.socket,
        transport: paramiko.Transport,
        target: tuple[str, int],
        where: str,
        first: paramiko.Channel,
    ) -> None:
        super().__init__(name="ssh-tunnel", daemon=True)
        self._listener = listener
        self._transport = transport
        self._target = target
        self._where = where
        self._first: paramiko.Channel | None = first
        self._lock = threading.Lock()
        self._stopped = False
        self._ends: list[tuple[socket.socket, paramiko.Channel]] = []
        self._pumps: list[threading.Thread] = []

    def run(self) -> None:
        while True:
            try:
                local, _ = self._listener.accept()
            except OSError:  # stopped
                return
            try:
                self._connect(local)
            except (Transient, PreconditionFailed) as error:
                _LOG.warning("A connection through the tunnel was closed: %s", error)
                local.close()  # the local client sees what it would see on the host: a refused connection

    def _connect(self, local: socket.socket) -> None:
        channel, self._first = self._first, None
        channel = channel or _open(self._transport, *self._target, self._where)
        with self._lock:
            if self._stopped:
                local.close()
                channel.close()
                return
            self._ends.append((local, channel))
        for pump in (_upwards, _downwards):
            thread = threading.Thread(target=pump, args=(local, channel), name="ssh-tunnel", daemon=True)
            self._pumps.append(thread)
            thread.start()

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        with self._lock:
            self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(_OPEN_SECONDS)
        for local, channel in self._ends:
            with contextlib.suppress(OSError):
                local.shutdown(socket.SHUT_RDWR)
            channel.close()
        for pump in self._pumps:
            pump.join(_OPEN_SECONDS)
        for local, _ in self._ends:
            local.close()


def _upwards(local: socket.socket, channel: paramiko.Channel) -> None:
    with contextlib.suppress(
        OSError, EOFError, paramiko.SSHException
    ):  # either end went away: so does the other
        while data := local.recv(_CHUNK):
            channel.sendall(data)
        channel.shutdown_write()
        return
    channel.close()


def _downwards(local: socket.socket, channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while data := channel.recv(_CHUNK):
            local.sendall(data)
        local.shutdown(socket.SHUT_WR)
        return
    channel.close()
