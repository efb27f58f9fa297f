"""Opening an SSH transport: one pinned host key, one client key, modern algorithms, a limit on every wait."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import socket
import time
from collections.abc import Iterator

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from model.command import printable
from model.errors import PreconditionFailed, Refused, Transient, Unsupported
from model.host import Host
from model.proofs import fingerprint

CONNECT_SECONDS = 10.0
"""Limit of each part of opening: TCP, banner, key exchange, authentication."""
KEEPALIVE_SECONDS = 5
DEAD_SECONDS = 15
"""Seconds without an acknowledgement from the host's kernel after which the connection counts as lost."""

REKEY_BYTES = 1 << 34
"""Bytes after which new keys are made: paramiko's 512 MiB is far below what AES needs (RFC 4344, 3.2: 2^36 here), and a
channel that closes during the exchange makes its transport wait for itself until the connection dies."""

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

# Every failure reaches the caller as an error of ours; without a handler Python would print paramiko's log as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@contextlib.contextmanager
def lost(where: str) -> Iterator[None]:
    """Turn every way paramiko reports a dead or dying connection into Transient."""
    try:
        yield
    except (EOFError, OSError, paramiko.SSHException) as error:
        reason = printable(str(error)) or type(error).__name__
        raise Transient(
            f"the SSH connection failed: {reason}.",
            where,
            "See that the host is up and reachable; this is tried again.",
        ) from error


def open_transport(host: Host, private_key: str, where: str) -> paramiko.Transport:
    """Connect, prove that the host holds the pinned key, and log in.

    Args:
        host: address, port, login and pinned host key.
        private_key: text of an unencrypted private key.
        where: the host's name for messages.

    Raises:
        Transient: the host cannot be reached or does not answer in time.
        Refused: the host proved another key than the pinned one.
        PreconditionFailed: the login was refused, or the client key cannot be used.
        Unsupported: the host offers only algorithms that are no longer safe.
    """
    pinned = base64.b64decode(host.host_key.split()[1])
    key = _client_key(private_key, where)
    transport: paramiko.Transport | None = None
    try:
        with lost(where):
            sock = socket.create_connection((host.address, host.port), CONNECT_SECONDS)
            _watch(sock)
            transport = paramiko.Transport(sock)
        _negotiate(transport, host.host_key.split()[0], where)
        _prove_host_key(transport, pinned, where)
        _log_in(transport, host.user, key, where)
    except BaseException:
        if transport is not None:
            transport.close()
        raise
    transport.set_keepalive(KEEPALIVE_SECONDS)
    transport.packetizer.REKEY_BYTES = REKEY_BYTES
    return transport


def _client_key(text: str, where: str) -> paramiko.PKey:
    """Read a private key of any usual form.

    paramiko itself knows no PKCS#8, and takes half of the ECDSA keys without comment for damaged: it gets a form in
    which it reads every key.
    """
    data = text.strip().encode() + b"\n"
    load = (
        serialization.load_ssh_private_key if b"BEGIN OPENSSH" in data else serialization.load_pem_private_key
    )
    clear = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat
    try:
        key = load(data, None)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return paramiko.Ed25519Key.from_private_key(_file(key.private_bytes(pem, form.OpenSSH, clear)))
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return paramiko.ECDSAKey.from_private_key(
                _file(key.private_bytes(pem, form.TraditionalOpenSSL, clear))
            )
        if isinstance(key, rsa.RSAPrivateKey):
            return paramiko.RSAKey.from_private_key(
                _file(key.private_bytes(pem, form.TraditionalOpenSSL, clear))
            )
    except TypeError as error:
        raise PreconditionFailed(
            "the client key is protected by a passphrase.",
            where,
            "Give Reinstate a key of its own without passphrase: `ssh-keygen -t ed25519 -N '' -f reinstate`.",
        ) from error
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException):
        pass  # said below, without the key's text
    raise PreconditionFailed(
        "the client key is not an Ed25519, ECDSA or RSA private key.",
        where,
        "Make one with `ssh-keygen -t ed25519 -N '' -f reinstate` and point the host's `key` to it.",
    )


def _file(data: bytes) -> io.StringIO:
    return io.StringIO(data.decode())


def _watch(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000)


def _negotiate(transport: paramiko.Transport, pinned_type: str, where: str) -> None:
    options = transport.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _MACS
    # The pinned type first. The others stay, so that a host without it is refused by name and not by "no match".
    wanted = ("rsa-sha2-512", "rsa-sha2-256") if pinned_type == "ssh-rsa" else (pinned_type,)
    options.key_types = sorted(_KEYS, key=lambda kind: kind not in wanted)
    transport.banner_timeout = CONNECT_SECONDS
    transport.handshake_timeout = CONNECT_SECONDS
    transport.auth_timeout = CONNECT_SECONDS
    try:
        with lost(where):
            transport.start_client(timeout=CONNECT_SECONDS)
    except Transient as error:
        if isinstance(error.__cause__, paramiko.ssh_exception.IncompatiblePeer):
            raise Unsupported(
                f"the host offers only outdated SSH algorithms ({printable(str(error.__cause__))}).",
                where,
                "Update the host's SSH server, or allow it a current key exchange, cipher, MAC and host key "
                "(curve25519-sha256, aes128-gcm, hmac-sha2-256, ssh-ed25519).",
            ) from error
        raise
    if not transport.initial_kex_done:
        raise Transient(
            f"the host did not finish the key exchange within {CONNECT_SECONDS:g} s.",
            where,
            "This is tried again.",
        )


def _prove_host_key(transport: paramiko.Transport, pinned: bytes, where: str) -> None:
    with lost(where):
        proved = transport.get_remote_server_key().asbytes()
    if proved != pinned:
        raise Refused(
            f"the host proved the key {fingerprint(proved)}, the plan pins {fingerprint(pinned)}.",
            where,
            "If the host was reinstalled, compare its key on its own console (`ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub`) and publish a plan with the new one. If not, somebody answers in "
            "its place: do not go on.",
        )


def _log_in(transport: paramiko.Transport, user: str, key: paramiko.PKey, where: str) -> None:
    began = time.monotonic()
    try:
        transport.auth_publickey(user, key)
    except paramiko.AuthenticationException as error:
        if not transport.is_active() or time.monotonic() - began >= CONNECT_SECONDS:
            raise Transient("the host went away during the login.", where, "This is tried again.") from error
        raise _login_refused(user, key, where) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Transient(
            f"the login was interrupted: {printable(str(error)) or type(error).__name__}.",
            where,
            "This is tried again.",
        ) from error
    if not transport.is_authenticated():
        raise _login_refused(user, key, where)


class LoginRefused(PreconditionFailed):
    """The host proved its key and does not accept ours for this login."""

    code = "LOGIN_REFUSED"


def _login_refused(user: str, key: paramiko.PKey, where: str) -> LoginRefused:
    return LoginRefused(
        f"the host does not accept the key {fingerprint(key.asbytes())} for the login {user}.",
        where,
        f"Put the public key into ~{user}/.ssh/authorized_keys on the host, or correct `user` and `key` in the plan.",
    )
