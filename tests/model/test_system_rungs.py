"""The rungs for the state of a host: what can be brought back for certain is proposed, the rest is people's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from model.finding import Code, Degree, Finding
from model.host_state import HostState, sha256_of
from model.ladder import propose
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from model.plan import Plan
from model.planfile import read_plan
from model.proposal import (
    FreeSpace,
    MendAccounts,
    Proposal,
    RemountWritable,
    RestartService,
    RestartTimeDaemon,
    RestoreFiles,
    RestoreUnits,
)
from model.supplies import Mend, PackageSupply, PointSupply, Removable, Supplies, SystemSupply
from tests.model.builders import AT, PLAN_TEXT

MACHINE = "0123456789abcdef0123456789abcdef"
FOLDER = "/etc/systemd/system"
TEXT = "[Service]\nLimitNOFILE=1000\n"
HASH = "0" * 64


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The shop with the state of its host, its packages and the configuration below /etc/ssl."""
    extra = """\
assets:
  host-state: {kind: system, host: web-1, services: [web]}
  ssl: {kind: files, role: configuration, host: web-1, path: /etc/ssl, backup: tree}
"""
    return read_plan(PLAN_TEXT.replace("assets:\n", extra))


def wrong(code: Code, subject: str, expected: str = "", actual: str = "", **more: object) -> Finding:
    return Finding.model_validate(
        {"code": code, "host": "web-1", "asset": "host-state", "subject": subject, "expected": expected,
         "actual": actual, **more}
    )  # fmt: skip


def proposed(
    plan: Plan, findings: Sequence[Finding], supply: Mapping[str, object] | None = None, known: HostState | None = None,
    **supplies: object,
) -> Proposal:  # fmt: skip
    system = SystemSupply.model_validate({"asset": "host-state", **(supply or {})})
    return propose(
        plan, "inc-1", HASH, {"web-1": MACHINE}, findings,
        Supplies.model_validate({"systems": (system,), **supplies}),
        {"host-state": known.entries()} if known else {}, AT, timedelta(hours=1),
    )  # fmt: skip


def unmet(proposal: Proposal) -> str:
    (one,) = proposal.unmet
    return f"{one.sentence} {one.remedy}"


def file(path: str, text: str = "", size: int = 0) -> Entry:
    return Entry(
        path=path,
        type=FileType.FILE,
        mode=0o644,
        size=size or len(text),
        sha256=sha256_of(text) if text else HASH,
    )


def link(path: str, target: str) -> Entry:
    return Entry(path=path, type=FileType.LINK, link=target)


STATE = HostState(
    units={
        f"{FOLDER}/cron.service.d/x.conf": file(f"{FOLDER}/cron.service.d/x.conf", TEXT),
        f"{FOLDER}/a.wants/big.service": link(
            f"{FOLDER}/a.wants/big.service", "/lib/systemd/system/big.service"
        ),
        f"{FOLDER}/huge.service": file(f"{FOLDER}/huge.service", size=1 << 20),
    },
    contents={sha256_of(TEXT): TEXT},
    active=frozenset({"cron.service", "big.service"}),
)


def test_mask_goes_and_what_ran_is_started(plan: Plan) -> None:
    """R-RESP-4: the least invasive way is to take away what was added."""
    mask = link(f"{FOLDER}/cron.service", "/dev/null")
    proposal = proposed(plan, [wrong(Code.UNIT_MASKED, "cron.service")], {"present": (mask,)}, STATE)
    action = proposal.actions[0]
    assert isinstance(action, RestoreUnits)
    assert ((), (mask,), ("cron.service",)) == (action.files, action.gone, action.start)
    assert (mask.path,) == action.touches
    assert () == proposal.unmet


def test_changed_drop_in_comes_back_and_the_failed_unit_is_started(plan: Plan) -> None:
    """A failed unit whose files were changed is cured together with them."""
    path = f"{FOLDER}/cron.service.d/x.conf"
    failed = wrong(Code.UNIT_FAILED, "cron.service")
    changed = wrong(Code.UNIT_CHANGED, path)
    proposal = proposed(plan, [changed, failed], {"present": (file(path, "other"),)}, STATE)
    action = proposal.actions[0]
    assert isinstance(action, RestoreUnits)
    assert (STATE.units[path],) == action.files
    assert (("cron.service",), ()) == (action.start, action.restart)
    assert {changed.id, failed.id} == set(action.findings)
    assert sha256_of(TEXT) in action.model_dump_json()
    assert "LimitNOFILE" not in action.model_dump_json(), (
        "the text stays with the baseline: it may hold secrets"
    )


