"""The rungs for the state of a host: room, clock, units, account files, certificates, what it starts from. Pure.

Nothing here deletes what people made. What cannot be brought back for certain is left to people, with the very thing
they have to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.assets import DpkgAsset, ServiceAsset, SystemAsset
from model.command import printable
from model.draft import UNNUMBERED, Draft, counted, minutes
from model.finding import Code, Finding
from model.manifest import absolute
from model.outcome import Stage
from model.proposal import (
    FreeSpace,
    MendAccounts,
    ReinstallPackage,
    RemountWritable,
    RestartService,
    RestartTimeDaemon,
    RestoreFiles,
    Rung,
    SetMetadata,
)
from model.rungs import packages
from model.supplies import Removable, SystemSupply
from model.unit_rungs import units

Grouped = Mapping[str, Sequence[Finding]]

_COVERED = frozenset({Code.UNIT_CHANGED, Code.ACCOUNTS_DAMAGED, Code.CERTIFICATE_EXPIRED, Code.BOOT_DAMAGED})
"""Findings about a file that another asset's repair may bring back as well."""


def make_ready(draft: Draft, by_asset: Grouped) -> None:
    """What all other repairs need first: room on the disks, file systems that can be written, the right time."""
    for name, asset in _systems(draft, by_asset):
        supply = _supply(draft, name)
        for finding in by_asset[name]:
            if finding.code is Code.DISK_READ_ONLY:
                _writable(draft, name, asset, finding, supply)
        for finding in by_asset[name]:
            if finding.code is Code.DISK_FULL:
                _room(draft, name, asset, finding, supply)
        for finding in by_asset[name]:
            if finding.code is Code.CLOCK_SKEWED:
                _clock(draft, name, asset, finding, supply)


def system(draft: Draft, by_asset: Grouped) -> None:
    """What no other asset brings back: units, account files; certificates and boot files are others' or people's."""
    for name, asset in _systems(draft, by_asset):
        supply = _supply(draft, name)
        left = [
            finding
            for finding in by_asset[name]
            if finding.code not in _COVERED or not _brought_back(draft, finding, supply)
        ]
        units(draft, name, asset, left, by_asset[name], supply)
        for finding in left:
            match finding.code:
                case Code.ACCOUNTS_DAMAGED:
                    _accounts(draft, name, asset, finding, supply)
                case Code.CERTIFICATE_EXPIRED:
                    _certificate(draft, finding)
                case Code.BOOT_DAMAGED:
                    _boot(draft, asset, finding)
                case _:
                    pass


def failed_units(draft: Draft, by_asset: Grouped) -> None:
    """Units that failed: cured by the restart of their service asset, once what it needs is repaired; else people's."""
    cured = draft.cured()
    for name, asset in _systems(draft, by_asset):
        for finding in by_asset[name]:
            if finding.code is not Code.UNIT_FAILED or finding.id in cured:
                continue
            places = [
                place
                for place, action in enumerate(draft.actions)
                if isinstance(action, RestartService) and action.host == asset.host
                and isinstance(service := draft.plan.assets[action.service], ServiceAsset)
                and _full(service.unit) == finding.subject
            ]  # fmt: skip
            if places:
                _attach(draft, places[-1], finding)
            else:
                draft.miss(
                    finding,
                    "no service of the plan is this unit, and no repair of its files explains it",
                    f"read `journalctl --unit={finding.subject}`, repair what it needs and start it; or `systemctl "
                    f"reset-failed {finding.subject}`; if it may fail, write it under `accept`",
                )


def _full(unit: str | None) -> str:
    return f"{unit}.service" if unit and "." not in unit else unit or ""


def _systems(draft: Draft, by_asset: Grouped) -> list[tuple[str, SystemAsset]]:
    return [
        (name, asset)
        for name in draft.plan.order()
        if name in by_asset and isinstance(asset := draft.plan.assets[name], SystemAsset)
    ]


