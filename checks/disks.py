"""Disks: room and inodes of every local file system, and those that turned read-only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from checks.judging import Judging, SystemData
from model.finding import Code

_ESCAPE = re.compile(r"\\([0-7]{3})")
_READ_ONLY_BY_NATURE = frozenset({"squashfs", "iso9660", "erofs", "ramfs"})
"""Images: full and read-only is what they are."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system.

    Attributes:
        device: `major:minor`.
        root: what of the file system is mounted; `/` is all of it.
        writable: neither the mount nor the file system is read-only.
    """

    place: str
    device: str
    root: str
    kind: str
    source: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Space:
    """Room of a file system, in bytes and inodes; `inodes` 0: it does not count them."""

    total: int
    free: int
    inodes: int
    free_inodes: int


def plain(text: str) -> str:
    """A path of mountinfo or fstab without its octal escapes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def mounts(data: SystemData) -> list[Mount]:
    """What is mounted; the last one at a place is the one that is seen there."""
    found: dict[str, Mount] = {}
    for line in data.lines("mounts"):
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) < 6 or len(tail) < 3:
            continue
        options = {*fields[5].split(","), *tail[2].split(",")}
        place = plain(fields[4])
        found[place] = Mount(place, fields[2], plain(fields[3]), tail[0], plain(tail[1]), "ro" not in options)
    return list(found.values())


def spaces(data: SystemData) -> dict[str, Space]:
    """Room by device."""
    found: dict[str, Space] = {}
    for line in data.lines("space"):
        words = line.split(" ")
        if len(words) == 6 and all(word.isdigit() for word in words[:5]):
            block, total, free, inodes, free_inodes = (int(word) for word in words[:5])
            found[words[5]] = Space(block * total, block * free, inodes, free_inodes)
    return found


def fstab(text: str) -> list[list[str]]:
    """Fields of every line that is no comment."""
    return [line.split() for line in text.splitlines() if line.split() and not line.lstrip().startswith("#")]


def watched(j: Judging) -> dict[str, tuple[Mount, Space]]:
    """The file systems to look at, each once, by mount point."""
    room = spaces(j.data)
    wanted = set(j.asset.mounts)
    found: dict[str, tuple[Mount, Space]] = {}
    seen: set[str] = set()
    for mount in sorted(mounts(j.data), key=lambda m: len(m.place)):
        space = room.get(mount.device)
        whole = mount.root == "/" or mount.kind == "btrfs"
        if mount.kind in _READ_ONLY_BY_NATURE:
            continue
        if space is None or not space.total or not whole or (mount.device in seen and not wanted):
            continue
        if wanted and mount.place not in wanted:
            continue
        if mount.place.startswith(("/sys/", "/proc/")) or mount.place in {"/sys", "/proc"}:
            continue
        seen.add(mount.device)
        found[mount.place] = (mount, space)
    return found


def short_of(j: Judging, space: Space) -> int:
    """Bytes that are missing until there is enough room; 0 when there is."""
    wanted = min(int(space.total * j.asset.free_percent / 100), j.asset.free_bytes)
    return max(0, wanted - space.free)


def judge(j: Judging) -> None:
    """Add what is full or read-only."""
    if j.without("disks", ("mounts", "space"), "the host said nothing about its mounts"):
        return
    if "stat" in j.data.lines("missing"):
        j.note("room on disks: the host has no `stat`")
    found = watched(j)
    for place in sorted(set(j.asset.mounts) - set(found)):
        j.note(f"room on {place}: nothing is mounted there, or it does not say")
    declared = {
        plain(words[1]): words[3].split(",") if len(words) > 3 else ["defaults"]
        for words in fstab(j.data.parts.get("fstab", ""))
        if len(words) > 1
    }
    for place, (mount, space) in found.items():
        j.examined += 1
        _room(j, place, space)
        _writable(j, mount, declared)
    if not declared and j.known is None:
        j.note(
            "whether a read-only file system should be writable: fstab names none, and there is no baseline"
        )


def _room(j: Judging, place: str, space: Space) -> None:
    wrong: list[str] = []
    if short_of(j, space):
        wrong.append(f"{_size(space.free)} of {_size(space.total)} free")
    if space.inodes and space.free_inodes * 100 < space.inodes * j.asset.free_percent:
        wrong.append(f"{space.free_inodes} of {space.inodes} inodes free")
    if wrong:
        enough = f"{j.asset.free_percent:g} % or {_size(j.asset.free_bytes)}"
        j.find(
            Code.DISK_FULL,
            place,
            f"room: {enough}, and {j.asset.free_percent:g} % of inodes",
            "; ".join(wrong),
        )


def _writable(j: Judging, mount: Mount, declared: Mapping[str, list[str]]) -> None:
    if mount.writable:
        return
    by_fstab = mount.place in declared and "ro" not in declared[mount.place]
    by_baseline = j.known is not None and mount.place in j.known.mounts
    if by_fstab or by_baseline:
        why = "fstab" if by_fstab else "the baseline"
        said = kernel_errors(j.data, mount)
        j.find(
            Code.DISK_READ_ONLY, mount.place, f"writable, by {why}", "read-only",
            detail=f"The kernel says: {said[-1]}" if said else "",
        )  # fmt: skip


def kernel_errors(data: SystemData, mount: Mount) -> list[str]:
    """Lines of the kernel's log about errors of the device below a mount."""
    name = mount.source.rpartition("/")[2]
    if not mount.source.startswith("/dev/") or not name:
        return []
    disk = re.sub(r"(?<=\d)p\d+$|(?<=[a-z])\d+$", "", name)
    about = re.compile(rf"(?<![A-Za-z0-9])({re.escape(name)}|{re.escape(disk)})(?![A-Za-z0-9])")
    return [line for line in data.lines("kernel") if about.search(line)]


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]  # the loop ends in a fraction
    return f"{count:.1f} GiB"