def test_drop_in_that_was_added_goes_and_a_new_unit_is_peoples(plan: Plan) -> None:
    added, own = f"{FOLDER}/ssh.service.d/evil.conf", f"{FOLDER}/mine.service"
    findings = [
        wrong(Code.UNIT_CHANGED, added, "absent"),
        wrong(Code.UNIT_CHANGED, own, "in the baseline", degree=Degree.SLIGHT),
    ]
    proposal = proposed(plan, findings, {"present": (file(added, "x"), file(own, "y"))}, STATE)
    action = proposal.actions[0]
    assert isinstance(action, RestoreUnits)
    assert ([added], ()) == ([entry.path for entry in action.gone], action.restart), (
        "ssh is not restarted under us"
    )
    assert f"{FOLDER}/ssh.service.d" in action.touches
    assert "systemctl disable mine.service" in unmet(proposal)


def test_unit_file_too_large_to_be_kept_is_peoples(plan: Plan) -> None:
    proposal = proposed(plan, [wrong(Code.UNIT_CHANGED, f"{FOLDER}/huge.service")], {}, STATE)
    assert () == proposal.actions
    assert "64 KiB" in unmet(proposal)


def test_stopped_timer_is_started(plan: Plan) -> None:
    (action, *_) = proposed(plan, [wrong(Code.UNIT_CHANGED, "x.timer", "active")], {}, STATE).actions
    assert isinstance(action, RestoreUnits)
    assert ((), ("x.timer",)) == (action.touches, action.start)


def test_failed_unit_of_a_service_of_the_plan_is_cured_by_its_restart(plan: Plan) -> None:
    failed = wrong(Code.UNIT_FAILED, "shop.service")
    down = Finding(code=Code.SERVICE_DOWN, host="web-1", asset="web", subject="shop.service")
    proposal = proposed(plan, [failed, down])
    (action,) = proposal.actions
    assert isinstance(action, RestartService)
    assert {failed.id, down.id} == set(action.findings)


def test_failed_unit_of_nobody_is_peoples(plan: Plan) -> None:
    assert "journalctl --unit=x.service" in unmet(proposed(plan, [wrong(Code.UNIT_FAILED, "x.service")]))


def removable(path: str, size: int, regenerable: bool, mount: str = "/") -> Removable:
    return Removable(entry=file(path, size=size), mount=mount, regenerable=regenerable)


def test_room_is_made_of_cached_packages_before_journals_and_no_more_than_needed(plan: Plan) -> None:
    """Never users' data; journals are in the snapshot, so an undo brings them back."""
    supply = {
        "short": {"/": 150},
        "removable": (
            removable("/var/log/journal/m/old.journal", 100, False),
            removable("/var/log/journal/m/new.journal", 100, False),
            removable("/var/cache/apt/archives/a.deb", 100, True),
            removable("/var/cache/apt/archives/needed.deb", 900, True),
            removable("/srv/x.deb", 900, True, "/srv"),
        ),
    }
    needed = PackageSupply(
        asset="packages", package="a", version="1", architecture="all", source="host-cache", filename="needed.deb",
        sha256=HASH, bytes=900,
    )  # fmt: skip
    proposal = proposed(plan, [wrong(Code.DISK_FULL, "/")], supply, packages=(needed,))
    action = proposal.actions[0]
    assert isinstance(action, FreeSpace)
    assert ["/var/cache/apt/archives/a.deb", "/var/log/journal/m/old.journal"] == [
        e.path for e in action.files
    ]
    assert (("/var/log/journal/m/old.journal",), 200) == (action.touches, action.frees)


def test_disk_full_of_data_names_what_takes_the_room(plan: Plan) -> None:
    supply = {
        "short": {"/": 150}, "removable": (removable("/var/cache/apt/archives/a.deb", 100, True),),
        "consumers": {"/": ("/srv/films (9.0 MiB)",)},
    }  # fmt: skip
    proposal = proposed(plan, [wrong(Code.DISK_FULL, "/")], supply)
    assert () == proposal.actions
    assert "gives 100 bytes, 150 are wanted" in unmet(proposal)
    assert "/srv/films (9.0 MiB)" in unmet(proposal)


def test_disk_without_inodes_is_peoples(plan: Plan) -> None:
    assert "inodes are short" in unmet(proposed(plan, [wrong(Code.DISK_FULL, "/")]))


def test_room_is_made_before_anything_else(plan: Plan) -> None:
    supply = {
        "short": {"/": 50}, "removable": (removable("/var/cache/apt/archives/a.deb", 100, True),),
        "present": (link(f"{FOLDER}/cron.service", "/dev/null"),),
    }  # fmt: skip
    findings = [wrong(Code.UNIT_MASKED, "cron.service"), wrong(Code.DISK_FULL, "/")]
    kinds = [action.kind for action in proposed(plan, findings, supply, STATE).actions]
    assert ["free_space", "restore_units", "restart_service"] == kinds


