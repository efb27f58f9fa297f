"""Whether the assets of a plan could be recovered now: their hosts asked side by side, changing nothing (R-PREV-1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.backups.base import BackupStore
from blocks.backups.engine import engine_of
from blocks.backups.pgbackrest import PgBackRestStore
from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from blocks.packages import PackageStore
from checks import client_tools, cluster_supplies, obtainable, room, toolbox
from checks.many import side_by_side
from model import readiness_rules as rules
from model.assets import Asset, DpkgAsset, PipAsset, PostgresAsset, RpmAsset
from model.canonical import now
from model.command import Command
from model.errors import BadInput, PreconditionFailed, ReinstateError
from model.readiness import Gap, Lack, Readiness, until
from model.readiness_rules import Need, Room
from model.verification import aged
from tasks.recovery_points import AssetPoints, backed_up, survey
from tasks.work import PlanFile

DEBIAN = frozenset({"dpkg", "apt", "libc-bin"})
"""Packages whose programs only an asset of Debian packages needs."""

_STOCK = "`reinstate packages stock` while the mirrors still have them; or update them, and stock anew"


@dataclass
class AssetLook:
    """What was seen of one asset so far.

    Attributes:
        size: bytes of the recovery point it would be restored from.
        about: what is known of its recovery points.
    """

    name: str
    asset: Asset
    checked: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    expiries: list[datetime] = field(default_factory=list)
    size: int = 0
    about: AssetPoints | None = None

    def row(self, file: PlanFile, at: datetime) -> Readiness:
        """As it is kept."""
        return Readiness(
            asset=self.name, kind=self.asset.kind, host=self.asset.host, checked=tuple(self.checked),
            gaps=tuple(self.gaps), proven_until=until(file.plan.readiness, file.plan.name, at, self.expiries),
            backed_up=self.name in backed_up(file.plan),
            point_at=self.about.sound_at if self.about else None,
            proven_at=self.about.proven_at if self.about else None,
        )  # fmt: skip


@dataclass
class HostLook:
    """What was seen of one host, and of its assets."""

    name: str
    gaps: list[Gap] = field(default_factory=list)
    assets: list[AssetLook] = field(default_factory=list)


@dataclass(frozen=True)
class Hosts:
    """What was seen of all hosts.

    Attributes:
        rows: one per asset, in the plan's order.
        spare: gaps of hosts that no asset is on: staging and spare.
        largest: bytes of the largest recovery point that would be used.
    """

    rows: tuple[Readiness, ...]
    spare: tuple[Gap, ...] = ()
    largest: int = 0


def ask_hosts(file: PlanFile, journal: JournalStore, at: datetime) -> Hosts:
    """Ask every host of a plan.

    Args:
        file: the plan.
        journal: where the ledger of recovery points is.
        at: the moment of the look.
    """
    stores, packages = _opened(file, journal)
    looks = side_by_side(lambda name: _host(file, journal, name, stores, packages), list(file.plan.hosts))
    seen = {one.name: one for look in looks for one in look.assets}
    spare = tuple(
        gap.model_copy(update={"lack": Lack.STAGING_DOWN, "blocks": False, "what": f"{gap.lack}: {gap.what}"})
        for look in looks
        if not look.assets
        for gap in look.gaps
    )
    rows = tuple(seen[name].row(file, at) for name in file.plan.assets)
    return Hosts(rows, spare, max((one.size for one in seen.values()), default=0))


def _opened(
    file: PlanFile, journal: JournalStore
) -> tuple[Mapping[str, BackupStore] | ReinstateError, Mapping[str, PackageStore] | ReinstateError]:
    """The sources of a plan, or why they cannot be opened: a secret that is gone must not hide everything else."""
    stores: Mapping[str, BackupStore] | ReinstateError
    packages: Mapping[str, PackageStore] | ReinstateError
    try:
        stores = file.backups()
    except ReinstateError as error:
        stores = error
    try:
        packages = file.package_stores(journal)
    except ReinstateError as error:
        packages = error
    return stores, packages


def _host(
    file: PlanFile, journal: JournalStore, name: str, stores: Mapping[str, BackupStore] | ReinstateError,
    packages: Mapping[str, PackageStore] | ReinstateError,
) -> HostLook:  # fmt: skip
    look = HostLook(name, assets=[AssetLook(n, a) for n, a in file.plan.assets.items() if a.host == name])
    connection = None
    try:
        try:
            connection = file.connect(name)
        except ReinstateError as error:
            look.gaps.append(rules.of_error("connect", name, error))
        if connection is not None and not _proven(look, connection):
            connection.close()
            connection = None
        for one in look.assets:
            one.gaps += look.gaps
            if connection is not None:
                one.checked += ["access", "rights", "identity"]
            _points(one, file, journal, stores, connection)
        if connection is not None:
            _on_host(look, file, connection, packages)
    finally:
        if connection is not None:
            connection.close()
    return look


def _proven(look: HostLook, connection: Connection) -> bool:
    """Whether it is the right host and lets us do what the plan says."""
    try:
        answer = connection.run(Command(("true",), sudo=True, timeout=30.0))
        if not answer.ok:
            raise PreconditionFailed(
                f"`true` ended with {answer.status}: {answer.tail(1)}", look.name, "look at it by hand"
            )
    except ReinstateError as error:
        look.gaps.append(rules.of_error("sudo", look.name, error))
        return False
    try:
        prove(connection)
    except ReinstateError as error:
        look.gaps.append(rules.of_error("identity", look.name, error))
        return False
    return True


def _points(
    one: AssetLook, file: PlanFile, journal: JournalStore, stores: Mapping[str, BackupStore] | ReinstateError,
    connection: Connection | None,
) -> None:  # fmt: skip
    """What an asset would be restored from: there, fresh, proven."""
    source = backed_up(file.plan).get(one.name)
    if source is None:
        return
    if isinstance(stores, ReinstateError):
        one.gaps.append(rules.of_source(source, stores))
        return
    store = stores[source]
    cluster = store if isinstance(store, PgBackRestStore) else None
    if connection is None and (cluster is not None or engine_of(store) is not None):
        return  # the tool runs on the host, which is a gap already
    try:
        about = survey(file, journal, only={one.name})[0]
        lacking = _cluster(one, connection, cluster) if connection is not None and cluster is not None else []
    except ReinstateError as error:
        one.gaps.append(rules.of_source(source, error))
        return
    one.checked.append("recovery points")
    lost = [f"{lost.why}: {lost.sentence}" for lost in about.lost if lost.grave]
    one.gaps += lacking
    proofs = [about.proven_at] if about.proven_at is not None else []
    restorable = one.asset.kind != "rpm"  # of these only the database is kept, which no sandbox restores
    unproven = aged(one.name, file.plan.verification.window, proofs, now()) if restorable else ""
    one.gaps += rules.of_points(
        source, about.chosen, about.judged, lost, about.overdue, unproven, about.remarks
    )
    one.about = about
    one.size = about.used.measure.bytes if about.used is not None else 0
    one.expiries += _expiries(file, about)


def _cluster(one: AssetLook, connection: Connection, store: PgBackRestStore) -> list[Gap]:
    """Whether pgBackRest itself still has a set that one of our points names."""
    assert isinstance(one.asset, PostgresAsset)  # noqa: S101 - the plan's own rule
    sets, refused = cluster_supplies.gather(one.name, one.asset, connection, store)
    if sets:
        return []
    what = f"no set of the repository can be restored: {' '.join(r.sentence for r in refused) or 'there is none.'}"
    return [Gap(lack=Lack.POINT_MISSING, place=store.name, what=what, remedy="`reinstate back-up`")]


def _expiries(file: PlanFile, about: AssetPoints) -> list[datetime]:
    plan = file.plan
    found = [about.sound_at + timedelta(seconds=plan.objectives.rpo)] if about.sound_at is not None else []
    if about.proven_at is not None:
        found.append(about.proven_at + timedelta(seconds=plan.verification.window))
    return found


def _on_host(
    look: HostLook, file: PlanFile, connection: Connection, packages: Mapping[str, PackageStore] | ReinstateError
) -> None:  # fmt: skip
    """What only the host can say: tools, room, packages. One that fails hides no other."""
    _tools(look, file, connection)
    state_dir = file.plan.hosts[look.name].state_dir
    needs = {one.name: rules.needs_of(one.asset, state_dir, one.size) for one in look.assets}
    rooms: Mapping[str, Room] | None = None
    try:
        rooms = room.look(connection, list(dict.fromkeys(n.path for some in needs.values() for n in some)))
    except ReinstateError as error:
        _not_looked(look.assets, look.name, error)
    for one in look.assets:
        if rooms is not None:
            one.gaps += _room(one, needs[one.name], rooms, file)
        _secret(one, file)
        _packages(one, connection, packages)


def _room(one: AssetLook, needs: Sequence[Need], rooms: Mapping[str, Room], file: PlanFile) -> list[Gap]:
    one.checked.append("room")
    return rules.of_room(one.asset.host, needs, rooms, file.plan.readiness.head_room)


def _tools(look: HostLook, file: PlanFile, connection: Connection) -> None:
    """The system's own tools once for all assets, then the programs of each."""
    lendable = any(isinstance(one.asset, DpkgAsset) and one.asset.root == "/" for one in look.assets)
    try:
        system = [
            (tool.name, tool.why) for tool in toolbox.probe(connection)
            if tool.needed and (lendable or toolbox.OWNERS.get(tool.name) not in DEBIAN)
        ]  # fmt: skip
        for one in look.assets:
            source = file.plan.backups.get(getattr(one.asset, "backup", None) or "")
            own = client_tools.broken(connection, client_tools.programs(one.asset, source))
            one.gaps += rules.of_tools(look.name, system, lendable=lendable)
            one.gaps += rules.of_tools(look.name, [(name, "does not start") for name in own], lendable=False)
            one.checked.append("tools")
    except ReinstateError as error:
        _not_looked([one for one in look.assets if "tools" not in one.checked], look.name, error)


def _not_looked(assets: Sequence[AssetLook], host: str, error: ReinstateError) -> None:
    for one in assets:
        one.gaps.append(rules.of_error("look", host, error))


def _secret(one: AssetLook, file: PlanFile) -> None:
    """The password of a database, if it has one."""
    reference = getattr(one.asset, "password", None)
    if reference is None:
        return
    one.checked.append("secrets")
    try:
        file.secrets.resolve(reference)
    except ReinstateError as error:
        one.gaps.append(rules.of_source(one.name, error))


def _packages(
    one: AssetLook, connection: Connection, packages: Mapping[str, PackageStore] | ReinstateError
) -> None:
    if not isinstance(one.asset, DpkgAsset | RpmAsset | PipAsset):
        return
    if isinstance(packages, ReinstateError):
        one.gaps.append(rules.of_source(one.name, packages))
        return
    place = f"{one.asset.host} {one.name}"
    try:
        found = obtainable.look(one.asset, connection, packages)
    except BadInput as error:
        one.gaps.append(rules.of_source(place, error))
    except ReinstateError as error:
        one.gaps.append(rules.of_error("look", place, error))
    else:
        one.checked.append("packages")
        one.gaps += rules.of_packages(place, found.lacking, found.count, found.refused, _STOCK)
