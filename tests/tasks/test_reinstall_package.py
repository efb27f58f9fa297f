"""Packages installed again from the signed file, on real rootless dpkg trees with packages made here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from blocks.packages.debfile import control_fields, programs
from model.assets import DpkgAsset
from model.errors import BadInput, Damaged, PreconditionFailed, ReinstateError, Transient
from model.outcome import Stage
from model.proposal import ReinstallPackage, Rung
from tasks import reinstall_package, run_dpkg
from tasks.snapshot import take_snapshot
from tasks.undo import roll_back_files
from tests.support.packages import unindexed
from tests.tasks.localhost import JobHost, fingerprint, quiet

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")

POSTINST = '#!/bin/sh\necho "configured $1" >>"${DPKG_ROOT}/opt/demo/postinst.log"\n'


def make_deb(pool: Path, version: str = "1.2-3", postinst: str = POSTINST, name: str = "demo") -> Path:
    """A tiny package with a program, data, a link and a configuration file."""
    work = pool / f"work-{name}-{version}"
    for folder in ("DEBIAN", "opt/demo/bin", "opt/demo/etc", "opt/demo/share"):
        (work / folder).mkdir(parents=True)
    (work / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: lab <lab@example.invalid>\n"
        "Description: demo\n of the lab\n"
    )
    (work / "DEBIAN/conffiles").write_text("/opt/demo/etc/demo.conf\n/opt/demo/etc/other.conf\n")
    (work / "DEBIAN/postinst").write_text(postinst)
    (work / "DEBIAN/postinst").chmod(0o755)
    (work / "opt/demo/bin/demo").write_text(f"#!/bin/sh\necho {version}\n")
    (work / "opt/demo/bin/demo").chmod(0o755)
    (work / "opt/demo/etc/demo.conf").write_text("port=8080\n")
    (work / "opt/demo/etc/other.conf").write_text("debug=no\n")
    (work / "opt/demo/share/data").write_bytes(hashlib.sha256(version.encode()).digest() * 9000)
    (work / "opt/demo/share/link").symlink_to("data")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", work, pool], check=True, capture_output=True)
    return pool / f"{name}_{version}_all.deb"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    (tmp_path / "pool").mkdir()
    make_deb(tmp_path / "pool")
    return tmp_path / "pool"


@pytest.fixture
def root(tmp_path: Path, pool: Path) -> Path:
    """A dpkg tree with the package installed."""
    root = tmp_path / "root"
    for folder in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / folder).mkdir(parents=True)
    (root / "var/log").mkdir()
    (root / "var/lib/dpkg/status").touch()
    (root / "var/lib/dpkg/available").touch()
    dpkg(root, "--install", str(pool / "demo_1.2-3_all.deb"))
    return root


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


def dpkg(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["dpkg", f"--root={root}", f"--log={root}/var/log/dpkg.log", "--force-not-root",
         "--force-script-chrootless", *words],
        capture_output=True, text=True, check=True, env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    )  # fmt: skip
    return done.stdout


def asset_of(root: Path) -> DpkgAsset:
    return DpkgAsset(kind="dpkg", host="web-1", root=str(root), rootless=True, store="pool")


def action_for(deb: Path, **changes: str) -> ReinstallPackage:
    action = ReinstallPackage(
        id="a01", host="web-1", asset="system", stage=Stage.REPAIR, rung=Rung.PACKAGE, reason="r", undo="u",
        package="demo", version="1.2-3", architecture="all", source="store:pool", filename=deb.name,
        sha256=hashlib.sha256(deb.read_bytes()).hexdigest(),
    )  # fmt: skip
    return action.model_copy(update=changes)


def reinstall(
    host: JobHost, root: Path, pool: Path, action: ReinstallPackage, prefix: str = "inc-a01-1"
) -> str:
    performed = reinstall_package.perform(
        host, asset_of(root), action, {"pool": unindexed(pool)}, job_prefix=prefix, token=4, progress=quiet
    )
    return performed.sentence


def test_reinstall_brings_back_files_and_missing_configuration_and_keeps_edits(
    host: JobHost, root: Path, pool: Path
) -> None:
    """R-RESP-5; edited configuration files stay (attacks: packages)."""
    demo = root / "opt/demo"
    (demo / "bin/demo").write_text("garbage")
    (demo / "bin/demo").chmod(0o600)
    (demo / "share/data").unlink()
    (demo / "etc/demo.conf").unlink()
    (demo / "etc/other.conf").write_text("debug=yes # ours\n")
    assert "demo" in dpkg(root, "--verify")
    sentence = reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb"))
    assert "demo 1.2-3 (all) was installed again." == sentence
    assert "#!/bin/sh\necho 1.2-3\n" == (demo / "bin/demo").read_text()
    assert 0o755 == (demo / "bin/demo").stat().st_mode & 0o7777
    assert "port=8080\n" == (demo / "etc/demo.conf").read_text()
    assert "debug=yes # ours\n" == (demo / "etc/other.conf").read_text()
    assert [] == [line for line in dpkg(root, "--verify").splitlines() if "other.conf" not in line]
    assert ["inc-a01-1-install-1"] == list(host.jobs)
    assert not list((Path(host.host.state_dir) / "staging").iterdir())


def test_reinstall_then_roll_back_restores_the_damaged_tree_bit_for_bit(
    host: JobHost, root: Path, pool: Path, tmp_path: Path
) -> None:
    """N1: undo of a package is by the snapshot, the package database included."""
    (root / "opt/demo/bin/demo").write_text("garbage")
    (root / "opt/demo/etc/demo.conf").unlink()
    touches = sorted(
        {str(root / "opt/demo/etc/demo.conf"), *(str(p) for p in root.rglob("*"))}
        | {str(root / "var/lib/dpkg" / name) for name in ("lock", "lock-frontend", "status-old")}
    )
    before = fingerprint(root)
    take_snapshot(host, touches, tmp_path / "snap", quiet)
    reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb"))
    assert before != fingerprint(root)
    roll_back_files(host, tmp_path / "snap", touches, job_prefix="inc-undo-a01-1", token=4, progress=quiet)
    assert before == fingerprint(root)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_reinstall_of_a_tampered_package_is_refused_before_anything_changes(
    host: JobHost, root: Path, pool: Path, place: int
) -> None:
    """G6: the exact bytes that were signed for, or nothing."""
    deb = pool / "demo_1.2-3_all.deb"
    action = action_for(deb)
    data = bytearray(deb.read_bytes())
    data[place] ^= 1
    deb.write_bytes(data)
    before = fingerprint(root)
    with pytest.raises(Damaged, match="SHA-256"):
        reinstall(host, root, pool, action)
    assert before == fingerprint(root)
    assert {} == host.jobs


def test_reinstall_of_another_version_under_the_signed_hash_is_refused(
    host: JobHost, root: Path, pool: Path
) -> None:
    """A package that is not what its index says is not installed (attacks: older version)."""
    old = make_deb(pool, "0.9")
    before = fingerprint(root)
    with pytest.raises(Damaged, match=r"says it is 'demo 0\.9 all'"):
        reinstall(host, root, pool, action_for(old))
    with pytest.raises(Damaged, match=r"says it is 'other 1\.2-3 all'"):
        reinstall(host, root, pool, action_for(make_deb(pool, name="other")))
    with pytest.raises(Damaged, match=r"says it is 'demo 1\.2-3 all', signed was 'demo 1\.2-3 arm64'"):
        reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb", architecture="arm64"))
    assert before == fingerprint(root)
    assert {} == host.jobs


def test_reinstall_when_another_version_is_installed_by_now_is_refused(
    host: JobHost, root: Path, pool: Path
) -> None:
    """The proposal is about the version it was signed for."""
    dpkg(root, "--install", str(make_deb(pool, "2.0")))
    with pytest.raises(PreconditionFailed, match=r"is at 2\.0 by now"):
        reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb"))
    assert {} == host.jobs


@pytest.mark.parametrize(
    "filename", ["../demo.deb", "-i.deb", "demo;id.deb", "x/../../demo.deb", "demo\n.deb"]
)
def test_reinstall_of_a_file_with_an_odd_name_is_refused(
    host: JobHost, root: Path, pool: Path, filename: str
) -> None:
    """G10."""
    with pytest.raises(BadInput):
        reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb", filename=filename))


def test_reinstall_from_the_host_cache_moves_no_bytes(host: JobHost, root: Path, pool: Path) -> None:
    cache = root / "var/cache/apt/archives"
    cache.mkdir(parents=True)
    shutil.copy(pool / "demo_1.2-3_all.deb", cache)
    (root / "opt/demo/share/data").unlink()
    performed = reinstall_package.perform(
        host, asset_of(root), action_for(pool / "demo_1.2-3_all.deb", source="host-cache"), {}, job_prefix="i-a01-1",
        token=4, progress=quiet,
    )  # fmt: skip
    assert 0 == performed.bytes
    assert (root / "opt/demo/share/data").exists()


def test_reinstall_when_the_file_is_nowhere_is_refused(host: JobHost, root: Path, pool: Path) -> None:
    for source in ("host-cache", "store:pool", "store:none"):
        action = action_for(pool / "demo_1.2-3_all.deb", source=source, filename="gone_1_all.deb")
        with pytest.raises(
            (PreconditionFailed, Damaged), match=r"gone|no package store|not in the package store"
        ):
            reinstall(host, root, pool, action)
    assert {} == host.jobs


def test_reinstall_with_a_failing_maintainer_script_fails_with_its_words(
    host: JobHost, root: Path, pool: Path, tmp_path: Path
) -> None:
    """Attacks: packages; and the snapshot puts the tree back."""
    (tmp_path / "bad").mkdir()
    bad = make_deb(tmp_path / "bad", postinst="#!/bin/sh\necho the disk is on fire >&2\nexit 7\n")
    touches = [str(path) for path in root.rglob("*")]
    touches += [str(root / "var/lib/dpkg/lock-frontend"), str(root / "var/lib/dpkg/lock")]
    before = fingerprint(root)
    take_snapshot(host, sorted(set(touches)), tmp_path / "snap", quiet)
    with pytest.raises(ReinstateError, match="the disk is on fire"):
        reinstall(host, root, tmp_path / "bad", action_for(bad))
    roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-a01-1", token=4, progress=quiet)
    assert before == fingerprint(root)


def test_reinstall_waits_for_the_lock_and_then_gives_up_transiently(
    host: JobHost, root: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock held by another package manager is no failure; retried under the same name it goes on."""
    monkeypatch.setattr(run_dpkg, "LOCK_PATIENCE", 0.3)
    monkeypatch.setattr(run_dpkg, "LOCK_PAUSE", 0.1)
    action = action_for(pool / "demo_1.2-3_all.deb")
    lock = root / "var/lib/dpkg/lock-frontend"
    lock.touch()
    with lock.open("r+") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        with pytest.raises(Transient, match="another package manager"):
            reinstall(host, root, pool, action)
    tried = len(host.jobs)
    assert tried >= 2
    reinstall(host, root, pool, action)
    assert tried + 1 == len(host.jobs)