def test_disk_is_made_writable_only_when_the_kernel_had_no_reason(plan: Plan) -> None:
    finding = wrong(Code.DISK_READ_ONLY, "/srv", "writable, by fstab")
    action = proposed(plan, [finding]).actions[0]
    assert isinstance(action, RemountWritable)
    refused = proposed(plan, [finding], {"errors": {"/srv": "I/O error, dev sda"}})
    assert () == refused.actions
    assert "I/O error, dev sda" in unmet(refused)


def test_clock_is_set_by_its_daemon_or_by_people(plan: Plan) -> None:
    finding = wrong(Code.CLOCK_SKEWED, "clock", actual="60.0 s ahead")
    action = proposed(plan, [finding], {"daemon": "chrony.service"}).actions[0]
    assert isinstance(action, RestartTimeDaemon)
    assert "no time daemon runs" in unmet(proposed(plan, [finding]))


def test_account_file_is_mended_or_the_tool_is_named(plan: Plan) -> None:
    finding = wrong(Code.ACCOUNTS_DAMAGED, "/etc/passwd", actual="line 2: 1 of 7 fields")
    mend = Mend(
        path="/etc/passwd",
        source="/etc/passwd-",
        before=HASH,
        source_sha256=HASH,
        after="1" * 64,
        returned=("ann",),
    )
    action = proposed(plan, [finding], {"mends": (mend,)}).actions[0]
    assert isinstance(action, MendAccounts)
    assert "ann" in action.reason
    assert (("/etc/passwd",), "1" * 64) == (action.touches, action.after)
    refused = proposed(plan, [finding], {"told": {"/etc/passwd": "/etc/passwd- is not there"}})
    assert "/etc/passwd- is not there" in unmet(refused)
    assert "vipw" in unmet(refused)


def point_of(path: str) -> PointSupply:
    point = RecoveryPoint(
        id="20250101T000000Z", asset="ssl", source="tree", taken_at=AT - timedelta(hours=1), key="k", sha256=HASH,
        bytes=1, manifest_sha256=HASH,
    )  # fmt: skip
    manifest = Manifest(
        asset="ssl", point=point.id, format="tar", host="web-1", machine_id=MACHINE, root="/etc/ssl",
        taken_at=point.taken_at, object_key="k", object_sha256=HASH, object_bytes=1,
        entries=(file(path, size=1).model_copy(update={"offset": 0}),),
    )  # fmt: skip
    return PointSupply(asset="ssl", point=point, manifest=manifest)


def test_certificate_comes_back_only_from_a_backup_that_holds_a_valid_one(plan: Plan) -> None:
    expired = wrong(Code.CERTIFICATE_EXPIRED, "/etc/ssl/shop.pem")
    differs = Finding(code=Code.FILE_CONTENT_DIFFERS, host="web-1", asset="ssl", subject="/etc/ssl/shop.pem")
    valid = {"certificates": {"ssl@20250101T000000Z:/etc/ssl/shop.pem": "2027-01-01"}}
    proposal = proposed(plan, [expired, differs], valid, points=(point_of("shop.pem"),))
    (action,) = proposal.actions
    assert isinstance(action, RestoreFiles)
    assert {expired.id, differs.id} == set(action.findings)
    refused = proposed(plan, [expired, differs], {}, points=(point_of("shop.pem"),))
    assert "no recovery point holds a valid one" in unmet(refused)


def test_certificate_of_certbot_is_renewed_by_certbot(plan: Plan) -> None:
    finding = wrong(Code.CERTIFICATE_EXPIRED, "/etc/letsencrypt/live/x/fullchain.pem")
    assert "certbot renew" in unmet(proposed(plan, [finding]))


def test_kernel_comes_back_with_its_package_and_a_ram_disk_is_made_by_people(plan: Plan) -> None:
    kernel = wrong(Code.BOOT_DAMAGED, "/boot/vmlinuz-6.1", package="linux-image-6.1", version="6.1.2-1")
    supply = PackageSupply(
        asset="packages", package="linux-image-6.1", version="6.1.2-1", architecture="amd64", source="mirror",
        filename="l.deb", sha256=HASH, bytes=1,
    )  # fmt: skip
    proposal = proposed(plan, [kernel], packages=(supply,))
    assert [("reinstall_package", (kernel.id,))] == [(a.kind, a.findings) for a in proposal.actions]
    disk = wrong(Code.BOOT_DAMAGED, "/boot/initrd.img-6.1")
    assert "update-initramfs -c -k img-6.1" not in unmet(proposed(plan, [disk]))
    assert "update-initramfs -c -k 6.1" in unmet(proposed(plan, [disk]))


@pytest.mark.parametrize(
    ("subject", "tool"), [("/etc/fstab", "findmnt --verify"), ("/etc/ssh/sshd_config", "sshd -t")]
)
def test_what_the_host_starts_from_names_its_own_checker(plan: Plan, subject: str, tool: str) -> None:
    assert tool in unmet(proposed(plan, [wrong(Code.BOOT_DAMAGED, subject)]))
