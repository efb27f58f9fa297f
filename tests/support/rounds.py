"""One round of a repair on a laboratory host, without journal and sign-off: look, propose, perform, look again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import TypeAdapter

from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.packages import PackageStore
from blocks.secrets import Secrets
from checks.examine import examine
from checks.supplies import gather
from model.assets import Asset
from model.canonical import now
from model.finding import Code, Finding
from model.host import Host
from model.journal import State
from model.ladder import propose
from model.manifest import Entry
from model.plan import DirectoryPackages, Objectives, Person, Plan, Roles, Service
from model.proposal import Proposal
from tasks import act, toolset
from tests.lab.base import POOL, Base
from tests.lab.host import LabHost
from tests.support.packages import DictMemory, shelf
from tests.tasks.localhost import quiet

HOST = "web-1"
_NUMBERS = itertools.count(1)


def pool_store(base: Base, folder: Path, name: str = "debs") -> PackageStore:
    """A signed store with every package of the laboratory's base."""
    for deb in (base.root / POOL).glob("*.deb"):
        (folder / deb.name).symlink_to(deb)
    return shelf(folder, name)


@dataclass
class Round:
    """A host with a plan.

    Attributes:
        host: seen from outside.
        stores: package stores by name.
        changes: fields of the asset `system`, which is of kind dpkg unless they say otherwise.
        user: login.
    """

    host: LabHost
    stores: Mapping[str, PackageStore] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    user: str = "ops"
    baselines: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    others: Mapping[str, Asset] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """Its plan."""
        asset: Asset = TypeAdapter(Asset).validate_python({"kind": "dpkg", "host": HOST} | dict(self.changes))
        here = Host(
            address=self.host.address, port=self.host.port, user=self.user, sudo=self.user != "root",
            key=f"file:{self.host.key_path}", host_key=self.host.host_key, machine_id=self.host.machine_id,
        )  # fmt: skip
        return Plan(
            name="lab", version="1", service=Service(name="Lab", owner="ann"), people={"ann": Person(name="Ann")},
            roles=Roles(leading_group=("ann",), working_group=("ann",)), objectives=Objectives(rto=60, rpo=60),
            hosts={HOST: here}, assets={"system": asset, **self.others},
            package_stores={name: DirectoryPackages(kind="directory", path=name) for name in self.stores},
        )  # fmt: skip

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A fresh connection."""
        plan = self.plan.hosts[HOST]
        with SSHHost.from_plan(HOST, plan, Secrets(Path("/"))).connect() as connection:
            yield connection

    def look(self, connection: Connection) -> list[Finding]:
        """What is damaged.

        Raises:
            AssertionError: a check could not run.
        """
        with ExitStack() as stack:
            broken = toolset.equip(stack, [connection], self.file, DictMemory())
            results = examine(
                self.plan, {HOST: connection}, baselines=self.baselines, manifests={}, secrets=Secrets(Path("/")),
                only=set(self.plan.assets), broken=broken,
            )  # fmt: skip
        errors = [result.sentence for result in results if result.verdict == "ERROR"]
        assert not errors, errors
        return [finding for result in results for finding in result.findings]

    @property
    def file(self) -> Any:  # noqa: ANN401 - half a plan file
        """What stands for the plan file: plan and opened stores."""
        return SimpleNamespace(plan=self.plan, package_stores=lambda _memory: self.stores, backups=dict)

    @contextmanager
    def equipped(self, connection: Connection, findings: list[Finding]) -> Iterator[None]:
        """Lent tools, where the findings say so: what `toolset.connected` does."""
        if any(f.code is Code.TOOL_BROKEN for f in findings):
            with toolset.lent(connection, self.plan, self.stores):
                yield
        else:
            yield

    def propose(self, connection: Connection, findings: list[Finding]) -> Proposal:
        """The least invasive repair."""
        with self.equipped(connection, findings):
            supplies = gather(self.plan, {HOST: connection}, findings, {}, self.stores)
        return propose(
            self.plan, "inc", "0" * 64, {HOST: self.host.machine_id}, findings, supplies, self.baselines, now(),
            timedelta(hours=1),
        )  # fmt: skip

    def perform(self, connection: Connection, proposal: Proposal) -> list[str]:
        """Execute every action; what `tasks.act` does, without its guards."""
        work = cast("Any", SimpleNamespace(plan=self.plan, file=self.file, store=None))
        number = next(_NUMBERS)
        said = []
        for action in proposal.actions:
            effect = act.Effecting(work, connection, State(), f"inc-{number}-{action.id}", 2, quiet)
            said.append(act._perform(effect, action).sentence)
        return said

    def cure(self, connection: Connection) -> tuple[set[tuple[Code, str]], Proposal]:
        """Look, repair, and see that nothing is left; returns what was found and what was done."""
        findings = self.look(connection)
        proposal = self.propose(connection, findings)
        assert not proposal.unmet, [unmet.sentence for unmet in proposal.unmet]
        with self.equipped(connection, findings):
            self.perform(connection, proposal)
        left = self.look(connection)
        assert not left, [finding.sentence for finding in left]
        return {(finding.code, finding.subject) for finding in findings}, proposal
