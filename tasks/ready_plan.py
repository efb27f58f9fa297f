"""Whether a plan itself could be followed now: published, its people enrolled and reachable, its channels open."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import datetime

from blocks.home import home
from blocks.journals.base import JournalStore
from model import readiness_rules as rules
from model.delegation import Delegation
from model.errors import ReinstateError
from model.outcome import Gate
from model.readiness import Gap, Lack, Readiness, until
from model.readiness_rules import Need, Room
from tasks.delegating import delegations_of, stand_ins_of
from tasks.inform import channel_of
from tasks.proofs import unable
from tasks.versions import versions_of
from tasks.work import PlanFile


def look_at_plan(
    file: PlanFile, store: JournalStore, at: datetime, spare: Iterable[Gap], largest: int
) -> Readiness:
    """The row of the plan itself.

    Args:
        file: the plan.
        store: the journal store.
        at: the moment of the look.
        spare: gaps of hosts that no asset is on.
        largest: bytes of the largest recovery point: a snapshot of what it replaces is kept here.
    """
    checked: list[str] = []
    gaps: list[Gap] = []
    ends: list[datetime] = []

    def look(name: str, facts: Callable[[], Iterable[Gap]]) -> None:
        try:
            gaps.extend(facts())
            checked.append(name)
        except ReinstateError as error:  # one that cannot be looked at hides no other, and never passes (G11)
            gaps.append(rules.of_error("look", str(file.path), error))

    look(
        "published",
        lambda: rules.of_publication(versions_of(store, file.plan.name), file.digest, str(file.path), at),
    )
    look("people", lambda: _people(file, store, at, ends))
    look("reach", lambda: rules.of_reach(file.plan))
    look("channels", lambda: _channels(file))
    look("room", lambda: _room(file, largest))
    if set(file.plan.hosts) - {asset.host for asset in file.plan.assets.values()}:
        look("staging", lambda: spare)
    return Readiness(
        checked=tuple(checked),
        gaps=tuple(gaps),
        proven_until=until(file.plan.readiness, file.plan.name, at, ends),
    )


def _people(file: PlanFile, store: JournalStore, at: datetime, ends: list[datetime]) -> Iterable[Gap]:
    given = delegations_of(store, file.plan)
    ends += [one.until for one in given if _in_force(one, at)]
    instead = {
        gate: stand_ins_of(store, file.plan, gate)(at) for gate in (Gate.DECIDE, Gate.ACCEPT, Gate.PUBLISH)
    }
    return list(rules.of_people(file.plan, unable(file, store), instead))


def _in_force(one: Delegation, at: datetime) -> bool:
    return bool(one.to) and one.at <= at < one.until


def _channels(file: PlanFile) -> Iterable[Gap]:
    """Channels whose secret is gone or is no address; nothing is sent."""
    found = []
    for name, declared in (file.plan.communication.channels if file.plan.communication else {}).items():
        try:
            channel_of(file.secrets, name, declared)
        except ReinstateError as error:
            found.append(
                Gap(
                    lack=Lack.CHANNEL_BROKEN, place=f"channel {name}", what=error.what, remedy=error.remedy,
                    blocks=False,
                )
            )  # fmt: skip
    return found


def _room(file: PlanFile, largest: int) -> list[Gap]:
    """Room for the snapshot, the evidence and the journal of an incident."""
    folder = home()
    free = shutil.disk_usage(folder).free
    rooms = {str(folder): Room(str(folder), "home", free)}
    return rules.of_room("Reinstate", [Need(str(folder), largest)], rooms, file.plan.readiness.head_room)
