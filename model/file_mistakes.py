"""The rung of files that people overwrote, changed or deleted by mistake: only those come back. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from model.assets import FilesAsset
from model.draft import Draft, counted
from model.finding import Code, Finding
from model.manifest import absolute
from model.mistake import FileDifference
from model.rungs import all_names, restore_paths
from model.supplies import MistakeSupply, PointSupply

SHOWN = 8
"""Files named in one sentence."""


def mistakes(draft: Draft, name: str, asset: FilesAsset, wrong: Sequence[Finding]) -> bool:
    """What a reported mistake hit comes back from before it; returns whether one was reported.

    With a mistake nothing else of the file set is touched: what else differs from the backup was changed by others,
    before or since.
    """
    named = [finding for finding in wrong if finding.code is Code.OPERATOR_MISTAKE]
    others = [finding for finding in wrong if finding.code is not Code.OPERATOR_MISTAKE]
    if not named:
        return False
    kept: dict[str, str] = {}
    for finding in named:
        seen = next(
            (s for s in draft.supplies.mistakes if s.asset == name and s.mistake.when == finding.subject),
            None,
        )
        supply = next(
            (p for p in draft.supplies.points if seen and p.asset == name and p.point == seen.point), None
        )
        if seen is None or supply is None:
            why = seen.why if seen else "what it cost was not seen"
            draft.miss(finding, why, "restore by hand from an older backup, or name another moment")
            continue
        kept |= {one.path: one.kept for one in seen.files if one.kept}
        _restore(draft, name, asset, finding, others, seen, supply)
    cured = draft.cured()
    for finding in others:
        if finding.id not in cured:
            why = kept.get(finding.subject, "it is beside what was reported as a mistake, and stays")
            draft.miss(
                finding, why, "recover without `--mistake` to bring back all that differs from the backup"
            )
    return True


def _restore(
    draft: Draft, name: str, asset: FilesAsset, finding: Finding, others: Sequence[Finding], seen: MistakeSupply,
    supply: PointSupply,
) -> None:  # fmt: skip
    back = [one for one in seen.files if not one.kept]
    stay = [one for one in seen.files if one.kept]
    rest = f" Left as they are: {_named(stay)}." if stay else ""
    if not back:
        draft.miss(
            finding, f"nothing has to come back from {supply.point.id}, taken before it.{rest}",
            "name another moment or other paths",
        )  # fmt: skip
        return
    entries = {absolute(asset.path, entry.path): entry for entry in supply.manifest.entries}
    paths = sorted(all_names({one.path for one in back}, asset, entries))
    draft.chosen[name] = supply
    restore_paths(
        draft, name, asset, supply, entries, paths, [finding, *(f for f in others if f.subject in paths)],
        f"Changed by mistake since {seen.mistake.when}: {counted(len(back), 'path')} of {len(entries)}. "
        f"{_named(back)}.{rest} Files that the backup does not hold stay.",
    )  # fmt: skip


def _named(files: Sequence[FileDifference]) -> str:
    said = [one.sentence + (f" ({one.kept})" if one.kept else "") for one in files[:SHOWN]]
    more = f"; and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return "; ".join(said) + more
