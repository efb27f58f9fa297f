"""What a host needs to start again: kernels, RAM disks, boot entries, modules, fstab, an sshd_config that is valid."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from checks.disks import fstab
from checks.judging import Judging, SystemData
from model.finding import Code, Degree

SMALLEST_KERNEL = 1 << 20
SMALLEST_DISK = 64 << 10
_COMPRESSED = ("1f8b", "fd377a585a00", "28b52ffd", "04224d18", "02214c18", "425a68", "5d0000", "894c5a4f")
_INITRD = ("303730373031", "303730373032", "c771", "71c7", *_COMPRESSED)
"""cpio archives, plain or compressed (kernel: Documentation/driver-api/early-userspace/buffer-format)."""

_KERNEL = ("7f454c46", "4d5a", *_COMPRESSED)
"""ELF, EFI or compressed images; x86 images say `HdrS` at 0x202 besides (Documentation/arch/x86/boot)."""

_GRUB = re.compile(r"^\s*(linux|linux16|linuxefi|initrd|initrd16|initrdefi)\s+(.+)$")
_ENTRY = re.compile(r"^\s*(linux|initrd)\s+(.+)$")


def sizes(data: SystemData) -> dict[str, int]:
    """Files below /boot by path."""
    found: dict[str, int] = {}
    for line in data.parts.get("bootfiles", "").split("\n"):
        words = line.split("\t", 2)
        if len(words) == 3 and words[0].isdigit():
            found[words[2]] = int(words[0])
    return found


def record(data: SystemData) -> dict[str, int]:
    """Sizes of kernels and RAM disks: for the baseline."""
    return {path: size for path, size in sizes(data).items() if _is_kernel(path) or _is_disk(path)}


def judge(j: Judging) -> None:
    """Add what is missing or not whole."""
    _entries(j)
    _modules(j)
    _fstab(j)
    _sshd(j)


def _is_kernel(path: str) -> bool:
    return posixpath.basename(path).startswith(("vmlinu", "kernel-")) or posixpath.basename(path) == "linux"


def _is_disk(path: str) -> bool:
    return posixpath.basename(path).startswith("initr") and not path.endswith((".sh", ".cfg"))


def references(data: SystemData) -> Iterator[tuple[str, str]]:
    """What boot entries name: (file of the entry, path as it says)."""
    for entry, text in data.named("entry").items():
        shape = _GRUB if entry.endswith(".cfg") else _ENTRY
        for line in text.split("\n"):
            match = shape.match(line)
            if match is None:
                continue
            words = match[2].split()
            named = words[:1] if match[1].startswith("linux") else words
            for word in named:
                word = re.sub(r"^(\(\$?[^)]*\)|\$\w+)", "", word)
                if word.startswith("/"):
                    yield entry, posixpath.normpath(word)


def _entries(j: Judging) -> None:
    there = sizes(j.data)
    named = list(references(j.data))
    images = {path for path in there if path.startswith("/boot/") and (_is_kernel(path) or _is_disk(path))}
    if not named and not images:
        why = (
            f"a container ({j.data.container}) has none of its own" if j.data.container else "none was found"
        )
        j.note(f"kernel and boot entries: {why}")
        return
    owners = {
        words[0]: (words[1], words[2])
        for line in j.data.lines("owners")
        if len(words := line.split("\t")) == 3
    }
    for entry, path in dict.fromkeys(named):
        # Where /boot or the EFI partition is a file system of its own, entries are relative to it.
        place = next((p for p in (path, f"/boot{path}", f"/boot/efi{path}", f"/efi{path}") if p in there), "")
        j.examined += 1
        if place:
            images.add(place)
        else:
            lost = path if path.startswith("/boot/") else f"/boot{path}"
            package, version = owners.get(lost, ("", ""))
            j.find(
                Code.BOOT_DAMAGED, lost, f"the file that {entry} starts", "absent", Degree.TOTAL,
                package=package, version=version,
            )  # fmt: skip
    if j.known is not None:
        for path in sorted(set(j.known.boot) - set(there)):
            if any(path.endswith(name) for _, name in named):
                j.find(
                    Code.BOOT_DAMAGED, path, f"{j.known.boot[path]} bytes as recorded", "absent", Degree.TOTAL
                )
    _images(j, sorted(images), there, owners)


def _images(j: Judging, images: list[str], there: dict[str, int], owners: dict[str, tuple[str, str]]) -> None:
    magic: dict[str, str] = {}
    for line in j.data.parts.get("magic", "").split("\n"):
        head, tab, path = line.partition("\t")
        if tab:
            magic[path] = head
    for path in images:
        j.examined += 1
        kernel, size = _is_kernel(path), there[path]
        smallest = SMALLEST_KERNEL if kernel else SMALLEST_DISK
        recorded = j.known.boot.get(path, 0) if j.known else 0
        said = ""
        if size < smallest or size * 2 < recorded:
            said = f"{size} bytes"
        elif path in magic and not magic[path].startswith(_KERNEL if kernel else _INITRD):
            said = f"it begins with {magic[path][:16] or 'nothing'}"
        if said:
            package, version = owners.get(path, ("", ""))
            what = "a kernel image" if kernel else "an initial RAM disk"
            expected = f"{what} of {recorded} bytes" if recorded else what
            j.find(Code.BOOT_DAMAGED, path, expected, said, Degree.TOTAL, package=package, version=version)


def _modules(j: Judging) -> None:
    release = next(iter(j.data.lines("release")), "")
    there = j.data.lines("modules")
    if j.data.container or "loadable" not in there or not release:
        j.note(
            "kernel modules: "
            + (f"a container ({j.data.container}) has none" if j.data.container else "this kernel loads none")
        )
        return
    j.examined += 1
    if release not in there[1:]:
        j.find(
            Code.BOOT_DAMAGED, f"/lib/modules/{release}", "the modules of the running kernel", "absent",
            detail="After a kernel upgrade this is also what a host looks like that was not started again.",
        )  # fmt: skip


def _fstab(j: Judging) -> None:
    text = j.data.parts.get("fstab", "")
    rows = fstab(text)
    if j.data.container and not j.data.lines("bydisk"):
        if rows:
            j.note(f"devices that fstab names: a container ({j.data.container}) does not see them")
        return
    absent = {
        words[1].strip('"') for line in j.data.lines("devices") if (words := line.split("\t"))[0] == "absent"
    }
    wrong: list[str] = []
    grave = False
    for words in rows:
        j.examined += 1
        options = words[3].split(",") if len(words) > 3 else []
        if len(words) < 3 or not (words[1].startswith("/") or words[1] in {"none", "swap"}):
            wrong.append(f"a line that names no place and type: {words[0]}")
            grave = True
        elif words[0] in absent and "noauto" not in options:
            wrong.append(f"{words[0]} for {words[1]} is no device")
            grave = grave or "nofail" not in options
    if wrong:
        degree = Degree.SERIOUS if grave else Degree.SLIGHT
        j.find(Code.BOOT_DAMAGED, "/etc/fstab", "devices that exist", "; ".join(wrong[:5]), degree)


def _sshd(j: Judging) -> None:
    status = next(iter(j.data.lines("sshdrc")), "")
    if not status:
        j.note("sshd_config: the host has no sshd")
        return
    said = " ".join(j.data.parts.get("sshd", "").split())
    if (
        status in {"126", "127"}
        or "Missing privilege separation directory" in said
        or "shared librar" in said
    ):
        j.note(f"sshd_config: sshd does not run ({said[:120]})")
        return
    j.examined += 1
    if status != "0":
        j.find(
            Code.BOOT_DAMAGED, "/etc/ssh/sshd_config", "a configuration that sshd takes", said[:200],
            detail="sshd goes on with what it read at its start; after its next start nobody can log in.",
        )  # fmt: skip
