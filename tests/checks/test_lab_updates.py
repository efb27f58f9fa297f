"""Pending updates of a real Debian host, offered by a security archive of its own (R-PREV-3)."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from checks import updates
from model.assets import DpkgAsset
from tests.lab.host import LabHost
from tests.tasks.test_lab_repairs import plan_host

pytestmark = pytest.mark.lab

SYSTEM = DpkgAsset(kind="dpkg", host="web-1")
NEW = "9999:1-1"


def offer(host: LabHost, name: str, mended: str) -> None:
    """A newer package in a signed-off archive that says it is Debian's security archive."""
    folder = host.inside("/srv") / "security"
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {NEW}\nArchitecture: all\nMaintainer: Lab <lab@example.invalid>\nDescription: x\n"
    )
    doc = tree / f"usr/share/doc/{name}"
    doc.mkdir(parents=True)
    old = host.must(["dpkg-query", "--show", "--showformat=${Version}", name])
    entries = (
        f"{name} ({NEW}) x; urgency=high\n\n  * Mends {mended}.\n\n{name} ({old}) x\n\n  * CVE-2000-0001\n"
    )
    (doc / "changelog.Debian.gz").write_bytes(gzip.compress(entries.encode()))
    deb = f"{name}_9999%3a1-1_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, folder / deb], check=True, capture_output=True
    )
    subprocess.run(["cp", "-r", folder / deb, host.inside("/var/cache/apt/archives") / deb], check=True)
    (folder / deb).rename(folder / f"{name}_1-1_all.deb")
    for tool, out in ((("packages", "."), "Packages"), (("-o", "APT::FTPArchive::Release::Suite=stable-security",
                      "-o", "APT::FTPArchive::Release::Label=Debian-Security",
                      "-o", "APT::FTPArchive::Release::Origin=Debian", "release", "."), "Release")):  # fmt: skip
        done = subprocess.run(["apt-ftparchive", *tool], cwd=folder, capture_output=True, check=True)
        (folder / out).write_bytes(done.stdout)
    (host.inside("/etc/apt/sources.list.d") / "security.list").write_text(
        "deb [trusted=yes] file:/srv/security ./\n"
    )


def below(host: LabHost, path: str) -> list[tuple[str, int]]:
    """Names and times below a folder of the host."""
    return sorted((str(p), p.lstat().st_mtime_ns) for p in Path(host.inside(path)).rglob("*"))


def test_security_update_is_seen_with_its_vulnerability_and_nothing_of_the_host_changes(
    lab_host: LabHost,
) -> None:
    """R-PREV-3: from lists as old as they are, or from lists fetched into our own folder."""
    offer(lab_host, "procps", "CVE-2031-12345")
    host = plan_host(lab_host)
    with SSHHost.from_plan("web-1", host, Secrets(lab_host.key_path.parent)).connect() as connection:
        watched = ["/var/lib/apt", "/var/cache/apt"]
        before = [below(lab_host, path) for path in watched]
        stale = updates.look("system", SYSTEM, connection)
        assert stale is not None
        assert not [u for u in stale.updates if u.package == "procps"], (
            "the host's own lists do not know it yet"
        )
        fresh = updates.look("system", SYSTEM, connection, refresh=True)
        after = [below(lab_host, path) for path in watched]
        assert [[], []] == [sorted(set(a) ^ set(b)) for a, b in zip(before, after, strict=True)]
        assert fresh is not None
        assert fresh.refreshed
        (procps,) = fresh.security
        assert ("procps", NEW, ("CVE-2031-12345",)) == (procps.package, procps.candidate, procps.cves)
        assert "Debian-Security" in procps.origin
        lab_host.must(["apt-get", "-q", "update"])
        lab_host.must(["apt-mark", "hold", "procps"])
        known = updates.look("system", SYSTEM, connection)
        assert known is not None
        assert known.lists_at is not None
        assert [("procps", True)] == [(u.package, u.held) for u in known.security]
        (lab_host.inside("/var/cache/apt/archives") / "procps_9999%3a1-1_all.deb").unlink()
        blind = updates.look("system", SYSTEM, connection)
        assert blind is not None
        assert () == blind.security[0].cves
        assert any("which vulnerabilities" in note for note in blind.notes), (
            "unknown is said, not called none"
        )
