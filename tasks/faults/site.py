"""Where a fault is done: a host proven to be staging, the drill's folder there, and our programs on it (G12)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.secrets import Secrets
from checks import service
from checks.stat import require
from model.assets import DpkgAsset, FilesAsset, RpmAsset, SystemAsset
from model.canonical import HostText, Value, now
from model.command import Command, Masked
from model.errors import BadInput, Damaged, PreconditionFailed, Refused, Transient, Unsupported
from model.faults import Expected, Fault, Left, Planted, at_or_below
from model.finding import Code
from model.mistake import Mistake
from model.plan import Plan
from tasks.faults import on_host

SECONDS = 900.0
"""For one request on the host."""

COMMON, PICKER, PLANTER, PACKAGES = "common.py", "picker.py", "planter.py", "packages.py"
"""Programs that run on the host."""

# The interpreters of Debian and of RHEL; status 97: none.
_RUN = r"""
umask 077
for python in python3 /usr/libexec/platform-python; do
    command -v "$python" >/dev/null 2>&1 && exec "$python" -I -S -c "$1"
done
exit 97
"""
_FILE_CODES = (
    Code.FILE_CONTENT_DIFFERS, Code.FILE_MISSING, Code.FILE_MODE_DIFFERS, Code.FILE_HARD_LINK_BROKEN,
    Code.CONFFILE_MISSING, Code.CERTIFICATE_EXPIRED, Code.UNIT_CHANGED,
)  # fmt: skip

Kind = TypeVar("Kind")


class Answer(Value):
    """What a program on the host said; each operation fills some of it."""

    refused: str = ""
    paths: tuple[HostText, ...] = ()
    files: int = 0
    texts: dict[str, str] = {}
    reals: dict[str, str] = {}
    changed: tuple[HostText, ...] = ()
    damaged: tuple[HostText, ...] = ()
    left: tuple[HostText, ...] = ()
    bytes: int = 0
    free: int = 0
    packages: tuple[str, ...] = ()
    program: str = ""
    owner: str = ""
    owners: dict[str, str] = {}
    deb: str = ""
    state: str = ""


@cache
def _program(name: str) -> str:
    texts = [Path(on_host.__file__).with_name(one).read_text(encoding="utf-8") for one in (COMMON, name)]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return "\n".join(
        line for line in lines if not (line.startswith("from tasks.") or line.lstrip().startswith("#"))
    )


def drills(connection: Connection) -> str:
    """The folder of all drills on a host."""
    return f"{connection.host.state_dir.rstrip('/')}/drill"


def ask(connection: Connection, program: str, **request: object) -> Answer:
    """One request to one of our programs.

    Raises:
        Transient: the connection was lost. Unsupported: the host has no Python.
        PreconditionFailed: the program will not, or failed; the message says why.
    """
    text = json.dumps(request).encode()
    words = ("sh", "-c", _RUN, "reinstate-drill", Masked(_program(program)))
    result = connection.run(Command(words, stdin=text, sudo=True, timeout=SECONDS))
    if result.status == 97:
        raise Unsupported("the host has no Python.", connection.name, "install python3 on the staging host")
    require(result, connection.name, f"a request of a drill ({request['do']})")
    try:
        answer = Answer.model_validate_json(result.stdout)
    except ValidationError as error:
        raise Damaged(
            f"the host answered with something else: {error.errors()[0]['msg']}.", connection.name,
            "report this as a bug",
        ) from error  # fmt: skip
    if answer.refused:
        raise PreconditionFailed(
            f"the fault cannot be done: {answer.refused}.",
            connection.name,
            "choose another fault for this drill",
        )
    return answer


@dataclass(frozen=True)
class Site:
    """A proven staging host and the fault to do there.

    Attributes:
        connection: to the host.
        plan: the plan.
        fault: what is to be done.
        secrets: resolver of the plan's references.
    """

    connection: Connection
    plan: Plan
    fault: Fault
    secrets: Secrets

    @classmethod
    def proven(cls, connection: Connection, plan: Plan, fault: Fault, secrets: Secrets) -> Site:
        """The site, once plan, connection and the host itself say that it is staging; nothing is touched.

        Raises:
            BadInput: the fault names no asset of this host.
            Refused: the plan calls the host production, or the host's own marker does not say staging.
            PreconditionFailed: the identity cannot be read. Transient: the connection was lost.
        """
        name, asset = connection.name, plan.assets.get(fault.asset)
        if asset is None or asset.host != fault.host or fault.host != name:
            raise BadInput(
                f"the plan has no asset {fault.asset!r} on this host.",
                name,
                "choose the fault from this plan again",
            )
        planned = plan.hosts.get(name)
        if planned is None or planned != connection.host or planned.role != "staging":
            raise Refused(
                "the plan does not say that this host is staging; nothing was touched.", name,
                "drills damage staging hosts only: set `role: staging` where that is so",
            )  # fmt: skip
        said = prove(connection).role
        if said != "staging":
            raise Refused(
                f"the host itself says {said or 'nothing about its role'}; nothing was touched.", name,
                f"on a staging host, and on no other, write `staging` into {connection.host.state_dir}/role",
            )  # fmt: skip
        return cls(connection, plan, fault, secrets)

    @property
    def folder(self) -> str:
        """Of this fault on the host."""
        return f"{drills(self.connection)}/{self.fault.id}"

    def asset(self, kind: type[Kind]) -> Kind:
        """The fault's asset, of this kind.

        Raises:
            BadInput: it is another.
        """
        asset = self.plan.assets[self.fault.asset]
        if not isinstance(asset, kind):
            raise BadInput(
                f"{self.fault.asset} cannot be damaged by {self.fault.kind}: it is of kind {asset.kind}.",
                self.connection.name, "choose the fault from this plan again",
            )  # fmt: skip
        return asset

    def plant(self, do: str, **request: object) -> Answer:
        """A request to the program that damages files."""
        return ask(self.connection, PLANTER, do=do, folder=self.folder, seed=str(self.fault.seed), **request)

    def pick(self, do: str, **request: object) -> Answer:
        """A request to the program that chooses files; it only reads."""
        return ask(self.connection, PICKER, do=do, seed=str(self.fault.seed), **request)

    def planted(
        self, sentence: str, subjects: Sequence[str], expected: Iterable[Expected], *, follows: Iterable[Expected] = (),
        paths: Sequence[str] = (), added: Sequence[str] = (), services: Sequence[str] = (), offset: int = 0,
        mistake: Mistake | None = None,
    ) -> Planted:  # fmt: skip
        """What will have been done; any fault may fail a probe, and other assets may hold the same file."""
        return Planted(
            fault=self.fault, subjects=tuple(subjects), sentence=sentence, expected=tuple(expected), mistake=mistake,
            follows=(*follows, *self._echoes(paths), Expected(code=Code.PROBE_FAILED)), at=now(),
            left=Left(
                folder=self.folder, paths=tuple(paths), added=tuple(added), services=tuple(services), offset=offset
            ),
        )  # fmt: skip

    def _echoes(self, paths: Sequence[str]) -> list[Expected]:
        """The same damage as other assets see it."""
        found: list[Expected] = []
        for name, asset in self.plan.assets.items():
            if asset.host != self.fault.host or name == self.fault.asset:
                continue
            top = asset.path if isinstance(asset, FilesAsset) else "/"
            if isinstance(asset, FilesAsset | DpkgAsset | RpmAsset | SystemAsset):
                found += [
                    Expected(code=code, asset=name, subject=path)
                    for path in paths if at_or_below(path, top) for code in _FILE_CODES
                ]  # fmt: skip
        return found

    def running(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those services of the plan that run."""
        services = self.plan.services
        return tuple(
            name for name in dict.fromkeys(names)
            if name in services and service.collect(self.connection, services[name]).status == 0
        )  # fmt: skip

    def stop(self, name: str) -> None:
        """Stop a service and see it stand still.

        Raises:
            PreconditionFailed: it goes on.
        """
        self._drive(name, "stop")
        if self.running((name,)):
            raise PreconditionFailed(
                f"{name} runs on after it was stopped.", self.connection.name, "see what starts it again"
            )

    def start(self, name: str) -> None:
        """Start a service unless it runs, and see it run.

        Raises:
            PreconditionFailed: it does not run.
        """
        if self.running((name,)):
            return
        unit = self.plan.services[name].unit
        if unit:
            self.connection.run(Command(("systemctl", "reset-failed", "--", unit), sudo=True))
        said = self._drive(name, "start")
        deadline = time.monotonic() + 60.0
        while not self.running((name,)):
            if time.monotonic() > deadline:
                raise PreconditionFailed(
                    f"{name} does not run again after the drill: {said or 'no message'}.", self.connection.name,
                    "read its log, start it, then undo the fault again",
                )  # fmt: skip
            time.sleep(0.5)

    def _drive(self, name: str, verb: str) -> str:
        said = ""
        words = self.plan.services[name].command("stop" if verb == "stop" else "start")
        for line in words:
            result = self.connection.run(Command(line, sudo=True, timeout=180.0))
            if result.status is None:
                raise Transient(
                    f"the connection was lost while a drill was about to {verb} {name}.", self.connection.name,
                    "the step is tried again",
                )  # fmt: skip
            said = said if result.ok else result.tail(3)
        return said
