"""Opening a connection: who is let in, who is refused, and how long it takes to find out."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import asyncssh
import pytest
from pydantic import SecretStr

from blocks.hosts.ssh import SSHHost
from blocks.hosts.transport import CONNECT_SECONDS, DEAD_SECONDS, _client_key
from blocks.secrets import Secrets
from model.command import Command
from model.errors import BadInput, PreconditionFailed, Refused, Transient
from tests.support.sshservers import Server, free_port


def key(server: Server, name: str) -> str:
    return (server.folder / name).read_text()


def _accept_and_close(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_connect_to_a_host_with_another_key_is_refused_with_both_fingerprints(server: Server) -> None:
    """Attack table: changed host key."""
    with pytest.raises(Refused) as caught:
        server.connect(host_key=key(server, "stranger.pub"))
    assert 2 == caught.value.what.count("SHA256:")
    assert "console" in caught.value.remedy


def test_connect_to_a_host_without_a_key_of_the_pinned_type_is_refused(server: Server) -> None:
    """Attack table: unknown key; the host has no RSA key at all."""
    import base64

    blob = b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01\0\0\0\x02\0\xff"
    with pytest.raises(Refused, match=r"SHA256:.*SHA256:"):
        server.connect(host_key=f"ssh-rsa {base64.b64encode(blob).decode()}")


def test_connect_with_a_key_the_host_does_not_know_says_where_it_belongs(server: Server) -> None:
    with pytest.raises(PreconditionFailed, match=r"does not accept the key SHA256:.*authorized_keys"):
        server.connect(key="file:stranger")


def test_connect_with_a_public_key_as_private_key_shows_nothing_of_it(server: Server) -> None:
    (server.folder / "client.pub").chmod(0o600)
    with pytest.raises(PreconditionFailed, match="ssh-keygen") as caught:
        server.connect(key="file:client.pub")
    assert key(server, "client.pub").split()[1] not in str(caught.value)


def test_block_with_a_wrong_field_is_bad_input_that_names_the_field(server: Server) -> None:
    block = server.block().model_copy(update={"host_key": "ssh-ed25519 AAAA!"})
    with pytest.raises(BadInput, match="host_key"):
        block.connect()


def test_connect_to_a_closed_port_is_transient_and_names_it(server: Server) -> None:
    port = free_port()
    with pytest.raises(Transient, match=f"127.0.0.1:{port}.*reachable"):
        server.connect(port=port)


def test_connect_to_a_server_that_hangs_up_is_transient(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hang_up = threading.Thread(target=_accept_and_close, args=(listener,))
        hang_up.start()
        with pytest.raises(Transient, match="SSH connection failed"):
            server.connect(port=listener.getsockname()[1])
        hang_up.join()


def test_connect_to_a_server_that_says_nothing_gives_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.hosts.transport.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(Transient):
            server.connect(port=listener.getsockname()[1])
        assert time.monotonic() - began < 5


def test_connect_uses_a_fast_cipher_and_notices_a_dead_host(server: Server) -> None:
    """speed.md: GCM is the cheapest win; lab.md E: without TCP_USER_TIMEOUT a black hole hangs for ever."""
    with server.connect() as connection:
        transport = connection._transport
        assert "aes128-gcm@openssh.com" == vars(transport)["remote_cipher"]
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert isinstance(transport.sock, socket.socket)
            milliseconds = transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert DEAD_SECONDS * 1000 == milliseconds
    assert CONNECT_SECONDS <= 15


def test_block_needs_no_server_and_hides_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """G9, and the orchestrator may be what is down."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    block = server.block()
    secret = key(server, "client").splitlines()[1]
    assert server.host == block.host()
    with block.connect() as connection:
        shown = [repr(block), str(block), block.model_dump_json(), repr(connection), repr(vars(block))]
        assert all(secret not in text for text in shown)
        assert connection.run(Command(("true",))).ok


def test_key_is_not_in_any_argument_list(server: Server) -> None:
    """G9: `/proc/*/cmdline`."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("no /proc")
    with server.connect() as connection:
        connection.job("listed", Command(("cat",), stdin=b"canary-5f1c"), 1)
        listing = connection.run(
            Command(("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null"), stdin=b"canary-5f1c")
        )
    assert b"canary-5f1c" not in listing.stdout
    assert key(server, "client").splitlines()[1].encode() not in listing.stdout


def test_block_made_by_hand_describes_a_host(server: Server) -> None:
    fields = server.host.model_dump(exclude={"key"})
    block = SSHHost(name="web", private_key=SecretStr(key(server, "client")), **fields)
    assert "block:reinstate-ssh-host/web" == block.host().key
    block.connect().close()


def test_from_plan_with_a_missing_key_names_the_reference(server: Server) -> None:
    host = server.host.model_copy(update={"key": "file:nowhere"})
    with pytest.raises(BadInput, match="file:nowhere"):
        SSHHost.from_plan("web", host, Secrets(server.folder))


@pytest.mark.parametrize("form", ["openssh", "pkcs1-pem", "pkcs8-pem"])
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa"])
def test_client_key_of_every_usual_kind_is_read(kind: str, form: str) -> None:
    if kind == "ssh-ed25519" and form == "pkcs1-pem":
        form = "openssh"  # it has no older form
    for _ in range(1 if kind == "ssh-rsa" else 20):
        made = asyncssh.generate_private_key(kind)
        assert made.public_data == _client_key(made.export_private_key(form).decode(), "web").asbytes()


@pytest.mark.parametrize("form", ["openssh", "pkcs8-pem"])
def test_client_key_with_passphrase_is_refused_with_the_way_out(form: str) -> None:
    made = asyncssh.generate_private_key("ssh-ed25519").export_private_key(form, passphrase="s3cret")
    with pytest.raises(PreconditionFailed, match=r"passphrase.*ssh-keygen"):
        _client_key(made.decode(), "web")


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"]
)
def test_client_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PreconditionFailed, match="not an Ed25519"):
        _client_key(text, "web")
