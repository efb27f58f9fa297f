"""A real Alertmanager: Debian's package, unpacked and not installed, on a port of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from deployments.demo.processes import free_port
from tests.support.waiting import wait_for

PACKAGE = "prometheus-alertmanager"
PROGRAM = "/usr/bin/prometheus-alertmanager"


def unpacked(root: Path) -> bool:
    """Unpack the package under `root`, with the C library it runs on; False where that cannot be.

    It is not installed: that would start a service on the tester's machine. It runs in a chroot, because it reads its
    templates at a fixed path.
    """
    if os.geteuid() or shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    root.mkdir()
    if not _downloaded(root):
        _run("apt-get", "-q", "update", timeout=300)
        if not _downloaded(root):
            return False
    (package,) = root.glob("*.deb")
    _run("dpkg-deb", "-x", str(package), str(root), timeout=60).check_returncode()
    for library in re.findall(r"(/\S+) \(0x", _run("ldd", f"{root}{PROGRAM}").stdout):
        copy = Path(f"{root}{library}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)
    return True


def _downloaded(folder: Path) -> bool:
    return _run("apt-get", "-q", "download", PACKAGE, cwd=folder, timeout=120).returncode == 0


def _run(*words: str, cwd: Path | None = None, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@dataclass
class Alertmanager:
    """It runs, and knows one receiver."""

    url: str

    def fire(self, **labels: str) -> None:
        """Tell it that something is wrong, as Prometheus does."""
        alert = {
            "labels": labels, "annotations": {"summary": "The shop does not answer"},
            "startsAt": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        httpx.post(f"{self.url}/api/v2/alerts", json=[alert], timeout=20).raise_for_status()


@contextmanager
def alertmanager(root: Path, receiver: str, token: str) -> Iterator[Alertmanager]:
    """Run what was unpacked under `root` with one receiver, a webhook that is proven by a token."""
    port = free_port()
    (root / "alertmanager.yml").write_text(
        "route: {receiver: reinstate, group_by: [alertname], group_wait: 1s, group_interval: 2s, repeat_interval: 1h}\n"
        "receivers:\n- name: reinstate\n  webhook_configs:\n"
        f"  - url: {receiver}\n    http_config: {{authorization: {{credentials: {token}}}}}\n"
    )
    words = [
        "chroot", str(root), PROGRAM, "--config.file=/alertmanager.yml", "--storage.path=/data",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (root / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for("Alertmanager is ready", lambda: _ready(url), 30)
        yield Alertmanager(url)
    finally:
        process.terminate()
        process.wait(20)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).is_success
    except httpx.HTTPError:
        return False
