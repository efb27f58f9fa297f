"""Whose rights a command runs with on the host, and what to do when the host does not grant them."""

from __future__ import annotations

import re

from model.command import Arg, Command, Result
from model.errors import BadInput, PreconditionFailed
from model.host import Host

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")


def runs_as(host: Host, command: Command) -> str:
    """The user a command runs as; `sudo` on a host without root rights means the login itself."""
    if command.user:
        return command.user
    return "root" if command.sudo and host.sudo else host.user


def keeper(host: Host) -> str:
    """The user who owns the state directory and starts jobs."""
    return "root" if host.sudo else host.user


def prefix(host: Host, acting: str, target: str) -> tuple[str, ...]:
    """The words before a command so that `acting` runs it as `target`.

    Raises:
        BadInput: the user's name is none.
        PreconditionFailed: another user is wanted on a host without root rights.
    """
    if target == acting:
        return ()
    if not _USER.match(target):
        raise BadInput(
            f"{target!r} is not a user name.",
            host.address,
            "Correct the user in the plan (letters, digits, _ . -).",
        )
    if acting == "root":
        return ("runuser", "-u", target, "--")
    if not host.sudo:
        raise PreconditionFailed(
            f"a command must run as {target}, but the plan gives {host.user} no sudo on this host.",
            host.address,
            f"Set `sudo: true` for the host, log in as root or {target}, or remove the user from the plan.",
        )
    return ("sudo", "-n", "--") if target == "root" else ("sudo", "-n", "-u", target, "--")


TOOLS = r"""
REINSTATE_TOOLS=$1; shift
LD_LIBRARY_PATH=$REINSTATE_TOOLS/lib
export REINSTATE_TOOLS LD_LIBRARY_PATH
while [ "$1" != -- ]; do export "$1"; shift; done
shift
PATH=$REINSTATE_TOOLS/bin:$PATH; export PATH
exec "$@"
"""
"""Arguments: folder of lent tools, variables, `--`, command. Only what is built into sh."""


def words(host: Host, command: Command, acting: str, tools: str = "") -> tuple[Arg, ...]:
    """The whole argument vector as `acting` starts it: prefix, environment, command.

    With `tools`, a folder of lent tools on the host, these come before the host's own, and so do their libraries.
    """
    before = prefix(host, acting, runs_as(host, command))
    settings = tuple(f"{key}={value}" for key, value in sorted(command.env.items()))
    if tools:
        return (
            *before,
            f"{tools}/bin/sh",
            "-c",
            TOOLS,
            "reinstate-tools",
            tools,
            *settings,
            "--",
            *command.argv,
        )
    environment = ("env", *settings) if settings else ()
    return (*before, *environment, *command.argv)


def suspicious(result: Result, before: tuple[Arg, ...]) -> bool:
    """Whether a failure may be that of sudo or runuser and not of the command behind it."""
    return bool(before) and result.status in {1, 126, 127} and str(before[0]).encode() in result.stderr


def denied(host: Host, before: tuple[str, ...], answer: Result, where: str) -> PreconditionFailed:
    """The error for a host on which the prefix with `true` behind it fails."""
    program, target = before[0], before[3] if len(before) > 3 else "root"
    if program == "runuser":
        return PreconditionFailed(
            f"root could not become {target}: {answer.tail()}.",
            where,
            f"See that the user {target} exists on the host and that `runuser` (util-linux) is installed.",
        )
    if answer.status == 127:
        return PreconditionFailed(
            "sudo is not installed on this host.",
            where,
            "Install sudo, or let the plan log in as root, or set `sudo: false` where nothing needs root.",
        )
    return PreconditionFailed(
        f"sudo does not let {host.user} run commands as {target} without a password: {answer.tail()}.",
        where,
        f"Add the line `{host.user} ALL=(ALL) NOPASSWD: ALL` to /etc/sudoers.d/reinstate with `visudo -f`, "
        "or let the plan log in as root.",
    )