def test_reinstall_after_an_interrupted_unpack_configures_first(
    host: JobHost, root: Path, pool: Path
) -> None:
    """A dpkg killed in the middle (lab.md): `dpkg --configure -a`, then the package."""
    dpkg(root, "--unpack", str(pool / "demo_1.2-3_all.deb"))
    reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb"))
    assert ["inc-a01-1-configure-1", "inc-a01-1-install-1"] == list(host.jobs)
    assert "ii" == dpkg(root, "--list", "demo").splitlines()[-1][:2]


def test_reinstall_when_the_package_was_lost_installs_it(host: JobHost, root: Path, pool: Path) -> None:
    dpkg(root, "--purge", "demo")
    reinstall(host, root, pool, action_for(pool / "demo_1.2-3_all.deb"))
    assert (root / "opt/demo/bin/demo").exists()


def test_reinstall_done_twice_under_one_name_runs_dpkg_once(host: JobHost, root: Path, pool: Path) -> None:
    """G2."""
    action = action_for(pool / "demo_1.2-3_all.deb")
    reinstall(host, root, pool, action)
    reinstall(host, root, pool, action)
    assert 2 == (root / "opt/demo/postinst.log").read_text().count(
        "configured"
    )  # the test's own, and one of ours


def test_debfile_reads_fields_and_programs_without_dpkg(pool: Path) -> None:
    """For hosts whose dpkg-deb or tar is damaged."""
    deb = pool / "demo_1.2-3_all.deb"
    assert ("demo", "1.2-3", "all") == tuple(
        control_fields(deb)[name] for name in ("Package", "Version", "Architecture")
    )
    info, data = programs(deb, {"demo", "tar"})["demo"]
    assert (0o755, b"#!/bin/sh\necho 1.2-3\n") == (info.mode, data)
    for cut in (0, 7, 50, 90, deb.stat().st_size - 300):
        (pool / "cut.deb").write_bytes(deb.read_bytes()[:cut])
        with pytest.raises(Damaged):
            programs(pool / "cut.deb", {"demo"})
