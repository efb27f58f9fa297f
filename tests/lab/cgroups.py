"""A control group of its own for every container.

Without one, `systemd-nspawn --keep-unit` puts all containers into the same groups: each systemd then takes the
services of the others for its own, units fail at random and hosts refuse to stop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

_JOIN = 'for group in $LAB_GROUPS; do echo $$ >"$group/cgroup.procs" || exit 1; done; exec "$@"'


def create(name: str) -> dict[str, str]:
    """Make the groups of a container, in each hierarchy that systemd keeps services in.

    Args:
        name: Name of the container, unique on this machine.

    Returns:
        Environment for the command that `joining` makes.
    """
    groups = [hierarchy / name for hierarchy in _hierarchies()]
    for group in groups:
        group.mkdir(exist_ok=True)
    return {"LAB_GROUPS": " ".join(str(group) for group in groups)}


def joining(argv: Sequence[str]) -> list[str]:
    """Return a command that first moves itself into the groups of its environment and then becomes `argv`."""
    return ["/bin/sh", "-c", _JOIN, "sh", *argv]


def remove(name: str) -> None:
    """Remove the groups of a container whose processes are gone; groups that still have some stay."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
        for path in [*below, group]:
            with contextlib.suppress(OSError):  # never made, or a dying process is still counted in it
                path.rmdir()


def left(name: str) -> list[Path]:
    """Return the groups that a container still has."""
    return [hierarchy / name for hierarchy in _hierarchies() if (hierarchy / name).is_dir()]


def _hierarchies() -> list[Path]:
    found = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(where))
    return found
