"""Which evidence is taken, in order of volatility (RFC 3227): constant commands, the same on every host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.assets import AssetBase, DpkgAsset, PipAsset, RpmAsset, ServiceAsset

LOG_LINES = "2000"


@dataclass(frozen=True)
class Item:
    """One piece: its name and the command that prints it."""

    name: str
    argv: tuple[str, ...]


def _script(name: str, script: str, *arguments: str) -> Item:
    return Item(name, ("sh", "-c", script, f"reinstate-{name}", *arguments))


ITEMS = (
    _script("time", "date -u +%Y-%m-%dT%H:%M:%S.%NZ; cat /proc/uptime /proc/loadavg; uname -a; id"),
    _script(
        "processes",
        "ps -eo pid,ppid,user:20,lstart,etime,stat,rss,args --width=4000 || "
        'for p in /proc/[0-9]*; do printf "%s " "${p#/proc/}"; tr "\\0" " " <"$p/cmdline"; echo; done',
    ),
    _script("sockets", "ss -tunap || tail -n +1 /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6"),
    _script("users", "who -a; w; last -n 100"),
    _script("mounts", "cat /proc/self/mountinfo; df -k; df -i"),
    _script("memory", "cat /proc/meminfo /proc/pressure/memory; free -k"),
)

_OPEN = r"""
for p; do set -- "$@" -e "$p"; shift; done
for d in /proc/[0-9]*; do
    { ls -l "$d/fd"; cat "$d/maps"; } 2>/dev/null | grep -F "$@" | sort -u | while IFS= read -r line; do
        printf '%s %s\n' "${d#/proc/}" "$line"
    done
done
exit 0
"""
_KERNEL = "dmesg --time-format iso || dmesg || journalctl -k -n 2000 --no-pager -o short-iso"
_JOURNAL = (
    'lines=$(journalctl -n "$1" --no-pager -o short-iso) && [ -n "$lines" ] && printf "%s\\n" "$lines" || '
    'tail -n "$1" -v -- /var/log/syslog /var/log/messages /var/log/daemon.log /var/log/auth.log'
)
_PACKAGES = r"""
cat -- "$1/var/lib/dpkg/status"
for f in "$1"/var/lib/dpkg/updates/* "$1/var/log/dpkg.log" "$1/var/log/apt/history.log" "$1/var/log/apt/term.log"; do
    [ -f "$f" ] && tail -n 2000 -v -- "$f"
done
"""
_RPM = r"""
db=$(rpm --eval %_dbpath) && ls -la --full-time -- "$db" && sha256sum -- "$db"/*
rpm -qa --last
rpmdb --verifydb
rpm -Va --nofiles
for f in /var/log/dnf.log /var/log/dnf.rpm.log /var/log/yum.log /var/log/zypp/history; do
    [ -f "$f" ] && tail -n 2000 -v -- "$f"
done
exit 0
"""
_PAGER = ("--no-pager", "--plain", "--full")
_PYTHON = r"""
dir=${1%/bin/*}
find "$dir" -maxdepth 5 -name RECORD -path '*.dist-info/*' -exec ls -l {} + -o -name '*.pth' -exec ls -l {} +
cat -- "$dir/pyvenv.cfg"
"""


def asset_items(assets: Sequence[AssetBase], paths: Sequence[str]) -> list[Item]:
    """What depends on the plan and on the damage, still in order of volatility.

    Args:
        assets: those of this host.
        paths: damaged paths; at most 200 are looked for among open files.
    """
    items = [_script("open-files", _OPEN, *paths[:200])] if paths else []
    items += [_script("kernel", _KERNEL), _script("journal", _JOURNAL, LOG_LINES)]
    items.append(Item("units", ("systemctl", "list-units", "--all", *_PAGER)))
    items.append(Item("unit-files", ("systemctl", "list-unit-files", *_PAGER)))
    units = dict.fromkeys(asset.unit for asset in assets if isinstance(asset, ServiceAsset) and asset.unit)
    for unit in units:
        items.append(
            Item(f"unit-{unit}", ("systemctl", "status", "--no-pager", "--full", "--lines=0", "--", unit))
        )
        items.append(
            Item(
                f"log-{unit}",
                ("journalctl", "-n", LOG_LINES, "--no-pager", "-o", "short-iso", f"--unit={unit}"),
            )
        )
    roots = dict.fromkeys(asset.root.rstrip("/") for asset in assets if isinstance(asset, DpkgAsset))
    for number, root in enumerate(roots, start=1):
        items.append(_script(f"packages-{number}", _PACKAGES, root))
    if any(isinstance(asset, RpmAsset) for asset in assets):
        items.append(_script("rpm", _RPM))
    pythons = dict.fromkeys(asset.python for asset in assets if isinstance(asset, PipAsset))
    for number, python in enumerate(pythons, start=1):
        items.append(_script(f"python-{number}", _PYTHON, python))
    return items
