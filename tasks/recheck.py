"""The check of what one measure repaired, run again at once: the effect of each measure is ensured (R-RESP-5).

Only what the action was signed to cure is looked at; the whole asset is looked at when its stage ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from blocks.hosts.base import Connection
from checks.examine import examine
from model.assets import Asset, DpkgAsset, FilesAsset, PipAsset, RpmAsset, SystemAsset, Watched
from model.errors import ReinstateError, Transient
from model.finding import Finding, Verdict
from model.journal import State
from model.manifest import Manifest
from model.proposal import Action, RestoreFiles
from tasks.work import Work, baseline

_PARTS: dict[str, Watched] = {
    "restore_units": "units", "mend_accounts": "accounts", "free_space": "disks", "remount_writable": "disks",
    "restart_time_daemon": "clock",
}  # fmt: skip
"""Part of a host's state that an action is about."""


def narrowed(asset: Asset, action: Action, damaged: Sequence[Finding]) -> Asset | None:
    """The asset as far as these findings go; None where its check has no smaller part."""
    owners = tuple(sorted({finding.package.partition(":")[0] for finding in damaged if finding.package}))
    match asset:
        case DpkgAsset() | RpmAsset() if owners:
            return asset.model_copy(update={"packages": owners})
        case PipAsset() if owners:
            return asset.model_copy(update={"distributions": owners})
        case FilesAsset() if isinstance(action, RestoreFiles):
            return asset
        case SystemAsset() if action.kind in _PARTS:
            return asset.model_copy(update={"watch": (_PARTS[action.kind],), "endpoints": ()})
        case _:
            return None


def recheck(work: Work, state: State, action: Action, connection: Connection) -> str:
    """Look again at what an action was signed to cure.

    Returns:
        What was seen, as the end of the action's sentence; empty where there is nothing of its own to look at.

    Raises:
        Transient: the connection was lost.
    """
    asset = work.plan.assets[action.asset]
    damaged = [
        finding
        for finding in (state.finding(ident) for ident in action.findings)
        if finding is not None and finding.asset == action.asset
    ]
    part = narrowed(asset, action, damaged)
    if part is None or not damaged:
        return ""
    plan = work.plan.model_copy(update={"assets": {**work.plan.assets, action.asset: part}})
    recorded = baseline(work.store, plan, action.asset)
    try:
        (result,) = examine(
            plan, {action.host: connection}, baselines={action.asset: recorded} if recorded else {},
            manifests=_manifests(work, action), secrets=work.file.secrets, only={action.asset},
        )  # fmt: skip
    except Transient:
        raise
    except ReinstateError as error:
        return f" It could not be looked at again: {error.what}"
    if result.verdict is Verdict.ERROR:
        return f" It could not be looked at again: {result.sentence}"
    wanted = set(action.findings)
    left = [finding for finding in result.findings if finding.id in wanted]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        return f" STILL DAMAGED: {'; '.join(finding.sentence for finding in left[:3])}{more}."
    return f" Looked at again: {len(damaged)} of {len(damaged)} cured."


def _manifests(work: Work, action: Action) -> dict[str, Manifest]:
    """Of a file set, the part of its manifest that the action restored."""
    if not isinstance(action, RestoreFiles):
        return {}
    whole = work.file.backups()[action.point.source].manifest(action.point)
    return {action.asset: whole.model_copy(update={"entries": action.files})}
