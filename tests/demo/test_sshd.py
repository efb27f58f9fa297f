"""The demo's SSH server behaves like OpenSSH where the product depends on it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from deployments.demo.processes import wait_until
from deployments.demo.world import World


def connect(world: World, *, user: str | None = None, key: paramiko.PKey | None = None) -> paramiko.SSHClient:
    host = world.facts.host
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    kind, blob = host.host_key.split()
    server_key = paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
    client.get_host_keys().add(f"[{host.address}]:{host.port}", kind, server_key)
    client.connect(
        host.address,
        host.port,
        user or host.user,
        pkey=key or paramiko.Ed25519Key.from_private_key_file(str(host.client_key)),
        allow_agent=False,
        look_for_keys=False,
        timeout=10,
    )
    return client


@pytest.fixture(scope="module")
def ssh(healthy: World) -> Iterator[paramiko.SSHClient]:
    """A connection to the host."""
    client = connect(healthy)
    yield client
    client.close()


def run(client: paramiko.SSHClient, line: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    writer, reader, errors = client.exec_command(line, timeout=20)
    writer.write(stdin)
    writer.channel.shutdown_write()
    out, err = reader.read(), errors.read()
    return reader.channel.recv_exit_status(), out, err


def test_command_exit_status_and_both_streams_arrive(ssh: paramiko.SSHClient, healthy: World) -> None:
    status, out, err = run(ssh, "pwd; echo wrong >&2; exit 3")

    assert (3, b"wrong\n") == (status, err)
    assert str(healthy.facts.host.root).encode() + b"\n" == out


def test_command_environment_is_clean(ssh: paramiko.SSHClient, healthy: World) -> None:
    _, out, _ = run(ssh, "env")
    names = {line.partition(b"=")[0].decode() for line in out.splitlines()}
    allowed = {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "LC_ALL",
        "SHELL",
        "USER",
        "LOGNAME",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }

    assert {"REINSTATE_DEMO_WORLD"} == names - allowed
    assert f"HOME={healthy.facts.host.root}".encode() in out.splitlines()


def test_stdin_and_bulk_output_arrive_whole(ssh: paramiko.SSHClient) -> None:
    assert (0, b"3000000\n", b"") == run(ssh, "wc -c | tr -d ' '", b"x" * 3_000_000)
    status, out, _ = run(ssh, "head -c 20000000 /dev/zero")
    assert (0, 20_000_000) == (status, len(out))


def test_slow_reader_gets_every_byte(ssh: paramiko.SSHClient) -> None:
    """What an ended command wrote is not dropped because the client takes its time."""
    _, reader, _ = ssh.exec_command("head -c 9000000 /dev/zero", timeout=20)
    time.sleep(2.5)

    assert 9_000_000 == len(reader.read())


def test_killed_command_has_no_exit_status(ssh: paramiko.SSHClient) -> None:
    """As with OpenSSH: paramiko answers -1, which means unknown."""
    assert -1 == run(ssh, "kill -9 $$")[0]


def test_detached_job_outlives_the_connection(healthy: World) -> None:
    """G2: long steps leave a durable result on the host, also after an SSH drop."""
    result = healthy.facts.host.root / "tmp/detached"
    result.unlink(missing_ok=True)
    client = connect(healthy)
    start = (
        "setsid nohup sh -c 'sleep 0.7; echo done > tmp/detached' >/dev/null 2>&1 </dev/null & echo started"
    )
    assert (0, b"started\n", b"") == run(client, start)
    client.close()

    assert wait_until(lambda: result.exists() and result.read_text() == "done\n", timeout=10)


def test_job_that_keeps_the_pipe_does_not_hold_the_session(ssh: paramiko.SSHClient) -> None:
    begin = time.monotonic()

    assert (0, b"here\n") == run(ssh, "setsid sleep 8 & echo here")[:2]
    assert time.monotonic() - begin < 6


def test_hang_up_ends_the_session_command(healthy: World) -> None:
    beat = healthy.facts.host.root / "tmp/beat"
    client = connect(healthy)
    client.exec_command("while :; do date +%N > tmp/beat; sleep 0.05; done")
    assert wait_until(beat.exists, timeout=10)
    client.close()

    def stands() -> bool:
        last = beat.read_text()
        time.sleep(0.5)  # ten beats
        return last == beat.read_text()

    assert wait_until(stands, timeout=20)


def test_sftp_sees_the_same_paths_as_commands(ssh: paramiko.SSHClient, healthy: World) -> None:
    target = healthy.facts.host.root / "tmp/ü upload"
    with ssh.open_sftp() as sftp:
        with sftp.open(str(target), "wb") as stream:
            stream.write(b"bytes")
        sftp.chmod(str(target), 0o640)
        sftp.posix_rename(str(target), f"{target}.2")
        assert str(healthy.facts.host.root) == sftp.normalize(".")
    assert (0, b"bytes", b"") == run(ssh, "cat 'tmp/ü upload.2'")


def test_forwarding_reaches_loopback_and_nothing_else(ssh: paramiko.SSHClient, healthy: World) -> None:
    transport = ssh.get_transport()
    assert transport is not None
    channel = transport.open_channel("direct-tcpip", ("127.0.0.1", healthy.facts.shop.port), ("127.0.0.1", 1))
    channel.sendall(b"GET /theme.css HTTP/1.0\r\n\r\n")
    assert channel.recv(12).endswith(b"200")
    channel.close()
    with pytest.raises(paramiko.ChannelException):
        transport.open_channel("direct-tcpip", ("192.0.2.1", 80), ("127.0.0.1", 1))


def test_other_keys_and_other_users_are_refused(healthy: World) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        connect(healthy, key=paramiko.ECDSAKey.generate())
    with pytest.raises(paramiko.AuthenticationException):
        connect(healthy, user="somebody-else")


def test_sandbox_leaves_the_rest_read_only(ssh: paramiko.SSHClient, healthy: World, tmp_path: Path) -> None:
    """Where bwrap works, the host writes nowhere but in the demo's folder."""
    if not healthy.facts.host.confined:
        pytest.skip("bwrap cannot be used here")
    status, _, err = run(ssh, f"touch '{tmp_path}/outside'")

    assert 0 != status
    assert b"Read-only" in err
    assert 0 == run(ssh, f"touch '{healthy.facts.folder}/inside'")[0]


def test_services_are_driven_over_ssh(ssh: paramiko.SSHClient, healthy: World) -> None:
    """What the product does: it restarts the database and the shop from within a session."""
    for service in (healthy.facts.database.service, healthy.facts.shop.service):
        assert 0 == run(ssh, f"'{service.stop[0]}' stop")[0]
        assert 3 == run(ssh, f"'{service.status[0]}' status")[0]
        assert 0 == run(ssh, f"'{service.start[0]}' start")[0]
    database = healthy.facts.database
    query = (
        f"'{database.bin_dir}/psql' -h 127.0.0.1 -p {database.port} -U {database.user} -Atc 'select 1' shop"
    )
    assert (0, b"1\n", b"") == run(ssh, query)
    assert wait_until(lambda: healthy.health().ok, timeout=5)
