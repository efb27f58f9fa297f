"""The check of every file of every package against `dpkg --verify`, which looks at less."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from checks import packages
from checks.baseline import record
from model.assets import DpkgAsset
from model.finding import Verdict
from model.host import Host
from model.manifest import Entry
from tests.bench.lab import Lab, Row, by_hand, side_by_side
from tests.lab.host import LabHost


def plan_host(host: LabHost) -> Host:
    """The host as a plan names it."""
    return Host(
        address=host.address, port=host.port, user="ops", sudo=True, key=f"file:{host.key_path}",
        host_key=host.host_key, machine_id=host.machine_id,
    )  # fmt: skip


def measure(lab: Lab) -> Iterator[Row]:
    """Without a baseline (MD5, as dpkg) and with one (SHA-256, mode, owner, type)."""
    host = lab.ours.host
    asset = DpkgAsset(kind="dpkg", host="bench")
    block = SSHHost.from_plan("bench", plan_host(host), Secrets(lab.folder))
    with block.connect() as connection:
        baseline = record(connection, asset)
        for name, known in (("md5, no baseline", ()), ("sha256, mode, owner, type", baseline)):

            def ours(known: tuple[Entry, ...] = known) -> None:
                result = packages.judge("all", asset, packages.collect(connection, asset, known), known)
                assert result.verdict is Verdict.PASSED, result.sentence

            def theirs() -> None:
                by_hand(host, lab.folder, "dpkg --verify", stdout=subprocess.DEVNULL)

            yield Row(f"every package ({name}) ÷ dpkg --verify", *side_by_side(ours, theirs), "over SSH both")
