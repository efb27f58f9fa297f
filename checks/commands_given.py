"""Commands people gave just before: a hint for the conversation with them, never an accusation.

Only commands that change something and name a damaged thing are kept; what Reinstate itself runs is not among them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from checks.log_lines import Line

_SUDO = re.compile(
    r"^ *(?P<who>[A-Za-z0-9_.@-]{1,64}) : (?:.* ; )?USER=(?P<as>\S+) ; .*?COMMAND=(?P<command>.+)$"
)
_LOOKING = frozenset((
    "cat", "less", "more", "head", "tail", "ls", "stat", "file", "find", "grep", "egrep", "zgrep", "journalctl",
    "dmesg", "ps", "top", "ss", "netstat", "df", "du", "lsof", "md5sum", "sha256sum", "sha1sum", "id", "whoami", "w",
    "who", "last", "dpkg-query", "apt-cache", "rpmquery", "true", "test", "[", "psql", "pg_dump", "env",
))  # fmt: skip
_ASKING = (
    "systemctl status", "systemctl show", "systemctl is-active", "systemctl is-enabled", "systemctl list-units",
    "systemctl cat", "dpkg -l", "dpkg -s", "dpkg -L", "dpkg --verify", "dpkg --audit", "nginx -t", "rpm -q", "rpm -V",
    "apt list", "apt show",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Given:
    """A command somebody gave.

    Attributes:
        who: the login.
        command: its text.
        words: the same as words, without the program.
    """

    at: float
    who: str
    command: str
    words: tuple[str, ...]
    line: Line


def commands(lines: Iterable[Line]) -> Iterator[Given]:
    """Commands through sudo, and those of root's shell history that have a time."""
    for line in lines:
        if line.at is None:
            continue
        found = _SUDO.match(line.text) if line.ident == "sudo" or " COMMAND=" in line.text else None
        if found is not None:
            who, command = found["who"], found["command"]
        elif line.ident == "bash" and line.source.endswith("_history"):
            who, command = "root", line.text
        else:
            continue
        if "reinstate" in command:
            continue
        words = _words(command)
        program = PurePosixPath(words[0]).name if words else ""
        asked = " ".join((program, *words[1:]))
        if not program or program in _LOOKING or asked.startswith(_ASKING):
            continue
        yield Given(line.at, who, command, tuple(words[1:]), line)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    if (
        len(words) > 2
        and PurePosixPath(words[0]).name in {"sh", "bash", "dash"}
        and words[1] in {"-c", "-ec"}
    ):
        words = [*words[:2], *_words(words[2])]
    while words and (
        words[0] in {"sudo", "nohup", "time", "exec"} or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0])
    ):
        words = words[1:]
    return words


def names(given: Given, path: str, package: str, unit: str) -> str:
    """What of a damaged thing a command names; empty when nothing."""
    for word in given.words:
        plain = word.rpartition("=")[2].rstrip("/") or word
        if path and (plain == path or (plain.count("/") > 1 and path.startswith(f"{plain}/"))):
            return plain
        if (
            path
            and not plain.startswith("/")
            and plain
            and path.endswith(f"/{plain.removeprefix('./')}")
            and len(plain) > 4
        ):
            return plain
        if package and plain.partition(":")[0].partition("=")[0] == package:
            return package
        if unit and plain in {unit, unit.removesuffix(".service")}:
            return unit
        if (
            package
            and plain.endswith((".deb", ".rpm"))
            and PurePosixPath(plain).name.startswith((f"{package}_", f"{package}-"))
        ):
            return PurePosixPath(plain).name
    return ""
