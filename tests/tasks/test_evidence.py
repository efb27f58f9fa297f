"""Evidence: in order of volatility, hashed at both ends, kept once collected (N5, G4)."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from blocks.hosts.base import OUTPUT_LIMIT
from model.assets import DpkgAsset, PipAsset, ServiceAsset
from model.canonical import canonical_json, digest
from model.command import Command, Result
from model.errors import Damaged, Transient
from model.finding import Code, Finding
from model.host import Host
from model.plan import DirectoryPackages, Objectives, Person, Plan, Roles, Service
from tasks import evidence
from tasks.evidence import EvidenceManifest, collect_evidence, verify_evidence
from tasks.evidence_items import Item
from tests.checks.local import HOST_KEY
from tests.tasks.localhost import JobHost, quiet


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text("Package: demo\n")
    return Plan(
        name="shop", version="1", service=Service(name="Shop", owner="ann"), people={"ann": Person(name="Ann")},
        roles=Roles(leading_group=("ann",), working_group=("ann",)), objectives=Objectives(rto=60, rpo=60),
        hosts={"web-1": Host(address="h", key="env:KEY", host_key=HOST_KEY, machine_id="0" * 32)},
        assets={
            "system": DpkgAsset(kind="dpkg", host="web-1", root=str(root), rootless=True),
            "app": PipAsset(kind="pip", host="web-1", python=f"{root}/venv/bin/python", store="pool"),
            "nginx": ServiceAsset(kind="service", host="web-1", unit="no-such-unit"),
        },
        package_stores={"pool": DirectoryPackages(kind="directory", path="pool")},
    )  # fmt: skip


def damage(tmp_path: Path) -> list[Finding]:
    """Damaged files with names of all kinds, one absent, one huge, and a finding that is no path."""
    (tmp_path / "odd name\n\\x.conf").write_bytes(b"\x00\xff damaged")
    (tmp_path / "program").write_bytes(os.urandom(5000))
    (tmp_path / "program").chmod(0o4750)
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(80 << 20)
    subjects = [str(tmp_path / name) for name in ("odd name\n\\x.conf", "program", "absent", "huge")]
    return [
        Finding(code=Code.FILE_CONTENT_DIFFERS, host="web-1", asset="system", subject=subject)
        for subject in [*subjects, "nginx"]
    ]  # fmt: skip


def test_collect_evidence_keeps_every_piece_with_the_hash_of_the_host(
    host: JobHost, plan: Plan, tmp_path: Path
) -> None:
    """N5: what is acknowledged verifies, offline."""
    found = damage(tmp_path)
    manifest = collect_evidence(host, plan, found, tmp_path / "ev", quiet)
    assert manifest == verify_evidence(tmp_path / "ev")
    assert digest(manifest) == hashlib.sha256((tmp_path / "ev/manifest.json").read_bytes()).hexdigest()
    assert canonical_json(manifest) == (tmp_path / "ev/manifest.json").read_bytes()
    names = [item.name for item in manifest.items]
    volatile = [
        "time",
        "processes",
        "sockets",
        "users",
        "mounts",
        "memory",
        "open-files",
        "kernel",
        "journal",
    ]
    assert volatile == names[: len(volatile)]
    assert "damaged-files" == names[-1]
    times = [item.taken_at for item in manifest.items]
    assert sorted(times) == times
    assert abs(manifest.clock_skew or 0) < 5
    kept = {item.name: item for item in manifest.items if item.file}
    assert {"time", "processes", "mounts", "packages-1", "damaged-files"} <= set(kept)
    assert "Package: demo" in (tmp_path / "ev" / kept["packages-1"].file).read_text()
    assert "pytest" in (tmp_path / "ev" / kept["processes"].file).read_text(errors="replace")
    assert {} == host.jobs


def test_collect_evidence_keeps_the_damaged_files_with_their_metadata(
    host: JobHost, plan: Plan, tmp_path: Path
) -> None:
    found = damage(tmp_path)
    manifest = collect_evidence(host, plan, found, tmp_path / "ev", quiet)
    item = manifest.items[-1]
    assert "1 larger files are left to the snapshot" == item.reason
    with tarfile.open(tmp_path / "ev" / item.file) as archive:
        members = {"/" + info.name: info for info in archive}
        assert {found[0].subject, found[1].subject} == set(members)
        assert 0o4750 == members[found[1].subject].mode
        content = archive.extractfile(members[found[0].subject])
        assert content is not None
        assert b"\x00\xff damaged" == content.read()


def test_collect_evidence_records_what_a_host_cannot_give(plan: Plan, tmp_path: Path) -> None:
    """Nothing is missing silently, and a missing tool is no failure."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "cat", "date", "head", "tee", "sha256sum", "id", "uname", "find", "xargs", "tail"):
        for folder in ("/usr/bin", "/bin"):
            if (Path(folder) / tool).exists() and not (tools / tool).exists():
                (tools / tool).symlink_to(Path(folder) / tool)
    bare = JobHost(tmp_path / "state", path=str(tools))
    manifest = collect_evidence(bare, plan, damage(tmp_path), tmp_path / "ev", quiet)
    missing = {item.name: item for item in manifest.items if item.status == "not collected"}
    assert {"unit-no-such-unit", "log-no-such-unit", "units", "damaged-files"} <= set(missing)
    assert all(item.reason and not item.file for item in missing.values())
    assert "the host has no such tool" == missing["units"].reason


