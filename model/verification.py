"""Scheduled backup-restore verification: which recovery points are restored next, and what their trials showed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field

from model.assets import Name, Seconds
from model.canonical import HostText, Value
from model.schedule import Schedule

KEPT = 500
"""Trials remembered per plan."""
SLOWER = 2.0
"""A restore that takes this many times the median of those before it is told."""
NOTICED = 5.0
"""Seconds below which nobody minds how long a restore took."""
_WAYS = ("newest", "oldest", "random")


class VerificationRule(Schedule):
    """Regular restores of recovery points into a sandbox, where they are checked and removed again (R-USE-5).

    Attributes:
        host: staging host the sandbox is on; empty: beside the asset, on its own host. A cluster that pgBackRest keeps
            is always restored beside the live one.
        window: how long a proof counts: an asset without a restored recovery point for longer is told.
        points: recovery points of each asset per run.
    """

    flow: ClassVar[str] = "verify_backups"

    host: Name | None = None
    window: Seconds = 30 * 86400.0
    points: int = Field(default=1, ge=1, le=100)


class Trial(Value):
    """One recovery point, restored into a sandbox and checked there.

    Attributes:
        host: the sandbox was on.
        taken_at: age of the point; what was lost if it were the one to go back to (RPO).
        outcome: `whole`: it is what was backed up, and every check of the copy passed; `damaged`: it is not; `not
            tried`: the sandbox or a tool did not allow it, or the point is refused; `blind`: the check sees no damage.
        control: the same checks found the copy damaged after we had damaged it; None: nothing in it could be.
        seconds: from the first byte fetched to the last check passed (RTO of the data).
    """

    asset: Name
    kind: str
    host: str
    source: str
    point: str
    taken_at: AwareDatetime
    at: AwareDatetime
    outcome: Literal["whole", "damaged", "not tried", "blind"]
    control: bool | None = None
    sentence: HostText
    seconds: float = Field(default=0.0, ge=0)
    bytes: int = Field(default=0, ge=0)

    @property
    def ok(self) -> bool:
        """Whether the recovery point is proven."""
        return self.outcome == "whole"


class Verified(Value):
    """What one run of `verify_backups` showed; `wrong`: everything a person must look at."""

    sentence: HostText
    trials: tuple[Trial, ...]
    wrong: tuple[HostText, ...] = ()


class Trials(Value):
    """All that is remembered of a plan's trials, oldest first."""

    trials: tuple[Trial, ...] = ()

    def with_trial(self, trial: Trial) -> Trials:
        """With one more."""
        return self.model_copy(update={"trials": (*self.trials, trial)[-KEPT:]})

    def of(self, asset: str) -> tuple[Trial, ...]:
        """Those of one asset, oldest first."""
        return tuple(trial for trial in self.trials if trial.asset == asset)


def choose(points: Sequence[str], trials: Iterable[Trial], count: int) -> list[str]:
    """The recovery points of an asset to restore now, so that in the end each was.

    The newest, the oldest and one at random take turns, those first that were never restored; when all were, those
    whose trial is longest ago.

    Args:
        points: ids of those that may be used, newest first.
        trials: earlier ones of the asset.
        count: how many.
    """
    last: dict[str, datetime] = {}
    turns = 0
    for trial in trials:
        last[trial.point] = trial.at
        turns += 1
    never = [point for point in points if point not in last]
    chance = random.Random(f"{turns} {points[:1]}")  # noqa: S311 - a fair choice, no secret
    chosen: list[str] = []
    while never and len(chosen) < count:
        way = _WAYS[(turns + len(chosen)) % len(_WAYS)] if turns or chosen else "newest"
        place = {"newest": 0, "oldest": len(never) - 1}.get(way, chance.randrange(len(never)))
        chosen.append(never.pop(place))
    rest = sorted((point for point in points if point in last), key=lambda point: last[point])
    return chosen + rest[: count - len(chosen)]


def slower(trial: Trial, before: Iterable[Trial]) -> str:
    """That a restore took much longer than those before it, in one sentence; empty when it did not."""
    earlier = [
        one.seconds for one in before
        if (one.asset, one.host, one.ok) == (trial.asset, trial.host, True) and one.bytes * 2 > trial.bytes
    ]  # fmt: skip
    usual = median(earlier) if len(earlier) >= 3 else 0.0
    if not usual or trial.seconds < max(NOTICED, SLOWER * usual):
        return ""
    return f"{trial.asset}: restoring took {trial.seconds:.0f} s, usual are {usual:.0f} s: see what became slower."


def proofs_of(trials: Iterable[Trial]) -> list[datetime]:
    """When recovery points of these were restored and found whole."""
    return [trial.at for trial in trials if trial.ok]


def unproven(asset: str, rule: VerificationRule, proofs: Iterable[datetime], moment: datetime) -> str:
    """That an asset's backups were not proven within the window, in one sentence; empty when they were.

    A plan without a schedule of verification promises nothing.
    """
    return aged(asset, rule.window, proofs, moment) if rule.schedule else ""


def aged(asset: str, window: float, proofs: Iterable[datetime], moment: datetime) -> str:
    """That no proof of an asset's backups counts any more, in one sentence; empty when one does."""
    last = max(proofs, default=None)
    if last is None:
        return f"{asset}: no recovery point was ever restored by a verification run; run `reinstate verify-backups`."
    age = moment - last
    if age <= timedelta(seconds=window):
        return ""
    return (
        f"{asset}: the last proof that its backups restore is {age.days} days old, "
        f"{window / 86400:.0f} are allowed; see why the runs of verify_backups are missing."
    )


def since_proven(assets: Iterable[str], known: Trials, moment: datetime) -> Mapping[str, float | None]:
    """Days since each asset's backups were last proven; None: never."""
    found = {asset: max(proofs_of(known.of(asset)), default=None) for asset in assets}
    return {
        asset: None if last is None else (moment - last).total_seconds() / 86400
        for asset, last in found.items()
    }
