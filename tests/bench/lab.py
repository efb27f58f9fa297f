"""The hosts to measure on: clones of one shop with a larger set of files, and an S3 server."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.backups.s3client import open_client
from tests.lab.base import ensure_base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.lab.servers import FILES, Shop, prepare_shop
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, start_s3

BULK = f"{FILES}/bulk"
FILE_BYTES = 256 << 10
FILE_COUNT = 1024


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` and `theirs` in seconds, what they are, and the ratio."""

    what: str
    ours: float
    theirs: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours as a multiple of theirs."""
        return self.ours / self.theirs


@dataclass(frozen=True)
class Lab:
    """Two equal shops: one for us, one to do the same by hand."""

    ours: Shop
    theirs: Shop
    endpoint: str
    bucket: str
    folder: Path


@contextmanager
def laboratory(folder: Path) -> Iterator[Lab]:
    """Everything booted; all of it is gone afterwards."""
    with ExitStack() as stack:
        base, session = ensure_base(), LabSession()
        stack.callback(session.close)
        layer = session.directory / "bench-layer"
        with LabHost(base, session, "shop") as host:
            prepare_shop(host)
            fill = f"for n in $(seq {FILE_COUNT}); do head -c {FILE_BYTES} /dev/urandom >f$n; done"
            host.must(["sh", "-c", f"mkdir {BULK} && cd {BULK} && {fill}"], seconds=300)
            host.freeze(layer)
        hosts = [stack.enter_context(LabHost(base, session, name, (layer,))) for name in ("ours", "theirs")]
        for host in hosts:
            host.wait_running()
        server = start_s3(folder / "s3", session.gateway)
        stack.callback(server.stop)
        bucket = "bench"
        client = open_client(server.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
        client.create_bucket(Bucket=bucket)
        yield Lab(Shop(hosts[0]), Shop(hosts[1]), server.endpoint, bucket, folder)


def seconds(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 3
) -> tuple[float, float]:
    """Medians of both, taken in turns so that a busy moment hits both alike."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def ssh_words(host: LabHost, folder: Path) -> list[str]:
    """The system's ssh to a host, as root, as a person would call it."""
    known = folder / f"known-{host.name}"
    known.write_text(f"{host.address} {host.host_key}\n")
    options = ("-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-i", str(host.key_path))
    return ["ssh", *options, f"root@{host.address}"]


def by_hand(host: LabHost, folder: Path, script: str, **streams: object) -> None:
    """One command over the system's ssh; it must work."""
    words = [*ssh_words(host, folder), script]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False, **streams)  # type: ignore[call-overload] # passed on
    if done.returncode:
        raise RuntimeError(f"{script[:80]}: {done.stderr[-500:]!r}")
