"""Our SSH streams against the system's `ssh` with its default cipher."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.command import Command
from tests.bench.examining import plan_host
from tests.bench.lab import Lab, Row, by_hand, side_by_side

BYTES = 256 << 20
CHUNK = 1 << 20


def measure(lab: Lab) -> Iterator[Row]:
    """A large file each way, one login each."""
    host = lab.ours.host
    blob = lab.folder / "blob"
    with blob.open("wb") as file:
        file.truncate(BYTES)
    remote = "/var/tmp/blob"
    host.must(["sh", "-c", f"head -c {BYTES} /dev/zero >{remote}"])
    block = SSHHost.from_plan("bench", plan_host(host), Secrets(lab.folder))

    def download() -> None:
        count = 0

        def sink(chunk: bytes) -> None:
            nonlocal count
            count += len(chunk)

        with block.connect() as connection:
            connection.run(Command(("cat", remote), timeout=300.0), on_stdout=sink)
        assert count == BYTES

    def upload() -> None:
        def chunks() -> Iterator[bytes]:
            with blob.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk

        with block.connect() as connection:
            result = connection.run(Command(("wc", "-c"), timeout=300.0), source=chunks())
        assert int(result.text) == BYTES

    def ssh_download() -> None:
        by_hand(host, lab.folder, f"cat {remote}", stdout=subprocess.DEVNULL)

    def ssh_upload() -> None:
        with blob.open("rb") as file:
            by_hand(host, lab.folder, "wc -c", stdin=file, stdout=subprocess.DEVNULL)

    note = f"{BYTES >> 20} MiB"
    yield Row("SSH download ÷ ssh cat", *side_by_side(download, ssh_download), note)
    yield Row("SSH upload ÷ ssh cat", *side_by_side(upload, ssh_upload), note)
    blob.unlink()
    host.inside(remote).unlink()
