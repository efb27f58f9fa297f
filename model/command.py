"""Commands as values, and the one Result a command ends in. Quoting happens in `Command.wire` only (G10)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from model.errors import BadInput, ReinstateError


@dataclass(frozen=True)
class Masked:
    """An argument that goes over the wire but is printed as `***`. Prefer stdin: argv is visible on the host (G9)."""

    value: str = field(repr=False)


Arg = str | Masked
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Command:
    """A remote command: an argument vector, never a shell string.

    Attributes:
        argv: program and arguments; a script that needs a pipeline is a constant `sh -c SCRIPT name args…`.
        stdin: bytes written to the command's standard input, then closed.
        sudo: run as root through `sudo -n` where the host's login is not root.
        user: run as this user (through `sudo -n -u`, or `runuser` when already root).
        env: extra environment, set through `env` so that it works without server support; no secrets.
        timeout: seconds until the call gives up (the remote command may go on: see G-6 of guarantees.md).
        read_only: False for a command that changes the host; such commands run only through named jobs.
    """

    argv: tuple[Arg, ...]
    stdin: bytes | None = field(default=None, repr=False)
    sudo: bool = False
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what no argv can carry."""
        if not self.argv:
            raise BadInput("an empty command was built", remedy="report this as a bug")
        if wrong := [name for name in self.env if not _ENV_NAME.fullmatch(name)]:
            raise BadInput(
                f"{wrong[0]!r} is no name of an environment variable", remedy="report this as a bug"
            )
        if self.env and "=" in raw(self.argv[0]):
            raise BadInput(
                "`env` would take the program for a variable",
                where=self.shown(),
                remedy="choose a path without an equals sign",
            )
        for arg in (*self.argv, *self.env.values(), *self.env):
            if "\0" in raw(arg):
                raise BadInput(
                    "an argument holds a NUL byte",
                    where=self.shown(),
                    remedy="remove it from the plan's field",
                )

    def wire(self) -> str:
        """The POSIX shell word list sent over SSH, each word quoted."""
        return shlex.join([raw(arg) for arg in self._words()])

    def shown(self) -> str:
        """The command for logs and people, masked arguments as `***`."""
        return shlex.join(["***" if isinstance(arg, Masked) else printable(arg) for arg in self.argv])

    def _words(self) -> tuple[Arg, ...]:
        words: tuple[Arg, ...] = self.argv
        if self.env:
            words = ("env", *(f"{key}={value}" for key, value in sorted(self.env.items())), *words)
        return words


def raw(arg: Arg) -> str:
    """The argument as it goes over the wire."""
    return arg.value if isinstance(arg, Masked) else arg


def printable(text: str) -> str:
    """Tainted text made safe for a terminal: control and format characters become their escapes (ANSI, OSC, RTL)."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # nearly always, and a script is long
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Attributes:
        command: the command as shown to people.
        status: exit status; None when the connection was lost: unknown, neither done nor failed (G-6).
        stdout: standard output, at most the cap of the call; tainted.
        stderr: standard error, likewise.
        seconds: wall time.
        truncated: True when output beyond the cap was dropped.
    """

    command: str
    status: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """True when the exit status is 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output decoded as UTF-8 with replacement."""
        return self.stdout.decode("utf-8", "replace")

    def tail(self, lines: int = 5) -> str:
        """The last lines of stderr (or of stdout when stderr is empty), safe to print."""
        text = (self.stderr or self.stdout).decode("utf-8", "replace")
        return printable("\n".join(text.strip().splitlines()[-lines:]))

    def check(self, where: str = "", remedy: str = "") -> Result:
        """Return self, or raise ReinstateError with the tail when the command did not exit 0."""
        if not self.ok:
            raise ReinstateError(
                f"`{self.command}` ended with {self.status}: {self.tail()}.", where=where, remedy=remedy
            )
        return self
