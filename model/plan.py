"""The recovery plan: what a software-damage emergency plan says, as typed values (YAML is read by `planfile`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from model.alerts import AlertRules
from model.assets import (
    Asset,
    DatabaseAsset,
    MariadbAsset,
    Name,
    PostgresAsset,
    Seconds,
    SecretRef,
    ServiceAsset,
    Word,
)
from model.backup_sources import BackupSource, DirectorySource, EngineSource, PgBackRestSource, S3Source
from model.canonical import Value
from model.communication import Audience, Communication, GateName
from model.drill import DrillRule
from model.host import Host, public_key
from model.messages import Moment
from model.points import PointRule
from model.readiness import ReadinessRule
from model.review import ReviewRule
from model.scanning import BackUpRule, ScanRule
from model.schedule import Schedule
from model.severity import DEFAULT_MATRIX, Level
from model.status_page import StatusPage
from model.verification import VerificationRule


class Person(Value):
    """A real person with contact channels (R-ORG-4, R-ORG-5) and the proofs of a sign-off."""

    name: str = Field(min_length=1, max_length=80)
    email: str = Field(default="", pattern=r"^$|^[^@\s]+@[^@\s]+$")
    phone: str = ""
    totp: SecretRef | None = None
    ssh_keys: tuple[Annotated[str, AfterValidator(public_key)], ...] = ()


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


class DirectoryPackages(DirectorySource):
    """Package files in a directory, with a signed index. `keys`: files of the public keys that may sign it."""

    keys: tuple[str, ...] = ()


class S3Packages(S3Source):
    """Package files in an S3 bucket, with a signed index. `keys`: files of the public keys that may sign it."""

    keys: tuple[str, ...] = ()


PackageSource = Annotated[S3Packages | DirectoryPackages, Field(discriminator="kind")]


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
    kwargs: dict[str, str | int | float | bool | list[str | int | float] | None] = {}


Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Fresh(Value):
    """The newest moment in a column is no older than this, by the database's own clock."""

    column: Column
    within: Seconds


class Reference(Value):
    """Every value of a column is a key of another table."""

    column: Column
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    key: Column = "id"


class TableChecks(Value):
    """Integrity expectations on one table of a database asset; an empty table always fails (G11).

    Attributes:
        fresh: columns that say how new the newest row is.
        refers: columns that refer to other tables; values that refer to nothing are counted.
        recorded: `rows`: no fewer than the newest recovery point recorded; `checksum`: the very content it recorded,
            for tables that do not change.
    """

    database: Name
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    expectations: tuple[Expectation, ...] = ()
    fresh: tuple[Fresh, ...] = ()
    refers: tuple[Reference, ...] = ()
    recorded: tuple[Literal["rows", "checksum"], ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.expectations or self.fresh or self.refers or self.recorded):
            raise ValueError("give `expectations`, `fresh`, `refers` or `recorded`")
        return self


class Checks(Value):
    """What proves that the service works again."""

    probes: tuple[Probe, ...] = ()
    tables: tuple[TableChecks, ...] = ()
    soak: Seconds = 60.0
    interval: Seconds = 5.0


OnTimeout = Literal["hold", "deny", "roll_back", "proceed"]
AT_TIMEOUT: Mapping[GateName, tuple[OnTimeout, ...]] = {
    "decide": ("hold", "deny"), "accept": ("hold", "deny", "roll_back", "proceed"), "break_glass": ("hold", "deny"),
    "publish": ("hold", "deny"),
}  # fmt: skip
"""What may happen by itself at each gate: nothing is ever changed that nobody signed."""


class GateRule(Value):
    """Who signs a gate: `quorum` different people out of `roles`.

    Attributes:
        deadline: from its opening on.
        on_timeout: what happens then.
        remind: how long before the deadline those who may still sign are told again.
        escalate: how long before the deadline `escalate_to` is told that it is not signed.
        escalate_to: roles whose people are told; signing stays with `roles`.
    """

    roles: tuple[Role, ...] = ("leading_group",)
    quorum: int = Field(default=1, ge=1, le=20)
    deadline: Seconds = 4 * 3600.0
    on_timeout: OnTimeout = "hold"
    remind: tuple[Seconds, ...] = (3600.0, 900.0)
    escalate: Seconds = 1800.0
    escalate_to: tuple[Role, ...] = ("leading_group", "working_group")


