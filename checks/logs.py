"""Logs of a host around the onset of a damage, with what its disks and clock say: two commands, read-only, bounded.

journald where it answers, files where not; the kernel, the package managers' histories, commands given through sudo,
root's shell history where it keeps times, databases' logs and those the plan names. A host that lacks a tool gives less
and says so; it never stops a diagnosis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from blocks.hosts.base import Connection
from checks.log_lines import Line, of_file, of_history, of_journal, without_doubles
from checks.stat import require
from model.command import Command, printable

PART_LIMIT = 4 << 20
"""Bytes of one log that are read; the newest ones."""

FILES = (
    "/var/log/kern.log", "/var/log/syslog", "/var/log/messages", "/var/log/auth.log", "/var/log/secure",
    "/var/log/apt/term.log", "/var/log/postgresql/*.log", "/var/log/mysql/*.log", "/var/log/mariadb/*.log",
)  # fmt: skip
HISTORIES = ("/var/log/dpkg.log", "/var/log/apt/history.log", "/var/log/dnf.log", "/var/log/dnf.rpm.log")
SHELL_HISTORY = "/root/.bash_history"

# Parts are `\0name\0content`; NULs, which a crash leaves in logs, are taken out of the content.
_FACTS = r"""
LC_ALL=C; export LC_ALL
limit() { if command -v timeout >/dev/null 2>&1; then timeout 10 "$@"; else "$@"; fi; }
part() { printf '\0%s\0' "$1"; }
part clock; date '+%s.%N %z'
part boot; cat /proc/uptime
part space; limit df -Pkl 2>/dev/null
part inodes; limit df -Pil 2>/dev/null
part mounts; cat /proc/self/mounts
part times
xargs -0 -r -n 500 sh -c 'find "$@" -maxdepth 0 -printf "%T@ %C@ %p\001" 2>/dev/null; exit 0' sh
part end
exit 0
"""

_LOGS = r"""
LC_ALL=C; export LC_ALL
since=$1 near=$2 cap=$3 fields=$4; shift 4
limit() { if command -v timeout >/dev/null 2>&1; then timeout 20 "$@"; else "$@"; fi; }
part() { printf '\0%s\0' "$1"; }
journal() {
    limit journalctl --no-pager -q -o json --output-fields="$fields" "$@" 2>/dev/null | tr -d '\000' | tail -c "$cap"
}
if limit journalctl --no-pager -q -n 1 -o cat >/dev/null 2>&1; then
    part journal; journal --since "@$since" --until "@$near" -n 15000
    part journal; journal --since "@$near" -n 5000
else
    part no-journal; command -v journalctl >/dev/null 2>&1 && echo broken
