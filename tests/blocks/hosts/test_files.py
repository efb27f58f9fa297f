"""The contract of a connection: small files, and the facts that prove which host it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from blocks.hosts import identity, scripts
from blocks.hosts.base import Identity
from blocks.hosts.connection import SSHConnection
from model.command import Command
from model.errors import BadInput, PreconditionFailed, Refused
from tests.support.sshservers import MACHINE_ID, Server

MIB = 1 << 20


def test_write_file_creates_folders_mode_and_leaves_no_temporary_file(
    connection: SSHConnection, tmp_path: Path
) -> None:
    data = os.urandom(3 * MIB)
    path = tmp_path / "state" / "deep" / 'it\'s a "file"'
    connection.write_file(str(path), b"old")
    connection.write_file(str(path), data, 0o640)
    assert data == path.read_bytes()
    assert 0o640 == path.stat().st_mode & 0o777
    assert [path] == list(path.parent.iterdir())
    assert 0o700 == path.parent.stat().st_mode & 0o777


def test_write_file_outside_the_state_directory_is_refused(connection: SSHConnection, tmp_path: Path) -> None:
    for path in (tmp_path / "elsewhere", tmp_path / "state" / ".." / "elsewhere"):
        with pytest.raises(BadInput, match="state directory"):
            connection.write_file(str(path), b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_write_file_cut_short_keeps_the_old_content(connection: SSHConnection, tmp_path: Path) -> None:
    """N2: the live path is never a mixture."""
    path = tmp_path / "state" / "file"
    connection.write_file(str(path), b"old")
    short = scripts.script(scripts.WRITE, str(path), "10", "600", stdin=b"new")
    assert 74 == connection.run(short).status
    assert b"old" == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


def test_read_file_reads_exactly_up_to_its_limit(connection: SSHConnection, tmp_path: Path) -> None:
    path = tmp_path / "-file"
    path.write_bytes(b"0123456789")
    assert b"0123456789" == connection.read_file(str(path), limit=10)
    with pytest.raises(PreconditionFailed, match="larger than 9"):
        connection.read_file(str(path), limit=9)


def test_read_file_that_is_not_there_or_no_file_says_so(connection: SSHConnection, tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="is not there"):
        connection.read_file(str(tmp_path / "absent"))
    with pytest.raises(PreconditionFailed, match="not a regular file"):
        connection.read_file(str(tmp_path))


@pytest.mark.lab
def test_write_file_and_job_on_a_full_disk_name_the_path_and_the_way_out(
    server: Server, tmp_path: Path
) -> None:
    """Fault matrix: target disk full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr}")
    try:
        (disk / "filler").write_bytes(bytes(48 << 10))
        with server.connect(state_dir=str(disk / "state")) as connection:
            with pytest.raises(PreconditionFailed, match=r"is full.*Free space") as caught:
                connection.write_file(str(disk / "state" / "file"), bytes(MIB))
            assert str(disk / "state" / "file") in caught.value.what
            with pytest.raises(PreconditionFailed, match="is full"):
                connection.job("big-input", Command(("cat",), stdin=bytes(MIB)), 1)
        assert not (disk / "state" / "trace").exists()
        assert [] == list((disk / "state" / "jobs").iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_prove_the_right_host_returns_its_facts(connection: SSHConnection, tmp_path: Path) -> None:
    """G7."""
    assert Identity(machine_id=MACHINE_ID, host_key=connection.host.host_key, role="") == identity.prove(
        connection
    )
    connection.write_file(str(tmp_path / "state" / "role"), b"staging\n")
    assert "staging" == identity.prove(connection).role


def test_prove_another_machine_is_refused_with_both_ids(server: Server) -> None:
    """G7: the plan means another machine."""
    with server.connect(machine_id="f" * 32) as connection, pytest.raises(Refused) as caught:
        identity.prove(connection)
    assert MACHINE_ID in caught.value.what
    assert "f" * 32 in caught.value.what


def test_prove_another_role_is_refused_with_both_roles(connection: SSHConnection, tmp_path: Path) -> None:
    """G7, G12: a production host is not staging."""
    connection.write_file(str(tmp_path / "state" / "role"), b"production\n")
    with pytest.raises(Refused, match=r"role is production, the plan says staging"):
        identity.prove(connection)


def test_prove_host_without_machine_id_says_which_file(server: Server, tmp_path: Path) -> None:
    with (
        server.connect(machine_id_file=str(tmp_path / "absent")) as connection,
        pytest.raises(PreconditionFailed, match="absent is missing"),
    ):
        identity.prove(connection)
