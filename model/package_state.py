"""The ladder's answer to damaged records of the package tool: its database, and packages it did not finish. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.assets import DpkgAsset
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.outcome import Stage
from model.plan import Plan
from model.proposal import ConfigurePackages, ReinstallPackage, RestorePackageDatabase, Rung

UNFINISHED = frozenset({"unpacked", "half-configured", "triggers-awaited", "triggers-pending"})
"""States `dpkg --configure -a` finishes: every file is there (dpkg(1))."""


def database(draft: Draft, name: str, asset: DpkgAsset, wrong: Sequence[Finding]) -> list[Finding]:
    """Restore a damaged package database; returns the findings that are about something else."""
    damaged = [f for f in wrong if f.code is Code.PACKAGE_DATABASE_DAMAGED]
    supply = next((s for s in draft.supplies.databases if s.asset == name), None)
    if damaged and supply is None:
        for finding in damaged:
            draft.miss(
                finding,
                "no copy of it on the host is whole",
                "bring /var/lib/dpkg/status back from a backup of the host, then start again",
            )
    elif damaged and supply is not None:
        lost = f" Nobody knows the entries of {', '.join(supply.lost)} any more." if supply.lost else ""
        again = (
            f" {', '.join(supply.again)} changed since that copy and will be installed again."
            if supply.again
            else ""
        )
        draft.actions.append(
            RestorePackageDatabase(
                id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
                reason=f"dpkg's status file is damaged. What is whole in it stays, "
                f"{counted(len(supply.restored), 'entry')} come back from {supply.base}.{again}{lost}".replace(
                    "entrys", "entries"
                ),
                undo="The damaged file goes back to its place.", touches=(supply.path,), bytes=supply.bytes,
                minutes=minutes(0.1, supply.bytes), findings=tuple(f.id for f in damaged if not supply.lost),
                path=supply.path, base=supply.base, sha256=supply.sha256, restored=supply.restored,
                again=supply.again,
            )
        )  # fmt: skip
        for finding in damaged if supply.lost else ():
            draft.miss(
                finding,
                f"the entries of {', '.join(supply.lost)} are in no copy",
                "install these packages again by hand: their files are there, dpkg does not know them",
            )
    return [f for f in wrong if f.code is not Code.PACKAGE_DATABASE_DAMAGED]


def unfinished(wrong: Sequence[Finding]) -> list[Finding]:
    """Findings of packages that only need to be configured: nothing else of them is damaged."""
    worse = {f.package for f in wrong if not _configurable(f)}
    return [f for f in wrong if _configurable(f) and f.package not in worse]


def configure(
    draft: Draft, name: str, asset: DpkgAsset, wrong: Sequence[Finding], touches: Mapping[str, Sequence[str]]
) -> None:
    """Finish what an interrupted dpkg left."""
    if not wrong:
        return
    packages = tuple(sorted({f.package for f in wrong}))
    root = asset.root.rstrip("/")
    paths = {f"{root}/var/lib/dpkg/{record}" for record in ("status", "status-old")}
    draft.actions.append(
        ConfigurePackages(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.PACKAGE,
            reason=f"dpkg was interrupted: {', '.join(packages[:5])}{' …' if len(packages) > 5 else ''}. Every file is "
            "there, so dpkg only finishes its own work; nothing is fetched.",
            undo="Every path of these packages and dpkg's own records go back to the snapshot.",
            touches=tuple(sorted(paths.union(*(touches.get(package, ()) for package in packages)))),
            minutes=minutes(0.2, 0), findings=tuple(f.id for f in wrong), packages=packages,
        )
    )  # fmt: skip


def _configurable(finding: Finding) -> bool:
    return finding.code is Code.PACKAGE_STATE_BROKEN and finding.actual in UNFINISHED


def from_package(plan: Plan, by_asset: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Deleted configuration files that the plan wants from the package, although a backup may hold them as well."""
    return [
        finding
        for name, findings in by_asset.items()
        for finding in findings
        if finding.code is Code.CONFFILE_MISSING
        and isinstance(asset := plan.assets.get(name), DpkgAsset)
        and asset.conffiles == "package"
    ]


def take_over(draft: Draft, wrong: Sequence[Finding]) -> None:
    """What a files asset says of such a file is cured by the package's action, too."""
    for finding in wrong:
        for place, action in enumerate(draft.actions):
            if isinstance(action, ReinstallPackage) and finding.subject in action.conffiles:
                found = (*action.findings, finding.id)
                draft.actions[place] = action.model_copy(update={"findings": found})
                break
        else:
            draft.miss(
                finding,
                "the plan wants it from its package, which is not to be had",
                "put the package into a store, or let the plan say `conffiles: backup`",
            )
