"""The baseline a person reviews: what differs from the packages today, and accepting it, with name and reason."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from blocks.hosts.identity import prove
from blocks.journals.base import JournalStore
from checks import rpm_baseline
from checks.baseline import Candidate, candidates
from checks.many import side_by_side
from checks.pip_baseline import pip_candidates
from model.accepted import Accepted
from model.assets import DpkgAsset, PipAsset, RpmAsset
from model.canonical import now
from model.errors import BadInput
from tasks.backing_up import record_package_baseline
from tasks.work import PlanFile, accepted, baseline, save_accepted


def review(file: PlanFile, journal: JournalStore) -> dict[str, tuple[Candidate, ...]]:
    """What differs today and nobody accepted yet, by asset; changes nothing.

    Raises:
        Transient: a host cannot be reached. PreconditionFailed: its packages cannot be examined.
    """
    packages = {
        name: asset
        for name, asset in file.plan.assets.items()
        if isinstance(asset, DpkgAsset | RpmAsset | PipAsset)
    }

    def differing(name: str) -> tuple[Candidate, ...]:
        asset = packages[name]
        recorded = baseline(journal, file.plan, name) or ()
        agreed = accepted(journal, file.plan, name)
        with file.connect(asset.host) as connection:
            prove(connection)
            if isinstance(asset, PipAsset):
                return tuple(pip_candidates(connection, name, asset, agreed))
            if isinstance(asset, RpmAsset):
                return tuple(rpm_baseline.candidates(connection, name, asset, recorded, agreed))
            return tuple(candidates(connection, name, asset, recorded, agreed))

    return dict(zip(packages, side_by_side(differing, list(packages)), strict=True))


def chosen(found: Mapping[str, Sequence[Candidate]], patterns: Sequence[str]) -> dict[str, list[Candidate]]:
    """Those that a person named: `all`, an asset, or a glob of paths.

    Raises:
        BadInput: a pattern names nothing that differs.
    """
    picked: dict[str, list[Candidate]] = {}
    for pattern in patterns:
        hits = [
            (name, one)
            for name, several in found.items()
            for one in several
            if pattern in {"all", name} or fnmatch.fnmatchcase(one.entry.path, pattern)
        ]
        if not hits and pattern != "all":
            raise BadInput(
                "nothing that differs today has this name.",
                pattern,
                "give `all`, the name of an asset, or a path or glob from the list",
            )
        for name, one in hits:
            if one not in picked.setdefault(name, []):
                picked[name].append(one)
    return picked


def accept(
    file: PlanFile, journal: JournalStore, picked: Mapping[str, Sequence[Candidate]], person: str, reason: str
) -> None:
    """Record differences as accepted (R-PREV-2, R-ORG-5).

    Raises:
        BadInput: not a person of the plan, or no reason.
    """
    if person not in file.plan.people:
        raise BadInput(
            f"{person!r} is not a person of the plan.", "--by", f"give one of {', '.join(file.plan.people)}"
        )
    if not reason.strip():
        raise BadInput("why these differences are wanted is missing.", "--reason", "say it in a sentence")
    moment = now()
    for name, several in picked.items():
        agreed = [
            Accepted(
                entry=one.entry, codes=one.codes, package=one.package, person=person, reason=reason.strip(), at=moment
            )
            for one in several
        ]  # fmt: skip
        save_accepted(journal, file.plan, name, agreed)


def record_all(file: PlanFile) -> list[str]:
    """Record what every package asset looks like now, without what differs; one sentence for each."""
    return [
        record_package_baseline.fn(str(file.path), name, asset.host)
        for name, asset in file.plan.assets.items()
        if isinstance(asset, DpkgAsset | RpmAsset)
    ]
