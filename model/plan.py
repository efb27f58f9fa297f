"""The recovery plan: what a software-damage emergency plan says, as typed values (YAML is read by `planfile`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from model.assets import Asset, Name, PostgresAsset, Seconds, SecretRef, Word
from model.canonical import Value
from model.severity import DEFAULT_MATRIX, Level

def _host_key(text: str) -> str:
    parts = text.split()
    if len(parts) < 2 or not parts[0].startswith(("ssh-", "ecdsa-", "sk-")):
        raise ValueError("a host key is one line `ssh-ed25519 AAAA…` as in /etc/ssh/ssh_host_ed25519_key.pub")
    return " ".join(parts[:2])


class Person(Value):
    """A real person with contact channels (R-ORG-4, R-ORG-5) and the proofs of a sign-off."""

    name: str = Field(min_length=1, max_length=80)
    email: str = Field(default="", pattern=r"^$|^[^@\s]+@[^@\s]+$")
    phone: str = ""
    totp: SecretRef | None = None
    ssh_keys: tuple[Annotated[str, AfterValidator(_host_key)], ...] = ()


class Roles(Value):
    """Who fills which role of the emergency organisation (R-ORG-1…3)."""

    leading_group: tuple[Word, ...] = Field(min_length=1)
    working_group: tuple[Word, ...] = Field(min_length=1)
    technical_support: tuple[Word, ...] = ()
    information: tuple[Word, ...] = ()
    user_service: tuple[Word, ...] = ()
    logistics: tuple[Word, ...] = ()

    def of(self, person: str) -> tuple[str, ...]:
        """The roles a person fills."""
        return tuple(role for role in type(self).model_fields if person in getattr(self, role))


Role = Literal[
    "leading_group", "working_group", "technical_support", "information", "user_service", "logistics"
]


class Host(Value):
    """A host and the three facts of its identity: host key, machine-id, inventory role (G7)."""

    address: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$")
    port: int = Field(default=22, ge=1, le=65535)
    user: Word = "root"
    key: SecretRef
    host_key: Annotated[str, AfterValidator(_host_key)]
    machine_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    machine_id_file: str = Field(default="/etc/machine-id", pattern=r"^/")
    role: Literal["production", "staging"] = "production"
    sudo: bool = False
    state_dir: str = Field(default="/var/lib/reinstate", pattern=r"^/[^\x00\n]*$")


class S3Source(Value):
    """Backups in an S3 bucket. `compatible` sends no checksum headers that only AWS understands."""

    kind: Literal["s3"]
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._/-]*$")
    endpoint: str = Field(default="", pattern=r"^$|^https?://")
    region: str = "us-east-1"
    access_key: SecretRef
    secret_key: SecretRef
    compatible: bool = True
    pull: Literal["auto", "stream"] = "auto"


class DirectorySource(Value):
    """Backups in a directory of the orchestrator (an NFS mount, a test bed). A relative path is beside the plan."""

    kind: Literal["directory"]
    path: str = Field(min_length=1)


BackupSource = Annotated[S3Source | DirectorySource, Field(discriminator="kind")]


class Probe(Value):
    """An HTTP acceptance probe, sent from the orchestrator or, with `from_host`, from the host itself."""

    name: Name
    url: str = Field(pattern=r"^https?://[^\s]+$")
    from_host: Name | None = None
    status: int = Field(default=200, ge=100, le=599)
    contains: str = ""
    timeout: Seconds = 10.0


class Expectation(Value):
    """One great-expectations expectation by its own snake-case type and arguments."""

    type: str = Field(pattern=r"^expect_[a-z_]+$")
    kwargs: dict[str, str | int | float | bool | None | list[str | int | float]] = {}


class TableChecks(Value):
    """Integrity expectations on one table of a database asset; an empty table always fails (G11)."""

    database: Name
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    expectations: tuple[Expectation, ...] = Field(min_length=1)


class Checks(Value):
    """What proves that the service works again."""

    probes: tuple[Probe, ...] = ()
    tables: tuple[TableChecks, ...] = ()
    soak: Seconds = 60.0
    interval: Seconds = 5.0


class GateRule(Value):
    """Who signs a gate: `quorum` different people out of `roles`."""

    roles: tuple[Role, ...] = ("leading_group",)
    quorum: int = Field(default=1, ge=1, le=20)
    deadline: Seconds = 4 * 3600.0
    on_timeout: Literal["hold", "deny", "roll back", "proceed"] = "hold"


class SignOff(Value):
    """The two gates of a recovery (R-RESP-3, R-RESP-7)."""

    decide: GateRule = GateRule()
    accept: GateRule = GateRule()


class Objectives(Value):
    """Targets in seconds: time to resume, and the age of data that may be lost."""

    rto: Seconds
    rpo: Seconds


class Service(Value):
    """What the plan protects, for people."""

    name: str = Field(min_length=1, max_length=120)
    description: str = ""
    owner: Word


def _matrix(value: object) -> object:
    return value if value is not None else DEFAULT_MATRIX


class Plan(Value):
    """One version of an organisation's emergency plan for software damage."""

    reinstate: Literal[1] = 1
    name: Name
    version: str = Field(min_length=1, max_length=40)
    service: Service
    people: dict[Word, Person]
    roles: Roles
    objectives: Objectives
    severity: Annotated[dict[str, dict[str, Level]], BeforeValidator(_matrix)] = DEFAULT_MATRIX
    hosts: dict[Name, Host] = Field(min_length=1)
    backups: dict[Name, BackupSource] = {}
    package_stores: dict[Name, DirectorySource] = {}
    assets: dict[Name, Asset] = Field(min_length=1)
    checks: Checks = Checks()
    signoff: SignOff = SignOff()

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        for path, what in self.dangling():
            raise ValueError(f"{path}: {what}")
        return self

    def dangling(self) -> list[tuple[str, str]]:
        """References to names the plan does not define, as (dotted path, sentence)."""
        wrong: list[tuple[str, str]] = []

        def known(path: str, name: str | None, section: object, noun: str) -> None:
            names = list(section) if isinstance(section, dict) else []
            if name is not None and name not in names:
                wrong.append((path, f"{noun} {name!r} is not defined; defined: {', '.join(names) or 'none'}"))

        known("service.owner", self.service.owner, self.people, "person")
        for role in Roles.model_fields:
            for person in getattr(self.roles, role):
                known(f"roles.{role}", person, self.people, "person")
        for name, asset in self.assets.items():
            known(f"assets.{name}.host", asset.host, self.hosts, "host")
            known(f"assets.{name}.backup", getattr(asset, "backup", None), self.backups, "backup")
            known(f"assets.{name}.store", getattr(asset, "store", None), self.package_stores, "package store")
            for other in asset.depends_on:
                known(f"assets.{name}.depends_on", other, self.assets, "asset")
            for other in asset.services:
                if other not in self.assets or self.assets[other].kind != "service":
                    wrong.append((f"assets.{name}.services", f"{other!r} is not an asset of kind service"))
        for number, table in enumerate(self.checks.tables):
            if not isinstance(self.assets.get(table.database), PostgresAsset):
                wrong.append((f"checks.tables.{number}.database", f"{table.database!r} is not a database asset"))
        for probe in self.checks.probes:
            known(f"checks.probes.{probe.name}.from_host", probe.from_host, self.hosts, "host")
        for gate in ("decide", "accept"):
            rule: GateRule = getattr(self.signoff, gate)
            signers = {person for role in rule.roles for person in getattr(self.roles, role)}
            if len(signers) < rule.quorum:
                wrong.append(
                    (f"signoff.{gate}.quorum", f"needs {rule.quorum} people, the roles have {len(signers)}")
                )
        return wrong
