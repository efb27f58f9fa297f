"""Disks, clock and what a host starts from, judged on what hosts really print."""

from __future__ import annotations

import pytest

from checks import boot, clock, disks
from checks.system import parse
from model.errors import PreconditionFailed
from model.finding import Code, Degree
from model.host_state import HostState
from tests.checks.system_data import NOW, found, judgement, only

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 8:2 / /srv/my\040data rw,relatime shared:2 - xfs /dev/sda2 rw
24 22 0:20 / /proc rw - proc proc rw
25 22 0:30 / /mnt/nfs rw - nfs4 server:/x rw
26 22 8:2 /part /srv/bound rw - xfs /dev/sda2 rw
27 22 7:0 / /snap/core ro - squashfs /dev/loop0 ro
"""
SPACE = "4096 1000000 500000 1000 500 8:1\n4096 1000000 500000 0 0 8:2\n512 10 0 5 0 7:0\n"
FSTAB = "# device\nUUID=abcd / ext4 errors=remount-ro 0 1\n/dev/sda2 /srv/my\\040data xfs defaults 0 2\n"
DISKS = {"mounts": MOUNTS, "space": SPACE, "fstab": FSTAB, "missing": ""}


def test_disks_with_room_have_no_findings() -> None:
    judging = judgement(disks.judge, DISKS)
    assert ({}, 2, []) == (found(judging), judging.examined, judging.notes)


def test_bind_mounts_and_network_shares_are_not_counted_twice() -> None:
    judging = judgement(disks.judge, DISKS | {"space": SPACE.replace("500000 0 0 8:2", "10 0 0 8:2")})
    assert ["/srv/my data"] == [f.subject for f in judging.findings.values()]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("4096 1000000 1000 1000 500 8:1", "3.9 MiB of 3.8 GiB free"),
        ("4096 1000000 500000 1000 20 8:1", "20 of 1000 inodes free"),
        ("4096 1000000 0 1000 0 8:1", "0 B of 3.8 GiB free; 0 of 1000 inodes free"),
    ],
)
def test_disk_without_room_or_inodes_is_full(space: str, said: str) -> None:
    finding = only(judgement(disks.judge, DISKS | {"space": space}))
    assert (Code.DISK_FULL, "/", said) == (finding.code, finding.subject, finding.actual)


def test_large_disk_needs_no_five_percent() -> None:
    """1 GiB is room enough, as long as the plan does not say otherwise."""
    parts = DISKS | {"space": "4096 1000000000 300000 0 0 8:1\n"}
    assert {} == found(judgement(disks.judge, parts))
    assert ["/"] == list(found(judgement(disks.judge, parts, free_bytes=1 << 40)))


def test_disk_that_fstab_wants_writable_is_found_with_the_kernels_reason() -> None:
    parts = DISKS | {
        "mounts": MOUNTS.replace("rw,relatime shared:1", "ro,relatime shared:1"),
        "kernel": "EXT4-fs error (device sda1): bad header\nI/O error, dev sdb, sector 1\n",
    }
    finding = only(judgement(disks.judge, parts))
    assert (Code.DISK_READ_ONLY, "/") == (finding.code, finding.subject)
    assert "EXT4-fs error (device sda1)" in finding.detail


def test_read_only_superblock_is_found_and_another_disks_error_is_not_its_reason() -> None:
    parts = DISKS | {
        "mounts": MOUNTS.replace("/dev/sda2 rw\n24", "/dev/sda2 ro\n24"),
        "kernel": "I/O error, dev sdb, sector 1\n",
    }
    finding = only(judgement(disks.judge, parts))
    assert ("/srv/my data", "") == (finding.subject, finding.detail)


def test_read_only_mount_that_nobody_wants_writable_is_healthy() -> None:
    parts = DISKS | {"mounts": MOUNTS.replace("rw,relatime shared:1", "ro,relatime shared:1"), "fstab": ""}
    assert {} == found(judgement(disks.judge, parts))
    known = HostState(mounts=frozenset({"/"}))
    assert ["/"] == list(found(judgement(disks.judge, parts, known=known)))


def test_accepted_state_is_no_finding_and_is_said() -> None:
    parts = DISKS | {"space": "4096 1000000 0 0 0 8:1\n"}
    judging = judgement(disks.judge, parts, accept=["DISK_FULL /"])
    assert ({}, {"/"}) == (found(judging), judging.accepted)


def test_mount_of_the_plan_that_is_not_there_is_said() -> None:
    judging = judgement(disks.judge, DISKS, mounts=["/srv/gone", "/"])
    assert 1 == judging.examined
    assert "room on /srv/gone" in judging.notes[0]


def test_host_that_says_nothing_of_its_disks_is_not_passed() -> None:
    judging = judgement(disks.judge, {})
    assert 0 == judging.examined
    assert judging.notes


BEGAN, ENDED = NOW.timestamp() + 0.2, NOW.timestamp() + 0.8


@pytest.mark.parametrize(
    ("shift", "said"),
    [(0.0, ""), (4.9, ""), (-4.0, ""), (60.0, "59.8 s ahead"), (-3600.0, "3599.8 s behind")],
)
def test_clock_is_judged_by_what_the_way_cannot_explain(shift: float, said: str) -> None:
    judging = judgement(clock.judge, {"began": str(BEGAN + shift), "ended": str(ENDED + shift)})
    assert said == (only(judging).actual if said else "".join(a for _, a in found(judging).values()))


def test_slow_connection_is_no_wrong_clock() -> None:
    judging = judgement(clock.judge, {"began": str(NOW.timestamp()), "ended": str(NOW.timestamp() + 0.1)})
    assert {} == found(judging)


def test_clock_that_chrony_measures_as_wrong_is_found() -> None:
    chrony = "A29FC801,162.159.200.1,3,1790000000.0,42.5,0.1,0.1,1,0,0.1,0.01,0.001,64.0,{}\n"
    parts = {"began": str(BEGAN), "ended": str(ENDED), "chrony": chrony.format("Normal")}
    assert "42.5 s off" in only(judgement(clock.judge, parts)).actual
    assert {} == found(judgement(clock.judge, parts | {"chrony": chrony.format("Not synchronised")}))


def test_host_that_does_not_say_its_time_is_said() -> None:
    assert judgement(clock.judge, {"began": "x"}).notes


def test_daemon_that_keeps_the_clock_is_named() -> None:
    units = "chrony.service loaded active running x\nsystemd-timesyncd.service loaded inactive dead x\n"
    judging = judgement(clock.judge, {"units": units, "began": str(BEGAN), "ended": str(ENDED)})
    assert "chrony.service" == clock.daemon(judging.data)
    assert "" == clock.daemon(judgement(clock.judge, {"units": ""}).data)


GRUB = """\
set default=0
menuentry 'Debian' {
    linux /boot/vmlinuz-6.1 root=UUID=x ro quiet
    initrd /boot/ucode.img /boot/initrd.img-6.1
}
"""
FILES = "8000000\t1.0\t/boot/vmlinuz-6.1\n40000000\t1.0\t/boot/initrd.img-6.1\n70000\t1.0\t/boot/ucode.img\n"
MAGIC = "4d5a00\t/boot/vmlinuz-6.1\n28b52ffd\t/boot/initrd.img-6.1\n"
BOOT = {
    "entry /boot/grub/grub.cfg": GRUB, "bootfiles": FILES, "magic": MAGIC, "release": "6.1\n",
    "sshd": "", "sshdrc": "0\n",
    "modules": "loadable\n6.1\n", "owners": "/boot/vmlinuz-6.1\tlinux-image-6.1\t6.1.2-1\n", "fstab": FSTAB,
    "devices": "there\tUUID=abcd\nthere\t/dev/sda2\n", "bydisk": "yes\n", "container": "",
}  # fmt: skip


def test_host_that_can_start_has_no_findings() -> None:
    judging = judgement(boot.judge, BOOT)
    assert ({}, []) == (found(judging), judging.notes)


def test_entries_relative_to_a_boot_partition_are_followed() -> None:
    parts = BOOT | {"entry /boot/grub/grub.cfg": GRUB.replace("/boot/", "/")}
    assert {} == found(judgement(boot.judge, parts))


def test_kernel_that_is_gone_is_found() -> None:
    finding = only(judgement(boot.judge, BOOT | {"bootfiles": FILES.split("\n", 1)[1], "owners": ""}))
    assert (Code.BOOT_DAMAGED, "/boot/vmlinuz-6.1", "absent") == (
        finding.code,
        finding.subject,
        finding.actual,
    )


@pytest.mark.parametrize(
    ("magic", "files", "subject", "package"),
    [
        (MAGIC.replace("4d5a00", "000000"), FILES, "/boot/vmlinuz-6.1", "linux-image-6.1"),
        (MAGIC.replace("28b52ffd", "0a0a0a0a"), FILES, "/boot/initrd.img-6.1", ""),
        (MAGIC, FILES.replace("40000000", "4096"), "/boot/initrd.img-6.1", ""),
        (MAGIC, FILES.replace("8000000\t", "0\t", 1), "/boot/vmlinuz-6.1", "linux-image-6.1"),
    ],
)
def test_image_that_is_not_whole_is_found_with_its_package(
    magic: str, files: str, subject: str, package: str
) -> None:
    finding = only(judgement(boot.judge, BOOT | {"magic": magic, "bootfiles": files}))
    assert (subject, package, Degree.TOTAL) == (finding.subject, finding.package, finding.degree)


def test_image_much_smaller_than_recorded_is_found() -> None:
    known = HostState(boot={"/boot/initrd.img-6.1": 90_000_000, "/boot/vmlinuz-5.0": 1})
    assert "40000000 bytes" == only(judgement(boot.judge, BOOT, known=known)).actual


def test_container_without_a_kernel_is_said_and_not_found() -> None:
    parts = {
        "container": "systemd-nspawn\n",
        "release": "6.1\n",
        "modules": "",
        "fstab": FSTAB,
        "sshdrc": "0\n",
    }
    judging = judgement(boot.judge, parts)
    assert {} == found(judging)
    assert 3 == len(judging.notes)


def test_modules_of_the_running_kernel_are_missed() -> None:
    assert ["/lib/modules/6.1"] == list(found(judgement(boot.judge, BOOT | {"modules": "loadable\n5.10\n"})))


@pytest.mark.parametrize(
    ("fstab", "devices", "degree"),
    [
        (FSTAB, "absent\tUUID=abcd\n", Degree.SERIOUS),
        ("/dev/sdx /x ext4 nofail 0 0\n", "absent\t/dev/sdx\n", Degree.SLIGHT),
        ("/dev/sdx /x\n", "there\t/dev/sdx\n", Degree.SERIOUS),
    ],
)
def test_fstab_that_names_no_device_is_found(fstab: str, devices: str, degree: Degree) -> None:
    finding = only(judgement(boot.judge, BOOT | {"fstab": fstab, "devices": devices}))
    assert ("/etc/fstab", degree) == (finding.subject, finding.degree)


def test_device_that_is_not_mounted_at_boot_may_be_away() -> None:
    parts = BOOT | {"fstab": "/dev/sdx /x ext4 noauto 0 0\n", "devices": "absent\t/dev/sdx\n"}
    assert {} == found(judgement(boot.judge, parts))


def test_sshd_that_refuses_its_configuration_is_found_and_a_broken_sshd_is_not_the_configuration() -> None:
    bad = {"sshdrc": "255\n", "sshd": "/etc/ssh/sshd_config: line 9: Bad configuration option: x\n"}
    assert "Bad configuration option" in only(judgement(boot.judge, BOOT | bad)).actual
    dead = {"sshdrc": "126\n", "sshd": "sshd: Exec format error\n"}
    judging = judgement(boot.judge, BOOT | dead)
    assert ({}, 1) == (found(judging), len(judging.notes))


def test_answer_that_was_cut_off_is_no_answer() -> None:
    with pytest.raises(PreconditionFailed, match="cut off"):
        parse(b"\0began\x001.0\0units\0x")
    assert {"a": "1", "end": "\n"} == parse(b"\0a\x001\0end\0\n")