def _supply(draft: Draft, name: str) -> SystemSupply:
    return next((s for s in draft.supplies.systems if s.asset == name), SystemSupply(asset=name))


def _attach(draft: Draft, place: int, finding: Finding) -> None:
    action = draft.actions[place]
    draft.actions[place] = action.model_copy(update={"findings": (*action.findings, finding.id)})


def _brought_back(draft: Draft, finding: Finding, supply: SystemSupply) -> bool:
    """Whether an action of another asset repairs this very file; then the finding is cured by it."""
    for place, action in enumerate(draft.actions):
        if action.host != finding.host:
            continue
        match action:
            case RestoreFiles():
                here = any(absolute(action.root, e.path) == finding.subject for e in action.files)
                if finding.code is Code.CERTIFICATE_EXPIRED:
                    here = f"{action.asset}@{action.point.id}:{finding.subject}" in supply.certificates
            case SetMetadata():
                here = finding.code is Code.ACCOUNTS_DAMAGED and finding.actual.startswith("mode ")
                here = here and any(entry.path == finding.subject for entry in action.files)
            case ReinstallPackage():
                here = finding.code is Code.BOOT_DAMAGED and action.package == finding.package
            case _:
                here = False
        if here:
            _attach(draft, place, finding)
            return True
    return False


def _room(draft: Draft, name: str, asset: SystemAsset, finding: Finding, supply: SystemSupply) -> None:
    short = supply.short.get(finding.subject, 0)
    needed = {s.filename for s in draft.supplies.packages if s.source == "host-cache"}
    usable = [
        one
        for one in supply.removable
        if one.mount == finding.subject and one.entry.path.rpartition("/")[2] not in needed
    ]
    chosen: list[Removable] = []
    for one in sorted(usable, key=lambda one: not one.regenerable):
        if sum(c.entry.size for c in chosen) < short:
            chosen.append(one)
    frees = sum(one.entry.size for one in chosen)
    if not short or frees < short:
        biggest = ", ".join(supply.consumers.get(finding.subject, ())) or "not known"
        give = sum(one.entry.size for one in usable)
        draft.miss(
            finding,
            f"what can be removed without loss there (cached packages, rotated journals) gives {give} bytes"
            + (f", {short} are wanted" if short else "; inodes are short"),
            f"move or remove what is not needed, or enlarge it; the biggest there: {biggest}",
        )
        return
    kept = tuple(sorted(one.entry.path for one in chosen if not one.regenerable))
    cached = len(chosen) - len(kept)
    draft.actions.append(
        FreeSpace(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.FILE,
            reason=printable(f"{finding.subject} is full ({finding.actual}); repairs need room. ")
            + f"{counted(cached, 'cached package')} that apt can fetch again and "
            f"{counted(len(kept), 'rotated journal')} give {frees} bytes. Nobody's data is touched.",
            undo="Journals go back from the snapshot; packages are fetched again when they are wanted.",
            touches=kept, minutes=minutes(0.1, 0), findings=(finding.id,), mount=finding.subject,
            files=tuple(one.entry for one in chosen), frees=frees,
        )
    )  # fmt: skip


def _writable(draft: Draft, name: str, asset: SystemAsset, finding: Finding, supply: SystemSupply) -> None:
    error = supply.errors.get(finding.subject, "") or finding.detail
    if error:
        draft.miss(
            finding,
            f"the kernel made it read-only after an error, and writing to it could destroy more ({error})",
            "copy what is on it first; then check the disk and run fsck from a rescue system",
        )
        return
    draft.actions.append(
        RemountWritable(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.CONFIGURATION,
            reason=printable(f"{finding.subject} should be {finding.expected} and is mounted read-only; ")
            + "the kernel's log holds no error of its device.",
            undo="It is mounted read-only again.", minutes=minutes(0.1, 0), findings=(finding.id,),
            mount=finding.subject,
        )
    )  # fmt: skip


