"""Files to and from a host by SFTP alone: for hosts whose own programs cannot be relied on."""

from __future__ import annotations

import contextlib
import io
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import paramiko

from blocks.hosts.transport import lost
from model.errors import PreconditionFailed, Transient


@dataclass(frozen=True)
class Sent:
    """One file for a host: content and mode, or where it is a link, its target.

    Attributes:
        path: relative to the folder it goes to.
    """

    path: str
    data: bytes = b""
    mode: int = 0o644
    link: str = ""


@contextlib.contextmanager
def _client(transport: paramiko.Transport, where: str) -> Iterator[paramiko.SFTPClient]:
    try:
        client = paramiko.SFTPClient.from_transport(transport)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if not transport.is_active():
            raise Transient("the SSH connection was lost.", where, "this is tried again") from error
        client = None
    if client is None:
        raise PreconditionFailed(
            "the host's SSH server has no working SFTP.", where, "see `Subsystem sftp` in its sshd_config"
        )
    try:
        yield client
    finally:
        client.close()


def send(transport: paramiko.Transport, folder: str, files: Iterable[Sent], where: str) -> int:
    """Make a folder that must not exist yet and put files into it; returns the bytes sent.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host refuses it, or has no SFTP.
    """
    with _client(transport, where) as client, _refused(where, folder):
        client.mkdir(folder, 0o755)
        made, count = {"."}, 0
        for file in files:
            for parent in reversed(PurePosixPath(file.path).parents):
                if str(parent) not in made:
                    client.mkdir(f"{folder}/{parent}", 0o755)
                    made.add(str(parent))
            path = f"{folder}/{file.path}"
            if file.link:
                client.symlink(file.link, path)
            else:
                client.putfo(io.BytesIO(file.data), path, len(file.data))
                client.chmod(path, file.mode)
                count += len(file.data)
        return count


def remove(transport: paramiko.Transport, folder: str, where: str) -> None:
    """Remove a folder made by `send`; what is not there any more is no error.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host refuses it, or has no SFTP.
    """
    with _client(transport, where) as client, _refused(where, folder):
        _remove(client, folder)


def _remove(client: paramiko.SFTPClient, folder: str) -> None:
    try:
        entries = client.listdir_attr(folder)
    except FileNotFoundError:
        return
    for entry in entries:
        path = f"{folder}/{entry.filename}"
        if stat.S_ISDIR(entry.st_mode or 0):
            _remove(client, path)
        else:
            client.remove(path)
    client.rmdir(folder)


def fetch(transport: paramiko.Transport, path: str, limit: int, where: str) -> bytes:
    """A file's content.

    Raises:
        PreconditionFailed: it is absent, larger than `limit`, or the login may not read it.
        Transient: the connection was lost.
    """
    with _client(transport, where) as client, _refused(where, path), client.open(path, "rb") as file:
        file.prefetch(file.stat().st_size)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise PreconditionFailed(f"{path} is larger than {limit} bytes.", where, "look at it by hand")
    return data


@contextlib.contextmanager
def _refused(where: str, path: str) -> Iterator[None]:
    with lost(where):
        try:
            yield
        except (FileNotFoundError, PermissionError) as error:
            raise PreconditionFailed(
                f"{path}: {error.strerror or error}.", where, "see that the login may do this"
            ) from error
        except OSError as error:
            if (
                error.errno is None and str(error) == "Failure"
            ):  # SFTP's only word for a full disk and much else
                raise PreconditionFailed(
                    f"{path} could not be written by SFTP.", where, "free space there, then run this again"
                ) from error
            raise
