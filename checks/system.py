"""The state of a host itself: one command that reads it, the judgement of its parts, and the baseline of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from blocks.hosts.base import Connection
from checks import accounts, boot, certificates, clock, disks, units
from checks.judging import Judging, SystemData
from checks.sections import sections
from checks.stat import require
from checks.system_script import SCRIPT
from model.assets import SystemAsset, Watched
from model.canonical import now
from model.command import Command
from model.finding import CheckResult, judged
from model.host_state import HostState, host_state
from model.manifest import Entry

COLLECT_SECONDS = 120.0
PARTS: dict[Watched, Callable[[Judging], None]] = {
    "disks": disks.judge, "clock": clock.judge, "certificates": certificates.judge, "units": units.judge,
    "accounts": accounts.judge, "boot": boot.judge,
}  # fmt: skip


def collect(connection: Connection, asset: SystemAsset) -> SystemData:
    """Read the host's state in one command, and ask the TLS servers the asset names.

    Raises:
        Transient: the connection was lost. PreconditionFailed: not even a shell works.
    """
    chunks: list[bytes] = []
    command = Command(
        ("sh", "-c", SCRIPT, "reinstate-system", " ".join(asset.watch), *asset.certificates),
        sudo=True,
        timeout=COLLECT_SECONDS,
    )
    sent = now()
    result = connection.run(command, on_stdout=chunks.append)
    received = now()
    require(result, connection.name, "reading the state of the host with sh")
    asked = certificates.ask(connection, asset.endpoints) if "certificates" in asset.watch else {}
    return SystemData(parse(b"".join(chunks), connection.name), sent, received, asked)


def parse(output: bytes, where: str = "") -> dict[str, str]:
    """The parts of the script's output.

    Raises:
        PreconditionFailed: it is not whole.
    """
    return sections(output, "the state of the host", where, "run it again; then look at its shell")


def judge(name: str, asset: SystemAsset, data: SystemData, baseline: Sequence[Entry] = ()) -> CheckResult:
    """Judge the parts the plan watches."""
    judging = Judging(name, asset, data, host_state(baseline))
    for part in asset.watch:
        PARTS[part](judging)
    if judging.accepted:
        judging.note(
            f"{len(judging.accepted)} accepted by the plan: {', '.join(sorted(judging.accepted)[:5])}"
        )
    return judged(
        "system", asset.host, name, judging.examined, tuple(judging.findings.values()), "parts of the system",
        tuple(judging.notes),
    )  # fmt: skip


def record_baseline(connection: Connection, asset: SystemAsset) -> tuple[Entry, ...]:
    """What the host's state is now, to be kept off the host while it is healthy.

    Failed units are no part of it: damage never becomes the measure.

    Raises:
        Transient: the connection was lost. PreconditionFailed: see `collect`.
    """
    data = collect(connection, asset)
    files, contents, active = units.record(data)
    users, groups = accounts.record(data)
    state = HostState(
        units=files, contents=contents, active=active, users=users, groups=groups,
        mounts=frozenset(mount.place for mount in disks.mounts(data) if mount.writable and _real(mount)),
        boot=boot.record(data),
    )  # fmt: skip
    return state.entries()


def _real(mount: disks.Mount) -> bool:
    return mount.source.startswith("/dev/") or mount.kind in {"zfs", "btrfs", "tmpfs", "overlay"}
