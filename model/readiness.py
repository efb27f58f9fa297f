"""Readiness: whether what a plan promises could be done now, what is missing, and until when that is proven. Pure.

A plan and each of its assets is `qualified`, `degraded` or `blocked`; each gap says where it is and what closes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, AwareDatetime, Field, field_validator

from model.canonical import HostText, Value
from model.schedule import Schedule, cron, shortest

EVERY = timedelta(minutes=30)
"""Two runs by themselves are no closer, and what was seen counts no longer without a schedule."""

LATE = timedelta(minutes=10)
"""So much later than promised a run may end before what was seen is called out of date."""

KEPT = 500
"""Runs remembered per plan: some ten days of every half hour."""


class ReadinessRule(Schedule):
    """Regular looks at whether a recovery could be done now (R-PREV-1, R-PREV-4).

    Attributes:
        schedule: when, as a cron line, every 30 minutes at most; empty: only by hand.
        timezone: of the schedule.
        head_room: bytes that must be free wherever a recovery writes, beyond what it writes there.
    """

    flow: ClassVar[str] = "readiness"

    schedule: Annotated[str, AfterValidator(cron)] = "*/30 * * * *"
    head_room: int = Field(default=256 << 20, ge=0, le=1 << 50)

    @field_validator("schedule")
    @classmethod
    def _not_too_often(cls, line: str) -> str:
        distance = shortest(line)
        if distance is not None and distance < EVERY:
            raise ValueError(
                f"two runs are {distance.seconds // 60} minutes apart; hosts are asked every 30 minutes at most"
            )
        return line


class Qualification(StrEnum):
    """Whether a recovery could be done now, best first."""

    QUALIFIED = "qualified"
    DEGRADED = "degraded"
    BLOCKED = "blocked"


class Lack(StrEnum):
    """Stable names of gaps; never renamed, only added to."""

    HOST_UNREACHABLE = "HOST_UNREACHABLE"
    HOST_KEY_DIFFERS = "HOST_KEY_DIFFERS"
    LOGIN_REFUSED = "LOGIN_REFUSED"
    SECRET_MISSING = "SECRET_MISSING"  # noqa: S105 - the name of a gap
    IDENTITY_DIFFERS = "IDENTITY_DIFFERS"
    SUDO_REFUSED = "SUDO_REFUSED"
    TOOL_BROKEN = "TOOL_BROKEN"
    DISK_FULL = "DISK_FULL"
    DISK_READ_ONLY = "DISK_READ_ONLY"
    PACKAGE_GONE = "PACKAGE_GONE"
    POINT_MISSING = "POINT_MISSING"
    POINT_OVERDUE = "POINT_OVERDUE"
    POINT_VANISHED = "POINT_VANISHED"
    POINT_DOUBTFUL = "POINT_DOUBTFUL"
    POINT_UNPROVEN = "POINT_UNPROVEN"
    SOURCE_UNREACHABLE = "SOURCE_UNREACHABLE"
    QUORUM_OUT_OF_REACH = "QUORUM_OUT_OF_REACH"
    NOBODY_TO_SPARE = "NOBODY_TO_SPARE"
    PERSON_NOT_REACHED = "PERSON_NOT_REACHED"
    CHANNEL_BROKEN = "CHANNEL_BROKEN"
    PLAN_NOT_PUBLISHED = "PLAN_NOT_PUBLISHED"
    PLAN_CHANGED = "PLAN_CHANGED"
    PLAN_WRONG = "PLAN_WRONG"
    STAGING_DOWN = "STAGING_DOWN"
    NOT_CHECKED = "NOT_CHECKED"
    PLAN_BLOCKED = "PLAN_BLOCKED"
    DEPENDENCY_BLOCKED = "DEPENDENCY_BLOCKED"


class Gap(Value):
    """One thing that is missing.

    Attributes:
        place: host, path, person, store or file it is missing at.
        blocks: no recovery can be done; False: one can, with less than the plan promises.
    """

    lack: Lack
    place: HostText
    what: HostText
    remedy: HostText = ""
    blocks: bool = True

    @property
    def sentence(self) -> str:
        """One line for people."""
        head = f"{self.lack} {self.place}: {self.what}"
        return f"{head} Remedy: {self.remedy}" if self.remedy else head


class Readiness(Value):
    """One asset, or the plan itself.

    Attributes:
        asset: its name; empty: the plan itself.
        checked: the facts that were looked at; without any of them nothing is qualified (G11).
        gaps: what is missing.
        proven_until: the earliest moment at which a fact it rests on is no longer known to hold.
        backed_up: it has recovery points, or should have.
        point_at: when the newest sound one was taken.
        proven_at: when one was last restored by a verification run and found whole.
    """

    asset: str = ""
    kind: str = "plan"
    host: str = ""
    checked: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    proven_until: AwareDatetime
    backed_up: bool = False
    point_at: AwareDatetime | None = None
    proven_at: AwareDatetime | None = None

    @property
    def state(self) -> Qualification:
        """What the gaps come to."""
        if not self.checked or any(gap.blocks for gap in self.gaps):
            return Qualification.BLOCKED
        return Qualification.DEGRADED if self.gaps else Qualification.QUALIFIED

    @property
    def name(self) -> str:
        """What people read."""
        return self.asset or "the plan itself"

    def with_gaps(self, gaps: Iterable[Gap]) -> Readiness:
        """With these gaps as well."""
        return self.model_copy(update={"gaps": (*self.gaps, *gaps)})


class PlanReadiness(Value):
    """All of a plan as one run saw it.

    Attributes:
        digest: of the plan's text; empty when it could not be read.
        basis: hash over the text, the published versions and the people's proofs it was looked at with.
        rows: the plan itself first, then its assets in its order.
        seconds: how long it took.
        window: seconds a proof of a recovery point counts.
        next_at: when the plan's schedule looks again; None: it does not.
    """

    plan: str
    digest: str = ""
    basis: str = ""
    at: AwareDatetime
    seconds: float = 0.0
    window: float = 0.0
    next_at: AwareDatetime | None = None
    rows: tuple[Readiness, ...] = Field(min_length=1)

    @property
    def state(self) -> Qualification:
        """The worst of all rows."""
        order = tuple(Qualification)
        return max((row.state for row in self.rows), key=order.index)

    @property
    def proven_until(self) -> datetime:
        """The earliest of all rows."""
        return min(row.proven_until for row in self.rows)

    def in_state(self, state: Qualification) -> tuple[Readiness, ...]:
        """The rows in a state."""
        return tuple(row for row in self.rows if row.state is state)

    def row(self, asset: str) -> Readiness | None:
        """The row of an asset, or of the plan itself (empty)."""
        return next((row for row in self.rows if row.asset == asset), None)

    def outdated(self, moment: datetime) -> bool:
        """Whether the next look is missing."""
        return moment > (self.next_at or self.at + EVERY) + LATE

    @property
    def sentence(self) -> str:
        """One line for people."""
        assets = [row for row in self.rows if row.asset]
        counts = ", ".join(
            f"{n} {state}" for state in Qualification if (n := sum(row.state is state for row in assets))
        )
        own = next((row for row in self.rows if not row.asset), None)
        more = f"; {own.name} is {own.state}" if own is not None else ""
        return f"Plan {self.plan} is {self.state}: of {len(assets)} assets {counts or 'none'}{more}."


class Change(Value):
    """What became of an asset since the last run; None: it was or is not there."""

    asset: str
    before: Qualification | None
    after: Qualification | None
    appeared: tuple[HostText, ...] = ()
    closed: tuple[HostText, ...] = ()

    @property
    def sentence(self) -> str:
        """One line for people."""
        name = self.asset or "the plan itself"
        said = f"{name}: {self.before or 'new'} → {self.after or 'gone'}"
        said += f"; now {', '.join(self.appeared)}" if self.appeared else ""
        return said + (f"; no longer {', '.join(self.closed)}" if self.closed else "")


class ReadinessRun(Value):
    """One run in short, for people."""

    at: AwareDatetime
    state: Qualification
    qualified: int = Field(ge=0)
    degraded: int = Field(ge=0)
    blocked: int = Field(ge=0)
    changes: tuple[Change, ...] = ()
    seconds: float = 0.0


class ReadinessHistory(Value):
    """What is remembered of a plan: the newest run in full, the others in short, newest last."""

    latest: PlanReadiness | None = None
    runs: tuple[ReadinessRun, ...] = ()

    def with_run(self, seen: PlanReadiness) -> ReadinessHistory:
        """With one more run."""
        counts = {state: len(seen.in_state(state)) for state in Qualification}
        run = ReadinessRun(
            at=seen.at, state=seen.state, qualified=counts[Qualification.QUALIFIED],
            degraded=counts[Qualification.DEGRADED], blocked=counts[Qualification.BLOCKED],
            changes=changes(self.latest, seen), seconds=seen.seconds,
        )  # fmt: skip
        return ReadinessHistory(latest=seen, runs=(*self.runs, run)[-KEPT:])


def until(rule: ReadinessRule, plan: str, at: datetime, expiries: Iterable[datetime] = ()) -> datetime:
    """Until when a look counts: the next one, or what runs out before; never before the look itself.

    Args:
        rule: the plan's.
        plan: its name.
        at: when it was looked.
        expiries: moments at which facts run out.
    """
    following_run = rule.following(plan, at) or at + EVERY
    return max(at, min((following_run, *expiries)))


def roll_up(
    own: Readiness, assets: Sequence[Readiness], needs: Mapping[str, Iterable[str]]
) -> list[Readiness]:
    """The rows with what they inherit: nothing can be recovered that nobody can sign or whose base is out of reach.

    Args:
        own: the plan itself.
        assets: rows of the assets.
        needs: asset → everything it depends on.
    """
    blocked = {row.asset for row in assets if row.state is Qualification.BLOCKED}
    rows = [own]
    for row in assets:
        inherited: list[Gap] = []
        if own.state is Qualification.BLOCKED:
            why = ", ".join(dict.fromkeys(gap.lack for gap in own.gaps if gap.blocks)) or Lack.NOT_CHECKED
            inherited.append(
                Gap(
                    lack=Lack.PLAN_BLOCKED, place=own.name, what=f"no recovery can be signed or followed: {why}.",
                    remedy="see the row of the plan itself",
                )
            )  # fmt: skip
        inherited += [
            Gap(
                lack=Lack.DEPENDENCY_BLOCKED, place=other, what=f"{row.asset} depends on it, and it is blocked.",
                remedy=f"see the row of {other}", blocks=False,
            )
            for other in sorted(blocked & set(needs.get(row.asset, ())))
        ]  # fmt: skip
        rows.append(row.with_gaps(inherited))
    return rows


def changes(before: PlanReadiness | None, after: PlanReadiness) -> tuple[Change, ...]:
    """What is different from the run before; a first run is no change."""
    if before is None:
        return ()
    names = dict.fromkeys([row.asset for row in (*after.rows, *before.rows)])
    found = []
    for name in names:
        old, new = before.row(name), after.row(name)
        gone, there = _named(old), _named(new)
        one = Change(
            asset=name, before=old.state if old else None, after=new.state if new else None,
            appeared=tuple(x for x in there if x not in gone), closed=tuple(x for x in gone if x not in there),
        )  # fmt: skip
        if one.before is not one.after or one.appeared or one.closed:
            found.append(one)
    return tuple(found)


def _named(row: Readiness | None) -> tuple[str, ...]:
    gaps = row.gaps if row is not None else ()
    return tuple(dict.fromkeys(f"{gap.lack} {gap.place}" for gap in gaps))