fi
part kernel; limit dmesg --time-format iso 2>/dev/null | tr -d '\000' | tail -c "$cap" || :
for pattern do
    case $pattern in -*) always=1; pattern=${pattern#-} ;; *) always= ;; esac
    find "${pattern%/*}" -maxdepth 1 -name "${pattern##*/}" -type f 2>/dev/null | head -n 20 |
    while IFS= read -r file; do
        for old in "$file.1" "$file"; do
            [ -f "$old" ] || continue
            if [ -n "$always" ] || [ -n "$(find "$old" -newermt "@$since" 2>/dev/null)" ]; then
                part "file:$old"; tail -c "$cap" -- "$old" 2>/dev/null | tr -d '\000'
            fi
        done
    done
done
part end
exit 0
"""
_JOURNAL_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT,_TRANSPORT"


@dataclass(frozen=True, slots=True)
class Times:
    """When a path's content and its entry were changed last, in seconds since 1970."""

    modified: float
    changed: float


@dataclass(frozen=True)
class Facts:
    """What a host says about itself.

    Attributes:
        now: its clock, in seconds since 1970, and `zone`: seconds east of UTC.
        times: path → times, for what is there.
        full: mount point → sentence, for file systems without room.
        read_only: mount points of disks that are mounted read-only.
        mounts: every mount point.
    """

    now: float
    zone: int = 0
    booted: float = 0.0
    times: Mapping[str, Times] = field(default_factory=dict)
    full: Mapping[str, str] = field(default_factory=dict)
    read_only: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()

    def mount_of(self, path: str) -> str:
        """The mount point a path lies on."""
        around = [m for m in self.mounts if m == "/" or f"{path}/".startswith(f"{m}/")]
        return max(around, key=len, default="/")


@dataclass(frozen=True)
class Logs:
    """Lines in order of time, and what could not be read."""

    lines: tuple[Line, ...]
    not_checked: tuple[str, ...] = ()


def facts(connection: Connection, paths: Sequence[str]) -> Facts:
    """Clock, disks, and the times of paths.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's shell or `find` does not work.
    """
    chunks: list[bytes] = []
    stdin = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)
    command = Command(("sh", "-c", _FACTS, "reinstate-facts"), stdin=stdin, sudo=True, timeout=60.0)
    result = connection.run(command, on_stdout=chunks.append)
    require(result, connection.name, "asking for clock, disks and times")
    parts = dict(_parts(b"".join(chunks)))
    clock, _, offset = parts.get("clock", b"").decode("ascii", "replace").strip().partition(" ")
    now = float(clock) if re.fullmatch(r"\d+(\.\d+)?", clock) else 0.0
    up = parts.get("boot", b"0").split()[:1]
    mounts = [line.split(" ") for line in parts.get("mounts", b"").decode("utf-8", "replace").split("\n")]
    return Facts(
        now=now,
        zone=_offset(offset),
        booted=now - float(up[0]) if up else 0.0,
        times=dict(_times(parts.get("times", b""))),
        full={
            place: sentence
            for what in ("inodes", "space")
            for place, sentence in _full(parts.get(what, b""), what).items()
            if not any(m[1] == place and "ro" in m[3].split(",") for m in mounts if len(m) > 3)
        },
        read_only=tuple(
            m[1] for m in mounts
            if len(m) > 3 and m[2] in {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"} and "ro" in m[3].split(",")
            and not m[1].startswith(("/run/host", "/snap", "/proc", "/sys"))
        ),
        mounts=tuple(m[1] for m in mounts if len(m) > 3),
    )  # fmt: skip


def collect(
    connection: Connection, known: Facts, since: float, near: float, files: Iterable[str] = ()
) -> Logs:
    """The log lines from a moment on.

    Args:
        connection: an open connection.
        known: of the same host.
        since: seconds since 1970, the host's clock.
        near: up to here the journal is read closely, from here on only its newest lines.
        files: more log files; `*` in the last part.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's shell does not work.
    """
    chunks: list[bytes] = []
    patterns = (*FILES, *(f"-{path}" for path in (*HISTORIES, SHELL_HISTORY)), *files)
    words = (str(int(since)), str(int(near) + 1), str(PART_LIMIT), _JOURNAL_FIELDS, *patterns)
    command = Command(("sh", "-c", _LOGS, "reinstate-logs", *words), sudo=True, timeout=180.0)
    require(
        connection.run(command, on_stdout=chunks.append), connection.name, "reading the logs around the onset"
    )
    lines: list[Line] = []
    missing: list[str] = []
    read: set[str] = set()
    for name, content in _parts(b"".join(chunks)):
        path = name.removeprefix("file:")
        if name == "journal":
            lines += of_journal(content)
            read.add("journal" if content else "")
        elif name == "no-journal":
            missing.append(
                "the journal: journalctl does not answer" if content else "the journal: this host keeps none"
            )
        elif name == "kernel":
            lines += (Line(x.at, "kernel", x.text) for x in of_file("kernel", content, known.zone, known.now))
            read.add("kernel" if content else "")
        elif path == SHELL_HISTORY:
            lines += of_history(path, content)
        elif name.startswith("file:"):
            lines += of_file(path, content, known.zone, known.now)
            read.add("files")
        if len(content) >= PART_LIMIT:
            missing.append(
                f"the older part of {printable(path)}: only the newest {PART_LIMIT >> 20} MiB were read"
            )
    if not read & {"journal", "files"}:
        missing.append("logs: there is neither a journal nor a log file with lines of that time")
    if "kernel" not in read and not any(line.source == "kernel" for line in lines):
        missing.append("the kernel's messages: dmesg gave none")
    kept = [
        line for line in lines if line.at is None or line.at >= since or line.source.startswith(HISTORIES)
    ]
    return Logs(tuple(without_doubles(kept)), tuple(missing))


def _parts(output: bytes) -> list[tuple[str, bytes]]:
    pieces = output.split(b"\0")[1:]
    return [
        (name.decode("utf-8", "replace"), content)
        for name, content in zip(pieces[0::2], pieces[1::2], strict=False)
    ]


def _offset(text: str) -> int:
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)", text.strip())
    return (
        0 if found is None else (-1 if found[1] == "-" else 1) * (int(found[2]) * 3600 + int(found[3]) * 60)
    )


def _times(content: bytes) -> Iterable[tuple[str, Times]]:
    for record in content.split(b"\1"):
        words = record.split(b" ", 2)
        if len(words) == 3:
            yield words[2].decode("utf-8", "surrogateescape"), Times(float(words[0]), float(words[1]))


ROOM = 4096
"""KiB (or inodes) below which a disk counts as full, when it is also 99 % used."""


def _full(content: bytes, what: str) -> dict[str, str]:
    found = {}
    for line in content.decode("utf-8", "replace").split("\n")[1:]:
        words = line.split(None, 5)
        if len(words) < 6 or not words[4].rstrip("%").isdigit() or not words[3].lstrip("-").isdigit():
            continue
        used, free = int(words[4].rstrip("%")), int(words[3])
        if (
            used >= 99
            and free < ROOM
            and not words[5].startswith(("/run/host", "/snap", "/sys", "/proc", "/dev"))
        ):
            unit = "inodes" if what == "inodes" else "KiB"
            found[words[5]] = f"{words[5]} is {used} % full: {free} of {words[1]} {unit} are free"
    return found