def test_collect_evidence_again_returns_the_first(host: JobHost, plan: Plan, tmp_path: Path) -> None:
    """The first witness counts."""
    first = collect_evidence(host, plan, [], tmp_path / "ev", quiet)
    ran = len(host.ran)
    assert first == collect_evidence(host, plan, [], tmp_path / "ev", quiet)
    assert ran == len(host.ran)


def test_collect_evidence_cuts_what_never_ends_and_says_so(
    host: JobHost, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that floods fills no disk (attacks: SSH)."""
    monkeypatch.setattr(evidence, "ITEM_LIMIT", 100_000)
    monkeypatch.setattr(evidence, "ITEMS", (Item("flood", ("yes", "{{7*7}}\x1b[2J")),))
    manifest = collect_evidence(host, plan, [], tmp_path / "ev", quiet)
    assert ("truncated", 100_000) == (manifest.items[0].status, manifest.items[0].bytes)
    assert manifest == verify_evidence(tmp_path / "ev")


class _Spoiling(JobHost):
    """Changes one byte on the way."""

    def run(self, command: Command, **options: object) -> Result:
        write = options.get("on_stdout")
        if write is not None and "reinstate-capture" in command.argv:
            options["on_stdout"] = lambda chunk: write(b"?" + chunk[1:])  # type: ignore[operator]  # a function
        return super().run(command, **options)  # type: ignore[arg-type]  # passes everything on


def test_collect_evidence_spoiled_on_the_way_is_damaged(plan: Plan, tmp_path: Path) -> None:
    """A piece whose two hashes differ is not evidence."""
    with pytest.raises(Damaged, match="not what the host sent"):
        collect_evidence(_Spoiling(tmp_path / "state"), plan, [], tmp_path / "ev", quiet)
    assert not (tmp_path / "ev/manifest.json").exists()


class _Dropping(JobHost):
    """Loses the connection at the third piece."""

    def run(
        self,
        command: Command,
        *,
        limit: int = OUTPUT_LIMIT,
        on_stdout: object = None,
        source: object = None,
    ) -> Result:
        if sum("reinstate-capture" in one.argv for one in self.ran) == 2:
            self.ran.append(command)
            return Result("x", None)
        return super().run(command, limit=limit, on_stdout=on_stdout)  # type: ignore[arg-type]  # passed on


def test_collect_evidence_over_a_lost_connection_is_transient_and_starts_over(
    plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(Transient):
        collect_evidence(_Dropping(tmp_path / "state"), plan, [], tmp_path / "ev", quiet)
    manifest = collect_evidence(JobHost(tmp_path / "state"), plan, [], tmp_path / "ev", quiet)
    assert manifest == verify_evidence(tmp_path / "ev")


@pytest.mark.parametrize("how", ["flip", "cut", "delete", "swap", "manifest"])
def test_evidence_altered_afterwards_is_found(host: JobHost, plan: Plan, tmp_path: Path, how: str) -> None:
    """Bars: evidence altered, 100 % found by the offline verifier."""
    manifest: EvidenceManifest = collect_evidence(host, plan, [], tmp_path / "ev", quiet)
    one, two = [tmp_path / "ev" / item.file for item in manifest.items if item.file][:2]
    if how == "flip":
        data = bytearray(one.read_bytes())
        data[len(data) // 2] ^= 1
        one.write_bytes(data)
    elif how == "cut":
        os.truncate(one, one.stat().st_size - 1)
    elif how == "delete":
        one.unlink()
    elif how == "swap":
        first = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(first)
    else:
        (tmp_path / "ev/manifest.json").write_bytes(b"{")
    with pytest.raises(Damaged):
        verify_evidence(tmp_path / "ev")
