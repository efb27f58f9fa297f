"""The clock: how far it is from ours, and what the host's own time daemon says of it."""

from __future__ import annotations

from checks.judging import Judging, SystemData
from checks.units import listed
from model.finding import Code

DAEMONS = (
    "chrony.service", "chronyd.service", "systemd-timesyncd.service", "ntpsec.service", "ntp.service", "ntpd.service",
    "openntpd.service",
)  # fmt: skip
"""Units that keep a clock, the better ones first."""


def offset(data: SystemData) -> float | None:
    """Seconds the host's clock is certainly ahead (behind: negative); what the way took is not counted.

    None when the host did not say its time.
    """
    try:
        began, ended = float(data.parts["began"]), float(data.parts["ended"])
    except (KeyError, ValueError):
        return None
    behind = data.sent.timestamp() - began
    ahead = ended - data.received.timestamp()
    if ahead > 0:
        return ahead
    return -behind if behind > 0 else 0.0


def daemon(data: SystemData) -> str:
    """The unit that keeps the clock and can run here; empty when there is none."""
    units = listed(data)
    running = [name for name in DAEMONS if name in units and units[name].active == "active"]
    failed = [name for name in DAEMONS if name in units and units[name].active == "failed"]
    return next(iter((*running, *failed)), "")


def judge(j: Judging) -> None:
    """Compare with our clock, and with the daemon's own measure."""
    ours = offset(j.data)
    if ours is None:
        j.note("clock: the host did not say its time")
        return
    j.examined += 1
    tracked = _chrony(j.data)
    within = f"within {j.asset.clock_tolerance:g} s of"
    if abs(ours) > j.asset.clock_tolerance:
        said = f"{abs(ours):.1f} s {'ahead' if ours > 0 else 'behind'}"
        j.find(Code.CLOCK_SKEWED, "clock", f"{within} the orchestrator's clock", said)
    elif tracked is not None and tracked > j.asset.clock_tolerance:
        j.find(
            Code.CLOCK_SKEWED,
            "clock",
            f"{within} its time servers",
            f"{tracked:.1f} s off, by chrony's measure",
        )
    keeper = daemon(j.data)
    if keeper.startswith("systemd-timesyncd") and not j.data.lines("synchronized"):
        j.note("clock: systemd-timesyncd runs, but has not reached a time server since boot")
    if keeper.startswith("chrony") and tracked is None:
        j.note(f"clock: {keeper} runs, but follows no time server")


def _chrony(data: SystemData) -> float | None:
    """Seconds between the clock and chrony's servers; None when chrony follows none (chronyc(1), `tracking`)."""
    for line in data.lines("chrony"):
        fields = line.split(",")
        if len(fields) >= 14 and fields[13].strip() != "Not synchronised":
            try:
                return abs(float(fields[4]))
            except ValueError:
                return None
    return None
