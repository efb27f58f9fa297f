"""The guide for re-import: what no backup holds, since when, and what users do about it (R-RESP-6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from model.assets import FilesAsset
from model.draft import Draft, counted
from model.finding import Finding
from model.point_rules import span
from model.proposal import Loss, Reimport

NAMED = 200
"""Paths or tables named per asset; the rest is counted."""

BY_HAND = (
    "The plan names no steps (`reimport` of the asset): ask its owner how what is missing is entered again."
)


def guide(draft: Draft, findings: Sequence[Finding]) -> tuple[Reimport, ...]:
    """What users must bring back themselves.

    What an action restores lacks everything newer than its recovery point; what nothing cures and no recovery point
    holds is missing altogether; what the plan excludes was never backed up.
    """
    losses = {loss.asset: loss for loss in draft.losses}
    unmet = {one.finding for one in draft.unmet}
    known = {supply.asset for supply in draft.supplies.points}
    items = []
    for name in draft.plan.order():
        asset = draft.plan.assets[name]
        mine = [finding for finding in findings if finding.asset == name]
        if getattr(asset, "backup", None) is None or asset.kind == "rpm":
            continue
        until = draft.detected_at
        if name in losses:
            items.append(_newer(draft, name, losses[name], mine, until))
        left = [finding for finding in mine if finding.id in unmet]
        if left:
            items.append(_nowhere(draft, name, left, name in known, until))
        if mine and isinstance(asset, FilesAsset) and asset.exclude:
            items.append(_excluded(draft, name, asset, until))
    return tuple(items)


def _newer(draft: Draft, name: str, loss: Loss, mine: Iterable[Finding], until: datetime) -> Reimport:
    restored = {path for a in draft.actions if a.asset == name for path in _restored(a)}
    named = sorted({f.subject for f in mine if f.subject in restored or not f.subject.startswith("/")})
    window = span(max(0.0, (until - loss.newer_than).total_seconds()))
    return _item(
        draft, name, loss.newer_than, until, named,
        f"What was entered into {name} in the {window} from {loss.newer_than:%Y-%m-%d %H:%M:%S} to "
        f"{until:%Y-%m-%d %H:%M:%S} UTC is in no backup.",
    )  # fmt: skip


def _restored(action: object) -> list[str]:
    files, root = getattr(action, "files", ()), getattr(action, "root", "")
    return [root if e.path == "." else f"{root.rstrip('/')}/{e.path}" for e in files] if root else []


def _nowhere(draft: Draft, name: str, left: Sequence[Finding], known: bool, until: datetime) -> Reimport:
    things = sorted({finding.subject for finding in left})
    why = "its recovery point does not hold" if known else "no usable recovery point holds"
    return _item(
        draft, name, None, until, things, f"{counted(len(things), 'thing')} of {name} must come from elsewhere: {why} "
        f"{'it' if len(things) == 1 else 'them'}.",
    )  # fmt: skip


def _excluded(draft: Draft, name: str, asset: FilesAsset, until: datetime) -> Reimport:
    return _item(
        draft, name, None, until, [f"{asset.path}/{pattern}" for pattern in asset.exclude],
        f"The plan leaves these out of the backups of {name}; if they are damaged, nothing brings them back.",
    )  # fmt: skip


def _item(
    draft: Draft, name: str, since: datetime | None, until: datetime, things: Sequence[str], sentence: str
) -> Reimport:
    return Reimport(
        asset=name, since=since, until=until, things=tuple(things[:NAMED]), more=max(0, len(things) - NAMED),
        sentence=sentence, steps=draft.plan.assets[name].reimport or BY_HAND,
    )  # fmt: skip
