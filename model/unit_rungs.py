"""The rung for units: masks go, changed files and links come back as recorded, what shall run is started. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from model.assets import ServiceAsset, SystemAsset
from model.command import printable
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.host_state import RUNTIME, UNIT_FOLDERS, HostState, host_state, masks, unit_of
from model.manifest import Entry, FileType
from model.outcome import Stage
from model.proposal import RestoreUnits, Rung
from model.supplies import SystemSupply

_STARTED = (".service", ".timer", ".socket", ".path")
_LEFT_RUNNING = ("systemd-", "dbus", "getty@", "ssh.", "sshd.")
"""Never restarted under a running host: what they were changed to takes effect at their next start."""


@dataclass
class _Way:
    """What has to be done."""

    files: dict[str, Entry] = field(default_factory=dict)
    gone: dict[str, Entry] = field(default_factory=dict)
    start: dict[str, None] = field(default_factory=dict)
    restart: dict[str, None] = field(default_factory=dict)
    cured: list[Finding] = field(default_factory=list)


def units(
    draft: Draft, name: str, asset: SystemAsset, wrong: Sequence[Finding], every: Sequence[Finding],
    supply: SystemSupply,
) -> None:  # fmt: skip
    """One action for all units of a host.

    Args:
        draft: the proposal so far.
        name: the asset's name.
        asset: the asset.
        wrong: its findings that nothing else cures.
        every: all its findings; a unit whose file another action brings back is read again and restarted here.
        supply: what lies on the host now.
    """
    state = host_state(draft.baselines.get(name, ()))
    if state is None:
        return
    present = {entry.path: entry for entry in supply.present}
    way = _Way()
    for finding in wrong:
        if finding.code is Code.UNIT_MASKED:
            _unmask(draft, way, finding, state, present)
        elif finding.code is Code.UNIT_CHANGED:
            _put_back(draft, way, finding, state, present)
    elsewhere = [
        f for f in every if f.code is Code.UNIT_CHANGED and f not in wrong and f.subject.startswith("/")
    ]
    for finding in elsewhere:
        _affected(way, finding.subject, state)
    if not (way.cured or elsewhere):
        return
    ours = {
        f"{unit}.service" if "." not in unit else unit
        for other in draft.plan.assets.values()
        if isinstance(other, ServiceAsset) and other.host == asset.host and (unit := other.unit)
    }
    touched = {*way.start, *way.restart}
    failed = [
        f for f in every if f.code is Code.UNIT_FAILED and f.subject in touched and f.subject not in ours
    ]
    way.start |= {f.subject: None for f in failed}
    down = {f.subject for f in every if f.code is Code.UNIT_FAILED}
    paths = sorted({*way.files, *way.gone})
    folders = {path.rpartition("/")[0] for path in paths} - {*UNIT_FOLDERS, RUNTIME}
    draft.actions.append(
        RestoreUnits(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.CONFIGURATION,
            reason=_reason(way), undo="Files and links go back to what the snapshot holds, systemd reads them again, "
            "and what was started is stopped.",
            touches=tuple(sorted({*paths, *folders})), minutes=minutes(0.2, 0),
            findings=tuple(f.id for f in (*way.cured, *failed)), files=tuple(way.files[p] for p in sorted(way.files)),
            gone=tuple(way.gone[p] for p in sorted(way.gone)),
            # A service of the plan is started by its own action, after everything it needs.
            start=tuple(sorted(unit for unit in way.start if unit not in ours)),
            restart=tuple(sorted(unit for unit in way.restart if unit not in down)),
        )
    )  # fmt: skip


def _reason(way: _Way) -> str:
    parts = []
    if way.files:
        parts.append(
            f"{counted(len(way.files), 'unit file')} or link come back as the baseline recorded them"
        )
    if way.gone:
        parts.append(f"{counted(len(way.gone), 'mask')} or addition that the baseline does not have go")
    if way.start:
        parts.append(f"{', '.join(sorted(way.start)[:8])} ran before and is started")
    said = ". ".join(f.detail.rstrip(".") for f in way.cured if f.detail.startswith("It sets"))
    return printable(f"{'; '.join(parts) or 'systemd reads its units again'}.{f' {said}.' if said else ''}")


def _unmask(draft: Draft, way: _Way, finding: Finding, state: HostState, present: dict[str, Entry]) -> None:
    unit = finding.subject
    found = False
    for path in (f"{folder}/{unit}" for folder in (*UNIT_FOLDERS, RUNTIME)):
        entry, recorded = present.get(path), state.units.get(path)
        if entry is None or not masks(entry) or masks(recorded):
            continue
        found = True
        if recorded is None:
            way.gone[path] = entry
        elif _kept(recorded, state):
            way.files[path] = recorded
        else:
            _not_kept(draft, finding)
            return
    if not found:
        draft.miss(finding, "its mask was not found any more", "examine the host again")
        return
    way.cured.append(finding)
    if unit in state.active and "@." not in unit:
        way.start[unit] = None


def _put_back(draft: Draft, way: _Way, finding: Finding, state: HostState, present: dict[str, Entry]) -> None:
    path = finding.subject
    if not path.startswith("/"):
        way.start[path] = None
        way.cured.append(finding)
        return
    recorded = state.units.get(path)
    if recorded is not None and not _kept(recorded, state):
        _not_kept(draft, finding)
        return
    if recorded is not None:
        way.files[path] = recorded
    elif finding.expected == "absent" and path in present:
        way.gone[path] = present[path]
    else:
        draft.miss(
            finding,
            "it was added after the baseline, and nothing says that it does harm",
            f"if it is wanted, record the baseline again (`reinstate back-up`) or accept it in the plan; else "
            f"`systemctl disable {unit_of(path)}`",
        )
        return
    way.cured.append(finding)
    _affected(way, path, state)


def _affected(way: _Way, path: str, state: HostState) -> None:
    unit = unit_of(path)
    if "@." in unit or not unit.endswith(_STARTED):
        return
    enabling = path.rpartition("/")[0].endswith((".wants", ".requires", ".upholds"))
    if not enabling and not unit.startswith(_LEFT_RUNNING):
        way.restart[unit] = None
    if unit in state.active:
        way.start[unit] = None


def _kept(recorded: Entry, state: HostState) -> bool:
    return recorded.type in {FileType.LINK, FileType.DIRECTORY} or recorded.sha256 in state.contents


def _not_kept(draft: Draft, finding: Finding) -> None:
    draft.miss(
        finding,
        "the baseline does not hold its content (larger than 64 KiB)",
        "restore it from a backup; a `files` asset over /etc/systemd brings it back by itself",
    )
