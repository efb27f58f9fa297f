"""Many equal hosts under one plan, and a scan of all of them in a process of its own that is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp

from blocks.home import open_store
from checks.baseline import record
from model.assets import DpkgAsset
from tasks.work import load_plan, save_baseline
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.labworld import PEOPLE, write_secret


@dataclass(frozen=True)
class Scan:
    """What a scan said and what it cost this machine; hosts on the same machine are not part of it.

    Attributes:
        results: of every check, as `reinstate scan --json` prints them.
        seconds: wall time.
        cpu: seconds of processor time of the scanning process.
        peak: bytes of memory it had at most.
    """

    results: list[dict[str, Any]]
    seconds: float
    cpu: float
    peak: int


@contextmanager
def fleet(base: Base, session: LabSession, count: int) -> Iterator[list[LabHost]]:
    """So many booted hosts, eight at a time; all are gone afterwards."""
    hosts = [LabHost(base, session, f"fleet-{number:02d}") for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        try:
            list(pool.map(LabHost.start, hosts))
            list(pool.map(lambda host: host.wait_running(300), hosts))
            yield hosts
        finally:
            list(pool.map(LabHost.stop, hosts))


def write_plan(hosts: Sequence[LabHost], folder: Path) -> Path:
    """A plan with the packages of every host; `REINSTATE_HOME` gets a baseline of each."""
    for person in PEOPLE:
        write_secret(folder, f"totp-{person}", pyotp.random_base32())
    for host in hosts:
        write_secret(folder, host.name, host.key_path.read_text())
    plan = {
        "reinstate": 1, "name": "fleet", "version": "1",
        "service": {"name": "Fleet", "description": "Equal hosts.", "owner": "lena"},
        "people": {p: {"name": p.capitalize(), "totp": f"file:secrets/totp-{p}"} for p in PEOPLE},
        "roles": {"leading_group": ["lena", "marc"], "working_group": ["ines"], "technical_support": ["ines"]},
        "objectives": {"rto": "30m", "rpo": "1h"},
        "hosts": {
            host.name: {
                "address": host.address, "port": host.port, "user": "ops", "sudo": True,
                "key": f"file:secrets/{host.name}", "host_key": host.host_key, "machine_id": host.machine_id,
            }
            for host in hosts
        },
        "assets": {f"system-{host.name}": {"kind": "dpkg", "host": host.name} for host in hosts},
        "signoff": {
            "decide": {"roles": ["leading_group"], "quorum": 1}, "accept": {"roles": ["leading_group"], "quorum": 1},
        },
    }  # fmt: skip
    path = folder / "fleet.yaml"
    path.write_text(json.dumps(plan, indent=1))
    file, store = load_plan(str(path)), open_store()
    asset = file.plan.assets[f"system-{hosts[0].name}"]
    assert isinstance(asset, DpkgAsset)
    with file.connect(hosts[0].name) as connection:
        entries = record(connection, asset)
    for name in file.plan.assets:  # clones: what is true of one is true of all
        save_baseline(store, file.plan, name, entries)
    return path


# A process's peak counts what its parent had when it was forked: a small one starts it.
_MEASURED = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]))
"""


def scan(plan: Path) -> Scan:
    """`reinstate scan` as an operator runs it.

    Raises:
        AssertionError: it printed no result.
    """
    out, err, usage = (plan.with_suffix(suffix) for suffix in (".out", ".err", ".usage"))
    words = [sys.executable, "-m", "deployments.cli", "scan", str(plan), "--json"]
    began = time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        subprocess.run(
            [sys.executable, "-c", _MEASURED, str(usage), *words], stdout=stdout, stderr=stderr, check=False
        )
    seconds = time.monotonic() - began
    assert out.stat().st_size, err.read_text(errors="replace")[-2000:]
    cpu, peak = json.loads(usage.read_text())
    return Scan(json.loads(out.read_text())["results"], seconds, cpu, peak)
