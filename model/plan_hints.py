"""What a right plan still lacks before one can rely on it: found from its text alone, before any host is asked."""

from __future__ import annotations

from collections.abc import Iterator

from model.assets import FilesAsset
from model.backup_sources import EngineSource
from model.canonical import Value
from model.outcome import Gate
from model.plan import GateRule, Plan
from model.signoff import signers


class Hint(Value):
    """One thing missing; the plan is right without it.

    Attributes:
        path: dotted path of the key it is about; the key itself may be absent from the file.
    """

    path: str
    what: str
    remedy: str


def hints(plan: Plan) -> tuple[Hint, ...]:
    """What is missing for readiness, in the order of a plan's sections (R-ORG-4, R-PREV-1, R-USE-5, R-DRILL-1)."""
    return (*_people(plan), *_gates(plan), *_data(plan), *_proof(plan), *_exercise(plan), *_information(plan))


def _people(plan: Plan) -> Iterator[Hint]:
    for person in plan.roles.leading_group:
        who = plan.people[person]
        if not who.email and not who.phone:
            yield Hint(
                path=f"people.{person}",
                what="leads and cannot be reached",
                remedy="give `email` or `phone`",
            )


def _gates(plan: Plan) -> Iterator[Hint]:
    for gate in (Gate.DECIDE, Gate.ACCEPT):
        rule: GateRule = getattr(plan.signoff, gate.value)
        can = [
            person
            for person in signers(plan, rule, requester="")
            if plan.people[person].totp is not None or plan.people[person].ssh_keys
        ]
        path = f"signoff.{gate}"
        if len(can) < rule.quorum:
            yield Hint(
                path=path,
                what=f"needs {rule.quorum} signatures and {len(can)} of its people can prove who they are",
                remedy="give more of them `totp` or `ssh_keys`",
            )
        elif len(can) == rule.quorum:
            yield Hint(
                path=path,
                what=f"nobody to spare: it cannot be signed when one of {', '.join(can)} is away or reported "
                "the incident",
                remedy="name a deputy in the role, or lower `quorum`",
            )


def _data(plan: Plan) -> Iterator[Hint]:
    for name, asset in plan.assets.items():
        path = f"assets.{name}"
        if asset.kind in {"dpkg", "rpm", "pip"} and getattr(asset, "store", None) is None:
            yield Hint(
                path=path,
                what="its packages come back only while their public sources have the very same version",
                remedy="name a package `store` and fill it with `reinstate packages stock`",
            )
        if isinstance(asset, FilesAsset) and asset.role == "data" and not asset.reimport:
            yield Hint(
                path=path,
                what="nobody wrote down how users enter again what no backup holds",
                remedy="write the steps under `reimport`",
            )
    ours = [name for name, one in plan.backups.items() if not isinstance(one, EngineSource)]
    if ours and not plan.back_up.schedule:
        yield Hint(
            path="back_up",
            what="backups are made only by hand",
            remedy='give `back_up: {schedule: "0 2 * * *"}`',
        )


def _proof(plan: Plan) -> Iterator[Hint]:
    if not plan.checks.probes and not plan.checks.tables:
        yield Hint(
            path="checks",
            what="nothing asks the service itself whether it works again",
            remedy="give a probe under `checks.probes`, or the rows that must be there under `checks.tables`",
        )
    if plan.backups and not plan.verification.schedule:
        yield Hint(
            path="verification",
            what="no recovery point is ever restored to prove it",
            remedy='give `verification: {schedule: "0 4 * * 0"}`',
        )


def _exercise(plan: Plan) -> Iterator[Hint]:
    if not plan.drill.schedule:
        yield Hint(
            path="drill",
            what="a recovery is never exercised",
            remedy='give `drill: {schedule: "0 9 1 * *"}` and what stands in for the hosts under `drill.staging`, or '
            "`mode: tabletop`",
        )


def _information(plan: Plan) -> Iterator[Hint]:
    if plan.communication is None:
        yield Hint(path="communication", what="nobody is told anything", remedy="name channels and audiences")