def _clock(draft: Draft, name: str, asset: SystemAsset, finding: Finding, supply: SystemSupply) -> None:
    if not supply.daemon:
        draft.miss(
            finding,
            "no time daemon runs on the host",
            "install and start one (chrony), or set the clock by hand; in a container the clock is its machine's",
        )
        return
    draft.actions.append(
        RestartTimeDaemon(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.SERVICE,
            reason=f"The clock is {finding.actual}. {supply.daemon} sets it from its servers when it is started again.",
            undo="Nothing: a clock is not set wrong again.", minutes=minutes(1, 0), findings=(finding.id,),
            unit=supply.daemon,
        )
    )  # fmt: skip


def _accounts(draft: Draft, name: str, asset: SystemAsset, finding: Finding, supply: SystemSupply) -> None:
    mend = next((one for one in supply.mends if one.path == finding.subject), None)
    if mend is None:
        why = supply.told.get(finding.subject, "no backup of it is kept beside it")
        tool = {
            "/etc/passwd": "vipw",
            "/etc/shadow": "vipw -s",
            "/etc/group": "vigr",
            "/etc/gshadow": "vigr -s",
        }
        way = tool.get(finding.subject, f"visudo -f {finding.subject}")
        draft.miss(
            finding, why, f"repair it on the host's console with `{way}`, or restore it from a backup of /etc"
        )
        return
    names = f" The lines of {', '.join(mend.returned[:20])} come back." if mend.returned else ""
    gone = f" Unreadable lines go: {', '.join(map(str, mend.dropped[:20]))}." if mend.dropped else ""
    draft.actions.append(
        MendAccounts(
            id=UNNUMBERED, host=asset.host, asset=name, stage=Stage.REPAIR, rung=Rung.CONFIGURATION,
            reason=printable(f"{finding.actual}.{names}{gone} ")
            + f"Every whole line of today stays: nobody who exists now is lost. The source is {mend.source}, the "
            "file's own backup.",
            undo="The file goes back to what the snapshot holds.", touches=(mend.path,), minutes=minutes(0.05, 0),
            findings=(finding.id,), path=mend.path, source=mend.source, before=mend.before,
            source_sha256=mend.source_sha256, after=mend.after, returned=mend.returned, dropped=mend.dropped,
            known=mend.known,
        )
    )  # fmt: skip


def _certificate(draft: Draft, finding: Finding) -> None:
    renew = "have a new one issued, put it there and reload the server that uses it"
    if finding.subject.startswith("/etc/letsencrypt/"):
        renew = "run `certbot renew` on the host and read what it says"
    if not finding.subject.startswith("/"):
        renew = "have a new one issued; where its file is new already, the server only has to be reloaded"
    draft.miss(finding, "no recovery point holds a valid one", renew)


def _boot(draft: Draft, asset: SystemAsset, finding: Finding) -> None:
    owner = next(
        (
            (name, other) for name, other in draft.plan.assets.items()
            if isinstance(other, DpkgAsset) and (other.host, other.root) == (asset.host, "/")
        ),
        None,
    )  # fmt: skip
    if finding.package and owner is not None:
        packages(draft, owner[0], owner[1], [finding])
        return
    file = finding.subject.rpartition("/")[2]
    remedy = "look at it before the host is started again; a dpkg asset lets its package be reinstalled"
    if file.startswith("initr"):
        version = file.partition("-")[2] or "all"
        remedy = f"run `update-initramfs -c -k {version}` (dracut: `dracut --force`) before the host is started again"
    elif finding.subject == "/etc/fstab":
        remedy = "correct that line before the host is started again; `findmnt --verify` checks it"
    elif finding.subject == "/etc/ssh/sshd_config":
        remedy = "correct it while this sshd still runs; `sshd -t` checks it"
    draft.miss(finding, "nothing of the plan brings it back", remedy)
