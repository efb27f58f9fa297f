"""One private bridge, one address range and one directory per test session.

A session that was killed leaves containers behind; the next session on this machine finds that the owner's lock is free
and clears them away.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import ipaddress
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.lab import containers
from tests.lab.base import LabError, cache_directory, locked, run

_OWNER = "owner.lock"
_BRIDGE = "bridge"
_POOL = ipaddress.ip_network("10.64.0.0/10")
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_INSTANCES_NEEDED = 1024
_ROOMY = 8 << 30
"""Bytes of free memory from which on hosts live in memory: a host that syncs its disk waits for all others' writes."""


class LabSession:
    """The network and the directory that the hosts of one process share.

    Attributes:
        directory: Holds one sub-directory per host.
        bridge: Name of the network bridge.
        network: Its address range.
        gateway: This machine's address in it; hosts reach services of the test process there.
    """

    def __init__(self, cache: Path | None = None) -> None:
        """Clear away what dead sessions left, then claim a directory and a free address range.

        Args:
            cache: The laboratory's cache directory; `cache_directory()` by default.
        """
        runs = (cache or cache_directory()) / "run"
        token = secrets.token_hex(4)
        self._process = os.getpid()
        self.directory = runs / token
        self.bridge = f"rlab{token}"
        with locked(runs / "sessions.lock"):
            _clear_dead_sessions(runs)
            self.directory.mkdir(parents=True)
            _into_memory(self.directory)
            self._owner = _own(self.directory)
            (self.directory / _BRIDGE).write_text(self.bridge, encoding="utf-8")
            self.network = _free_network()
            self.gateway = str(self.network[1])
            _add_bridge(self.bridge, f"{self.gateway}/{self.network.prefixlen}")
        _allow_many_systemds()
        self._free = [str(address) for address in reversed(list(self.network.hosts())[9:])]
        atexit.register(self.close)

    def take_address(self) -> str:
        """Return an address that no other host of this session has."""
        if not self._free:
            raise LabError(f"all addresses of {self.network} are in use")
        return self._free.pop()

    def give_address(self, address: str) -> None:
        """Take back an address whose host is gone."""
        self._free.append(address)

    def close(self) -> None:
        """End every host of this session and remove the bridge; safe to call twice."""
        if os.getpid() != self._process:
            return  # a forked child inherits the exit handler, not the hosts
        atexit.unregister(self.close)
        if self.directory.exists():
            _clear(self.directory)
        self._owner.close()


def link_exists(name: str) -> bool:
    """Return whether this machine has a network interface of that name."""
    return Path("/sys/class/net", name).exists()


def remove_link(name: str) -> None:
    """Remove a network interface, its other end included; does nothing when there is none."""
    with contextlib.suppress(LabError):  # it went away by itself between the look and the removal
        if link_exists(name):
            run(["ip", "link", "delete", name])
    containers.wait_until(lambda: not link_exists(name), f"interface {name} to go", 10)


def _own(directory: Path) -> IO[str]:
    handle = (directory / _OWNER).open("a", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise
    return handle


def _clear_dead_sessions(runs: Path) -> None:
    for directory in runs.iterdir():
        if not directory.is_dir():
            continue
        try:
            owner = _own(directory)
        except BlockingIOError:
            continue
        with owner:
            _clear(directory)


def _clear(directory: Path) -> None:
    for root in directory.glob("*/root"):
        if containers.is_mounted(root):
            containers.end(root)
            containers.unmount(root)
    bridge = directory / _BRIDGE
    if bridge.is_file():
        remove_link(bridge.read_text(encoding="utf-8"))
    if containers.is_mounted(directory):
        run(["umount", "--lazy", str(directory)])  # the owner's lock is still open in it
    shutil.rmtree(directory)


def _into_memory(directory: Path) -> None:
    """Put a directory into memory where there is plenty and its file system knows extended attributes (Linux 6.6)."""
    available = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("MemAvailable:")
    )
    if available < _ROOMY:
        return
    run(["mount", "-t", "tmpfs", "-o", f"size={available // 2},mode=755", "reinstate-lab", str(directory)])
    try:
        os.setxattr(directory, "user.reinstate", b"1")
    except OSError:
        run(["umount", str(directory)])


def _free_network() -> ipaddress.IPv4Network:
    taken = list(_networks_in_use())
    for _ in range(100):
        candidate = ipaddress.IPv4Network(
            (int(_POOL[0]) + 256 * secrets.randbelow(_POOL.num_addresses // 256), 24)
        )
        if not any(candidate.overlaps(other) for other in taken):
            return candidate
    raise LabError(f"no free address range in {_POOL}")


def _networks_in_use() -> Iterator[ipaddress.IPv4Network]:
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        if route["dst"] != "default":
            yield ipaddress.IPv4Network(route["dst"], strict=False)


def _add_bridge(name: str, address: str) -> None:
    run(["ip", "link", "add", name, "type", "bridge"])
    run(["ip", "address", "add", address, "dev", name])
    run(["ip", "link", "set", name, "up"])


def _allow_many_systemds() -> None:
    # At the usual 128 the 23rd host boots without systemd and hangs.
    if int(_INSTANCES.read_text()) < _INSTANCES_NEEDED:
        _INSTANCES.write_text(str(_INSTANCES_NEEDED))