class SignOff(Value):
    """The gates of a recovery (R-RESP-3, R-RESP-7), of following a changed plan, and of publishing a version.

    Attributes:
        break_glass: who may let a real incident follow a plan that was changed and not published; at least two people.
            The deadline is how long their word holds for a start.
        publish: who signs a new version; the version published before says who.
    """

    decide: GateRule = GateRule()
    accept: GateRule = GateRule()
    break_glass: GateRule = GateRule(roles=("leading_group", "working_group"), quorum=2)
    publish: GateRule = GateRule()

    @model_validator(mode="after")
    def _glass_needs_two(self) -> Self:
        if self.break_glass.quorum < 2:
            raise ValueError("break_glass.quorum: one person alone never sets a plan aside; give 2 or more")
        return self


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
    package_stores: dict[Name, PackageSource] = {}
    assets: dict[Name, Asset] = Field(min_length=1)
    checks: Checks = Checks()
    signoff: SignOff = SignOff()
    scan: ScanRule = ScanRule()
    back_up: BackUpRule = BackUpRule()
    recovery_points: PointRule = PointRule()
    verification: VerificationRule = VerificationRule()
    drill: DrillRule = DrillRule()
    readiness: ReadinessRule = ReadinessRule()
    communication: Communication | None = None
    status_page: StatusPage | None = None
    alerts: AlertRules | None = None
    review: ReviewRule = ReviewRule()

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        if wrong := self.dangling():
            raise ValueError("\n".join(f"{path}: {what}" for path, what in wrong))
        return self

    @property
    def kept_as(self) -> str:
        """Under what name what is known of its hosts is kept."""
        return self.name

    @property
    def services(self) -> dict[str, ServiceAsset]:
        """The service assets by name."""
        return {name: asset for name, asset in self.assets.items() if isinstance(asset, ServiceAsset)}

    def used_by(self, asset: Asset) -> dict[str, ServiceAsset]:
        """The services of an asset that run on its host: what has to stand still while it is exchanged."""
        found = {name: self.services[name] for name in asset.services}
        return {name: one for name, one in found.items() if one.host == asset.host}

    @property
    def told(self) -> Communication | None:
        """`communication` with whom the gates ask, remind and escalate to, as audiences of their own."""
        if self.communication is None:
            return None
        audiences: dict[str, Audience] = {}
        for gate in AT_TIMEOUT:
            rule: GateRule = getattr(self.signoff, gate)
            for name, roles, moments in (
                (f"{gate}-signers", rule.roles, (Moment.ASKED, Moment.REMINDED)),
                (f"{gate}-escalation", rule.escalate_to, (Moment.ESCALATED,)),
            ):
                people = dict.fromkeys(person for role in roles for person in getattr(self.roles, role))
                members = tuple(p for p in people if self._reached(p))
                if members:
                    audiences[name] = Audience(members=members, moments=moments, gate=gate, details=True)
        members = tuple(p for p in self.publishers if self._reached(p))
        if members and any(one.approve for one in self.communication.audiences.values()):
            audiences["publishers"] = Audience(members=members, moments=(Moment.HELD,), details=True)
        return self.communication.model_copy(
            update={"audiences": {**self.communication.audiences, **audiences}}
        )

    def _reached(self, person: str) -> bool:
        """Whether a person has an address of their own: what concerns only them is not said to a whole room."""
        routes = self.communication.routes(person, self.people) if self.communication else ()
        return any(route.to for route in routes)

    @property
    def publishers(self) -> tuple[str, ...]:
        """Who approves the text of a message that the plan holds back."""
        return self.roles.information or self.roles.leading_group

    @property
    def reviewer(self) -> str:
        """The person `review.owner` means: that person, or the first of that role; empty when there is none."""
        owner = self.review.owner
        if owner in self.people:
            return owner
        holders: tuple[str, ...] = getattr(self.roles, owner) if owner in Roles.model_fields else ()
        return next(iter(holders), "")

    def order(self) -> list[str]:
        """Names of assets, what is depended on first; otherwise in the plan's own order."""
        done: dict[str, None] = {}

        def visit(name: str, trail: frozenset[str]) -> None:
            if name in done or name in trail:
                return
            for other in self.assets[name].depends_on:
                visit(other, trail | {name})
            done[name] = None

        for name in self.assets:
            visit(name, frozenset())
        return list(done)

    def needs(self, name: str) -> set[str]:
        """Everything an asset depends on, directly or not."""
        todo, found = list(self.assets[name].depends_on), set[str]()
        while todo:
            other = todo.pop()
            if other not in found and other in self.assets:
                found.add(other)
                todo += self.assets[other].depends_on
        return found

    def dangling(self) -> list[tuple[str, str]]:
        """References to names the plan does not define, and rules nobody can meet, as (dotted path, sentence)."""
        return [
            *self._people_wrong(), *self._backups_wrong(), *self._assets_wrong(), *self._checks_wrong(),
            *self._rules_wrong(), *self._drill_wrong(), *self._communication_wrong(), *self._alerts_wrong(),
        ]  # fmt: skip

    def _people_wrong(self) -> Iterator[tuple[str, str]]:
        yield from _known("service.owner", self.service.owner, self.people, "person")
        for role in Roles.model_fields:
            for person in getattr(self.roles, role):
                yield from _known(f"roles.{role}", person, self.people, "person")
        if not self.reviewer:
            yield (
                "review.owner",
                f"{self.review.owner!r} is no person of the plan and no role that somebody fills; people: "
                f"{', '.join(self.people) or 'none'}",
            )

    def _alerts_wrong(self) -> Iterator[tuple[str, str]]:
        for path, what in self.alerts.wrong(self.hosts) if self.alerts else ():
            yield f"alerts.{path}", what

    def _communication_wrong(self) -> Iterator[tuple[str, str]]:
        for path, what in self.communication.wrong(self.people) if self.communication else ():
            yield f"communication.{path}", what

    def _backups_wrong(self) -> Iterator[tuple[str, str]]:
        stores = {name: one for name, one in self.backups.items() if not isinstance(one, EngineSource)}
        for name, source in self.backups.items():
            if isinstance(source, EngineSource):
                yield from _known(
                    f"backups.{name}.manifests", source.manifests, stores, "backup of kind s3 or directory"
                )

    def _assets_wrong(self) -> Iterator[tuple[str, str]]:
        services = {name: asset for name, asset in self.assets.items() if asset.kind == "service"}
        for name, asset in self.assets.items():
            here = f"assets.{name}"
            yield from _known(f"{here}.host", asset.host, self.hosts, "host")
            yield from _known(f"{here}.backup", getattr(asset, "backup", None), self.backups, "backup")
            yield from _known(
                f"{here}.store", getattr(asset, "store", None), self.package_stores, "package store"
            )
            yield from _known(f"{here}.service", getattr(asset, "service", None), services, "service asset")
            for other in asset.services:
                yield from _known(f"{here}.services", other, services, "service asset")
            for other in asset.depends_on:
                yield from _known(f"{here}.depends_on", other, self.assets, "asset")
                if asset.step.critical and other in self.assets and not self.assets[other].step.critical:
                    yield (
                        f"{here}.depends_on",
                        f"{name!r} is critical and {other!r}, which it depends on, is not: set "
                        f"`assets.{other}.step.critical: true`, or {name!r} to false",
                    )
            if isinstance(source := self.backups.get(getattr(asset, "backup", None) or ""), PgBackRestSource):
                yield from self._cluster_wrong(here, asset, source)
            if isinstance(asset, DatabaseAsset):
                yield from self._database_wrong(here, asset)
            if name in self.needs(name):
                yield f"{here}.depends_on", f"{name!r} depends on itself in the end; an order is impossible"

    def _cluster_wrong(self, here: str, asset: Asset, source: PgBackRestSource) -> Iterator[tuple[str, str]]:
        """What must be known of a cluster that is restored as a whole."""
        if not isinstance(asset, PostgresAsset):
            yield (
                f"{here}.backup",
                f"{source.kind} keeps PostgreSQL clusters, not assets of kind {asset.kind}",
            )
            return
        keys = ("os_user", "service", "data_directory")
        yield from _lacking(here, asset, keys, f"has its backups kept by {source.kind}")

    def _database_wrong(self, here: str, asset: DatabaseAsset) -> Iterator[tuple[str, str]]:
        """What must be known of a database, and who can keep what its tool writes."""
        if isinstance(asset, MariadbAsset) and asset.method == "mariabackup":
            yield from _lacking(here, asset, ("service", "data_directory"), "is backed up by mariabackup")
        source = self.backups.get(asset.backup)
        if isinstance(source, EngineSource) and not isinstance(source, PgBackRestSource):
            yield (
                f"{here}.backup",
                f"a database is streamed into a backup of kind s3 or directory; {source.kind} keeps sets of files",
            )

    def _checks_wrong(self) -> Iterator[tuple[str, str]]:
        databases = {name: asset for name, asset in self.assets.items() if isinstance(asset, DatabaseAsset)}
        for number, table in enumerate(self.checks.tables):
            yield from _known(f"checks.tables.{number}.database", table.database, databases, "database asset")
        for number, probe in enumerate(self.checks.probes):
            yield from _known(f"checks.probes.{number}.from_host", probe.from_host, self.hosts, "host")

    @property
    def schedules(self) -> dict[str, Schedule]:
        """What runs by itself, by its key in the plan; a key whose value is a `Schedule` is one."""
        found = {key: getattr(self, key) for key in type(self).model_fields}
        return {key: rule for key, rule in found.items() if isinstance(rule, Schedule)}

    def _drill_wrong(self) -> Iterator[tuple[str, str]]:
        for name in self.drill.staging:
            yield from _known(f"drill.staging.{name}", name, self.hosts, "host")
        probes = {probe.name: probe for probe in self.checks.probes}
        for name in self.drill.probes:
            yield from _known(f"drill.probes.{name}", name, probes, "probe")

    def _rules_wrong(self) -> Iterator[tuple[str, str]]:
        for key, timed in self.schedules.items():
            for where, sentence in timed.wrong(self.name):
                yield f"{key}.{where}", sentence
        yield from _known("verification.host", self.verification.host, self.hosts, "host")
        sandbox = self.hosts.get(self.verification.host or "")
        if sandbox is not None and sandbox.role != "staging":
            yield (
                "verification.host",
                f"{self.verification.host!r} is a {sandbox.role} host; a sandbox is on staging",
            )
        for degree in dict.fromkeys((*DEFAULT_MATRIX, *self.severity)):
            scopes, given = DEFAULT_MATRIX.get(degree, {}), self.severity.get(degree, {})
            if not scopes:
                yield f"severity.{degree}", f"{degree!r} is no degree; there are: {', '.join(DEFAULT_MATRIX)}"
            elif missing := [scope for scope in scopes if scope not in given]:
                yield f"severity.{degree}", f"no level for {', '.join(missing)}"
            elif unknown := [scope for scope in given if scope not in scopes]:
                yield (
                    f"severity.{degree}.{unknown[0]}",
                    f"{unknown[0]!r} is no scope; there are: {', '.join(scopes)}",
                )
        for gate in AT_TIMEOUT:
            if gate == "break_glass" and gate not in self.signoff.model_fields_set:
                continue  # a plan of one person simply cannot be set aside
            rule: GateRule = getattr(self.signoff, gate)
            if rule.on_timeout not in AT_TIMEOUT[gate]:
                yield (
                    f"signoff.{gate}.on_timeout",
                    f"{rule.on_timeout!r} would do at {gate} what nobody signed; give one of "
                    f"{', '.join(AT_TIMEOUT[gate])}",
                )
            signers = {person for role in rule.roles for person in getattr(self.roles, role)}
            if len(signers) < rule.quorum:
                yield f"signoff.{gate}.quorum", f"needs {rule.quorum} people, the roles have {len(signers)}"


def _lacking(here: str, asset: Asset, keys: Sequence[str], what: str) -> Iterator[tuple[str, str]]:
    for key in keys:
        if not getattr(asset, key):
            yield f"{here}.{key}", f"a database that {what} needs it"


def _known(
    path: str, name: str | None, section: Mapping[str, object], noun: str
) -> Iterator[tuple[str, str]]:
    if name is not None and name not in section:
        yield path, f"{noun} {name!r} is not defined; defined: {', '.join(section) or 'none'}"
