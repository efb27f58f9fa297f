"""What facts mean for readiness: each rule turns what was looked at into gaps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from model.assets import Asset, FilesAsset, MariadbAsset, PostgresAsset, SqliteAsset
from model.command import printable
from model.errors import BadInput, PreconditionFailed, Refused, ReinstateError, Transient
from model.outcome import Gate
from model.plan import GateRule, Plan
from model.points import Judgement
from model.readiness import Gap, Lack
from model.signoff import signers
from model.versions import PlanVersion, may_follow

SHOWN = 5
"""Names told of a longer list."""

FEWEST_INODES = 1000
"""A file system with fewer free ones cannot take what a recovery writes."""

Step = Literal["connect", "identity", "sudo", "look"]
"""At what a host failed us."""


def told(names: Sequence[str]) -> str:
    """The first names, and how many there are more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return printable(", ".join(names[:SHOWN])) + more


def of_error(step: Step, place: str, error: ReinstateError) -> Gap:
    """Why a host could not be used, or something on it not be looked at (G11)."""
    if isinstance(error, Transient):
        lack = Lack.HOST_UNREACHABLE
    elif step == "connect":
        lack = (
            Lack.HOST_KEY_DIFFERS if isinstance(error, Refused)
            else Lack.SECRET_MISSING if isinstance(error, BadInput)
            else Lack.LOGIN_REFUSED if isinstance(error, PreconditionFailed)
            else Lack.HOST_UNREACHABLE
        )  # fmt: skip
    else:
        lack = {"identity": Lack.IDENTITY_DIFFERS, "sudo": Lack.SUDO_REFUSED}.get(step, Lack.NOT_CHECKED)
    return Gap(lack=lack, place=error.where or place, what=error.what, remedy=error.remedy)


def of_source(place: str, error: ReinstateError) -> Gap:
    """Why a backup source or package store could not be asked."""
    lack = Lack.SECRET_MISSING if isinstance(error, BadInput) else Lack.SOURCE_UNREACHABLE
    return Gap(lack=lack, place=error.where or place, what=error.what, remedy=error.remedy)


