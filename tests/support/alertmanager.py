"""A real Alertmanager: Debian's package, unpacked and not installed, on a port of this machine."""

from __future__ import annotations

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


def binary(folder: Path) -> Path | None:
    """The program: installed, or unpacked from the package of the machine's mirror; None where neither can be."""
    if found := shutil.which(PACKAGE):
        return Path(found)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    folder.mkdir(exist_ok=True)
    got = subprocess.run(
        ["apt-get", "-q", "download", PACKAGE],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    packages = sorted(folder.glob("*.deb"))
    if got.returncode or not packages:
        return None
    subprocess.run(["dpkg-deb", "-x", str(packages[-1]), str(folder / "root")], check=True, timeout=60)
    return folder / "root/usr/bin" / PACKAGE


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
def alertmanager(program: Path, folder: Path, receiver: str, token: str) -> Iterator[Alertmanager]:
    """Run it with one receiver, a webhook that is proven by a token."""
    port = free_port()
    configuration = folder / "alertmanager.yml"
    configuration.write_text(
        "route: {receiver: reinstate, group_by: [alertname], group_wait: 1s, group_interval: 2s, repeat_interval: 1h}\n"
        "receivers:\n- name: reinstate\n  webhook_configs:\n"
        f"  - url: {receiver}\n    http_config: {{authorization: {{credentials: {token}}}}}\n"
    )
    words = [
        str(program), f"--config.file={configuration}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (folder / "alertmanager.log").open("wb") as log:
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
