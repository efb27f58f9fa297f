"""An S3 server for a session of tests: OpenStack Swift with its s3api, rootless, from the Python package index."""

from __future__ import annotations

import getpass
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "lab:lab", "labsecret"
_ROOT = Path(__file__).parents[2]
_SERVERS = ("account", "container", "object", "proxy")

_BACKEND = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/dev
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = ERROR
[pipeline:main]
pipeline = {server}-server
[app:{server}-server]
use = egg:swift#{server}
{extra}
"""
_OBJECT = "network_chunk_size = 1048576\ndisk_chunk_size = 1048576\nmb_per_sync = 4096"
_PROXY = """[DEFAULT]
bind_ip = {address}
bind_port = {port}
{tls}
workers = {workers}
user = {user}
swift_dir = {folder}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo versioned_writes symlink proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
paste.filter_factory = tests.support.swift_cache:filter_factory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = no
location = us-east-1
force_swift_request_proxy_log = no
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
user_lab_lab = labsecret .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
yield_frequency = 0
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
object_chunk_size = 1048576
client_chunk_size = 1048576
"""


@dataclass
class S3Server:
    """A running server; `stop` ends exactly the processes it started."""

    endpoint: str
    processes: list[subprocess.Popen[bytes]]

    def stop(self) -> None:
        """End it."""
        for process in self.processes:  # each leads a group, and its workers are in it
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()


def start_s3(
    folder: Path, address: str = "127.0.0.1", certificate: Path | None = None, workers: int = 0
) -> S3Server:
    """Start a server with its data in `folder` and wait until it answers.

    Args:
        folder: a folder on a file system with user attributes.
        address: where it listens; the hosts of the laboratory reach this machine under `LabHost.gateway`.
        certificate: PEM file with key and certificate; with one, it speaks TLS.
        workers: processes that answer; 0: one, which is its own supervisor.
    """
    (folder / "dev" / "d1").mkdir(parents=True)
    ports = dict(zip(_SERVERS, _free_ports(4), strict=True))
    tools = Path(sys.executable).parent
    (folder / "swift.conf").write_text(
        f"[swift-hash]\nswift_hash_path_prefix = {secrets.token_hex(8)}\nswift_hash_path_suffix = x\n"
        "[storage-policy:0]\nname = gold\npolicy_type = replication\ndefault = yes\n"
    )
    user = getpass.getuser()
    for server in _SERVERS[:3]:
        builder = str(folder / f"{server}.builder")
        ring = str(tools / "swift-ring-builder")
        subprocess.run([ring, builder, "create", "4", "1", "1"], check=True, capture_output=True)
        place = f"r1z1-127.0.0.1:{ports[server]}/d1"
        subprocess.run([ring, builder, "add", place, "1"], check=True, capture_output=True)
        subprocess.run([ring, builder, "rebalance"], check=False, capture_output=True)
        extra = _OBJECT if server == "object" else ""
        (folder / f"{server}-server.conf").write_text(
            _BACKEND.format(server=server, port=ports[server], user=user, folder=folder, extra=extra)
        )
    (folder / "proxy-server.conf").write_text(
        _PROXY.format(
            port=ports["proxy"],
            user=user,
            folder=folder,
            workers=workers,
            address=address,
            tls=f"cert_file = {certificate}\nkey_file = {certificate}" if certificate else "",
        )
    )
    server_env = dict(os.environ, HOME=str(folder), PYTHONWARNINGS="ignore", PYTHONPATH=str(_ROOT))
    started = S3Server(f"{'https' if certificate else 'http'}://{address}:{ports['proxy']}", [])
    for server in _SERVERS:
        with (folder / f"{server}.log").open("ab") as log:
            started.processes.append(
                subprocess.Popen(
                    [str(tools / f"swift-{server}-server"), str(folder / f"{server}-server.conf")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=server_env,
                    start_new_session=True,
                )
            )
    try:
        for server in _SERVERS:
            host = address if server == "proxy" else "127.0.0.1"
            _wait_for(host, ports[server], folder / f"{server}.log")
    except TimeoutError:
        started.stop()
        raise
    return started


def _wait_for(host: str, port: int, log: Path, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), 0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"the S3 server did not come up: {log.read_text()[-2000:]}")