def of_tools(host: str, broken: Sequence[tuple[str, str]], *, lendable: bool) -> list[Gap]:
    """Tools that a recovery needs and that do not work there.

    Args:
        host: name of the host.
        broken: program and what is wrong with it.
        lendable: they are lent, and installed again, from the packages of the host; else nothing works without them.
    """
    if not broken:
        return []
    said = told([f"{name} ({why})" for name, why in broken])
    return [
        Gap(
            lack=Lack.TOOL_BROKEN, place=host, what=f"these tools do not work: {said}.",
            remedy="install them; `reinstate scan` says what is damaged of them", blocks=not lendable,
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class Need:
    """What a recovery writes at a place of a host."""

    path: str
    bytes: int = 0


@dataclass(frozen=True)
class Room:
    """The file system of a path, or of what is there of its folders.

    Attributes:
        device: equal for paths on the same file system.
        free: bytes that may be written.
        inodes: how many there are; 0: it does not count them.
    """

    path: str
    device: str
    free: int
    inodes: int = 0
    free_inodes: int = 0
    writable: bool = True


def needs_of(asset: Asset, state_dir: str, size: int) -> tuple[Need, ...]:
    """Where a recovery of an asset writes, and how much at most: all of it is staged, then put beside the live one.

    Args:
        asset: it.
        state_dir: of its host.
        size: bytes of the recovery point it would use.
    """
    beside = ""
    match asset:
        case FilesAsset():
            beside = asset.path
        case SqliteAsset() | PostgresAsset(data_directory=str()):
            place = asset.path if isinstance(asset, SqliteAsset) else asset.data_directory or ""
            beside = place.rpartition("/")[0] or "/"
        case MariadbAsset(
            method="mariabackup", data_directory=str() as place
        ):  # the stream is staged there as well
            return (Need(place.rpartition("/")[0] or "/", size * 2),)
        case _:
            beside = getattr(asset, "root", "")
    staged = (Need(state_dir, size),)
    return (*staged, Need(beside, size)) if beside else staged


def of_room(host: str, needs: Iterable[Need], rooms: Mapping[str, Room], head_room: int) -> list[Gap]:
    """Whether what a recovery writes fits, file system by file system.

    Args:
        host: name of the host.
        needs: what is written.
        rooms: by path.
        head_room: bytes that must be left over.
    """
    gaps: list[Gap] = []
    wanted: dict[str, int] = {}
    places: dict[str, Room] = {}
    for need in needs:
        room = rooms.get(need.path)
        if room is None:
            what = "how much is free there is not known."
            gaps.append(
                Gap(lack=Lack.NOT_CHECKED, place=f"{host} {need.path}", what=what, remedy="see `df` there")
            )
            continue
        wanted[room.device] = max(wanted.get(room.device, 0), need.bytes)  # moved there, not written twice
        places.setdefault(room.device, room)
    for device, room in places.items():
        place = f"{host} {room.path}"
        if not room.writable:
            gaps.append(
                Gap(
                    lack=Lack.DISK_READ_ONLY, place=place, what="nothing can be written there.",
                    remedy="mount it for writing, or give the login the right to write there",
                )
            )  # fmt: skip
        if room.free < wanted[device] + head_room:
            what = f"{size(room.free)} are free, {size(wanted[device])} and {size(head_room)} head-room are needed."
            gaps.append(
                Gap(
                    lack=Lack.DISK_FULL, place=place, what=what,
                    remedy="free room there; `state_dir` of the host may be on a larger disk",
                )
            )  # fmt: skip
        elif room.inodes and room.free_inodes < FEWEST_INODES:
            what = f"{room.free_inodes} of {room.inodes} inodes are free."
            gaps.append(Gap(lack=Lack.DISK_FULL, place=place, what=what, remedy="remove files there"))
    return gaps


def size(count: float) -> str:
    """Bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def of_packages(
    place: str, lacking: Sequence[str], count: int, refused: Sequence[str], remedy: str
) -> list[Gap]:
    """Whether every installed package can be had in exactly its version (R-PREV-4).

    Args:
        place: asset's host.
        lacking: those that no source has, as `name version`.
        count: how many were looked for.
        refused: sources that do not count, and why.
        remedy: what to do.
    """
    if not count:
        what = "no installed package was found; an empty look is no proof."
        return [Gap(lack=Lack.NOT_CHECKED, place=place, what=what, remedy="see what the asset means there")]
    if not lacking:
        return []
    why = f" Not counted: {' '.join(refused[:2])}" if refused else ""
    what = f"{len(lacking)} of {count} packages cannot be had in their version: {told(lacking)}.{why}"
    return [Gap(lack=Lack.PACKAGE_GONE, place=place, what=what, remedy=remedy)]


def of_points(
    source: str, chosen: str, judged: Sequence[Judgement], lost: Sequence[str], overdue: str, unproven: str,
    remarks: Sequence[str],
) -> list[Gap]:  # fmt: skip
    """Whether there is a recovery point, fresh and proven.

    Args:
        source: name of the backup source.
        chosen: id of the point a recovery would use; empty: none.
        judged: what is said about the points.
        lost: sentences on points that should be there and are not.
        overdue: why the newest is too old; empty when it is not.
        unproven: why none is proven; empty when one is.
        remarks: what else could not be looked at.
    """
    gaps: list[Gap] = []
    if not chosen:
        refused = [f"{one.point}: {one.sentence}" for one in judged if one.refused]
        why = "; ".join([*remarks, *refused[:2]]) or "there is none"
        lack = Lack.SOURCE_UNREACHABLE if remarks and not judged else Lack.POINT_MISSING
        what = f"no usable recovery point: {why.rstrip('.')}."
        gaps.append(
            Gap(lack=lack, place=source, what=what, remedy="`reinstate back-up`; see `reinstate backups`")
        )
    elif remarks:
        gaps.append(
            Gap(lack=Lack.NOT_CHECKED, place=source, what=" ".join(remarks), remedy="see `reinstate backups`")
        )
    if overdue:
        remedy = "`reinstate back-up`; see why the regular backup is missing"
        gaps.append(Gap(lack=Lack.POINT_OVERDUE, place=source, what=overdue, remedy=remedy))
    gaps += [
        Gap(
            lack=Lack.POINT_VANISHED, place=source, what=one, blocks=False,
            remedy="find out who removed it; then `reinstate backups forget`",
        )
        for one in lost
    ]  # fmt: skip
    used = next((one for one in judged if one.point == chosen), None)
    if used is not None and used.against:
        what = f"recovery point {used.point} would be used although {'; '.join(r.sentence for r in used.against)}."
        remedy = "`reinstate back-up` once the asset is whole"
        gaps.append(Gap(lack=Lack.POINT_DOUBTFUL, place=source, what=what, remedy=remedy, blocks=False))
    if unproven:
        gaps.append(
            Gap(
                lack=Lack.POINT_UNPROVEN, place=source, what=unproven, blocks=False,
                remedy="`reinstate verify-backups`",
            )
        )  # fmt: skip
    return gaps


def of_people(
    plan: Plan, unable: Mapping[str, str], instead: Mapping[Gate, Mapping[str, str]]
) -> Iterator[Gap]:
    """Whether each gate could be signed, also when one of its people reported the incident or is away.

    Args:
        plan: the plan.
        unable: person → why they cannot prove who they are; those who can are left out.
        instead: gate → person → who stands in for them now.
    """
    for gate in (Gate.DECIDE, Gate.ACCEPT, Gate.PUBLISH):
        rule: GateRule = getattr(plan.signoff, gate.value)
        everybody = signers(plan, rule, requester="", instead=instead.get(gate))
        can = [person for person in everybody if person not in unable]
        cannot = [f"{person} ({unable[person]})" for person in everybody if person in unable]
        place = f"signoff.{gate}"
        if len(can) < rule.quorum:
            left = f"; not {told(cannot)}" if cannot else ""
            yield Gap(
                lack=Lack.QUORUM_OUT_OF_REACH, place=place, blocks=gate is not Gate.PUBLISH,
                what=f"{rule.quorum} must sign and {len(can)} of its people can{left}.",
                remedy="`reinstate people enrol`, or publish a plan with other people in the role",
            )  # fmt: skip
        elif len(can) == rule.quorum:
            yield Gap(
                lack=Lack.NOBODY_TO_SPARE, place=place, blocks=False,
                what=f"it cannot be signed when one of {told(can)} is away or reported the incident.",
                remedy="name and enrol a deputy in the role",
            )  # fmt: skip


def of_reach(plan: Plan) -> Iterator[Gap]:
    """Whether those who sign can be told that they must."""
    people: dict[str, None] = {}
    for gate in (Gate.DECIDE, Gate.ACCEPT):
        people |= dict.fromkeys(signers(plan, getattr(plan.signoff, gate.value), requester=""))
    for ident in people:
        person = plan.people[ident]
        routes = plan.communication.routes(ident, plan.people) if plan.communication else ()
        if not (person.email or person.phone or routes):
            yield Gap(
                lack=Lack.PERSON_NOT_REACHED, place=f"people.{ident}", blocks=False,
                what=f"{person.name} signs and has neither mail address nor telephone.",
                remedy="give `email` or `phone`",
            )  # fmt: skip


def of_publication(
    versions: Sequence[PlanVersion], text_digest: str, path: str, moment: datetime
) -> list[Gap]:
    """Whether a real incident opened now may follow the plan file without breaking the glass (R-ORG-2)."""
    if not versions:
        return [
            Gap(
                lack=Lack.PLAN_NOT_PUBLISHED, place=path, blocks=False,
                what="no version was ever published: whoever can write the file decides what a recovery does.",
                remedy="`reinstate plan publish`",
            )
        ]  # fmt: skip
    if may_follow(versions, text_digest, moment):
        return []
    newest = versions[-1]
    return [
        Gap(
            lack=Lack.PLAN_CHANGED, place=path,
            what=f"the file ({text_digest[:12]}) is not the published version {newest.number} ({newest.digest[:12]}): "
            "nobody signed it.",
            remedy=f"`reinstate plan diff {newest.plan}@{newest.number} FILE`, then `reinstate plan publish` or put "
            "the published text back",
        )
    ]  # fmt: skip


def of_wrong_plan(path: str, error: ReinstateError) -> Gap:
    """The plan file cannot be read."""
    return Gap(lack=Lack.PLAN_WRONG, place=error.where or path, what=error.what, remedy=error.remedy)
