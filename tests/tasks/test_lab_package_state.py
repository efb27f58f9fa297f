"""Package state on a real host: damaged database, dpkg killed, lost lists, holds, diversions, configuration files."""

from __future__ import annotations

import gzip
import os
import re
import time
from collections.abc import Callable

import pytest

from model.finding import Code
from model.proposal import ConfigurePackages, ReinstallPackage, RestorePackageDatabase
from tests.lab.base import LabError
from tests.lab.host import LabHost
from tests.support.rounds import Round
from tests.support.witness import dpkg_complains

pytestmark = pytest.mark.lab

STATUS = "/var/lib/dpkg/status"
TORN = {(Code.PACKAGE_DATABASE_DAMAGED, STATUS)}


def installed(host: LabHost) -> str:
    """Every package, its state and version, as dpkg itself says."""
    return host.must(["dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${Status}\n"])


def test_damaged_status_file_is_made_whole_from_copies_and_log(lab_host: LabHost) -> None:
    """Must show 1: truncated, full of NULs, missing, garbled; from status-old and from the nightly copy."""
    status = lab_host.inside(STATUS)
    healthy, before = status.read_bytes(), installed(lab_host)
    old = lab_host.inside(f"{STATUS}-old")
    old.write_bytes(healthy)
    lab_host.must(["dpkg", "--configure", "-a"])

    def nul() -> None:
        status.write_bytes(bytes(len(healthy)))

    def garble() -> None:
        middle = len(healthy) // 2
        status.write_bytes(healthy[:middle] + os.urandom(4000) + healthy[middle + 4000 :])

    cases: list[Callable[[], object]] = [
        lambda: os.truncate(status, len(healthy) // 3),
        lambda: os.truncate(status, healthy.index(b"\n\n", len(healthy) // 2) + 2),
        nul,
        status.unlink,
        garble,
    ]
    with Round(lab_host).connect() as connection:
        for number, case in enumerate(cases):
            old.write_bytes(healthy)
            if number == 2:  # only the nightly copy is left
                lab_host.inside("/var/backups/dpkg.status.1.gz").write_bytes(gzip.compress(healthy))
                old.write_bytes(b"")
            case()
            found, proposal = Round(lab_host).cure(connection)
            assert found == TORN
            (action,) = proposal.actions
            assert isinstance(action, RestorePackageDatabase)
            assert (number == 2) == action.base.endswith(".gz")
            assert before == installed(lab_host)
            assert (0o644, 0) == (status.stat().st_mode & 0o7777, status.stat().st_uid)


def test_what_was_installed_since_the_copy_is_installed_again_and_what_is_lost_is_said(
    lab_host: LabHost,
) -> None:
    """The log is replayed: a version the copy does not know is installed again, never taken for the older one."""
    status, old = lab_host.inside(STATUS), lab_host.inside(f"{STATUS}-old")
    healthy = status.read_text()
    entry = next(block for block in healthy.split("\n\n") if block.startswith("Package: hostname\n"))
    version = re.search(r"^Version: (.*)$", entry, re.MULTILINE)
    assert version is not None
    copy = healthy.replace(entry, entry.replace(version[0], "Version: 3.0"))
    lost = next(block for block in copy.split("\n\n") if block.startswith("Package: sed\n"))
    old.write_text(copy.replace(f"{lost}\n\n", ""))
    os.utime(old, (time.time() - 3600,) * 2)
    moment = lab_host.must(["date", "-d", "-10 min", "+%Y-%m-%d %H:%M:%S"]).strip()
    lab_host.inside("/var/log/dpkg.log").write_text(
        f"{moment} status half-configured hostname:amd64 {version[1]}\n"
        f"{moment} status installed hostname:amd64 {version[1]}\n"
    )
    os.truncate(status, 500)
    there = Round(lab_host)
    with there.connect() as connection:
        findings = there.look(connection)
        proposal = there.propose(connection, findings)
        first, second = proposal.actions
        assert isinstance(first, RestorePackageDatabase)
        assert ("hostname",) == first.again
        assert isinstance(second, ReinstallPackage)
        assert ("hostname", version[1]) == (second.package, second.version)
        assert "the entries of sed are in no copy" in proposal.unmet[0].sentence
        there.perform(connection, proposal)
        left = there.look(connection)
    assert ["no entry for sed" in finding.actual or "none for sed" in finding.actual for finding in left] == [
        True
    ]
    assert f"hostname {version[1]} install ok installed" in installed(lab_host)


def state(host: LabHost, package: str) -> str:
    return host.must(["dpkg-query", "-W", "-f", "${db:Status-Status} ${db:Status-Eflag}", package]).strip()


def kill_dpkg(host: LabHost, deb: str, package: str) -> None:
    """Kill dpkg in the middle of unpacking, for real."""
    script = 'dpkg --unpack "$1" >/dev/null 2>&1 & sleep "$2"; kill -9 $!; wait $! 2>/dev/null; exit 0'
    for hundredths in (12, 8, 16, 5, 20, 25, 3, 30, 40, 10, 14):
        host.must(["sh", "-c", script, "kill", deb, f"{hundredths / 100:.2f}"])
        if state(host, package).startswith("half-installed"):
            return
        host.shell(["dpkg", "--configure", "-a"])
    raise LabError("dpkg was never caught in the middle")


def pool(host: LabHost, package: str) -> str:
    (found,) = host.inside("/srv/pool").glob(f"{package}_*.deb")
    return f"/srv/pool/{found.name}"


def test_interrupted_dpkg_is_finished(lab_host: LabHost) -> None:
    """Must show 1: dpkg killed in the middle of an unpack; unpacked; a maintainer script that had failed."""
    there = Round(lab_host)
    whole = dpkg_complains(lab_host)
    with there.connect() as connection:
        lab_host.must(["dpkg", "--unpack", pool(lab_host, "hostname")])
        script = lab_host.inside("/var/lib/dpkg/info/ca-certificates.postinst")
        good = script.read_text()
        script.write_text("#!/bin/sh\nexit 9\n")
        lab_host.shell(["dpkg", "--unpack", "--force-all", pool(lab_host, "procps")])
        lab_host.must(["sh", "-c", 'sed -i "/^Package: $1$/,/^$/s/ok installed/ok half-configured/" "$2"', "x",
                       "ca-certificates", STATUS])  # fmt: skip
        script.write_text(good)
        findings = there.look(connection)
        assert {"hostname", "procps", "ca-certificates"} == {finding.package for finding in findings}
        assert {Code.PACKAGE_STATE_BROKEN} == {finding.code for finding in findings}
        _found, proposal = there.cure(connection)
        assert [ConfigurePackages] == [type(action) for action in proposal.actions]

        kill_dpkg(lab_host, pool(lab_host, "postgresql-15"), "postgresql-15")
        found, proposal = there.cure(connection)
        assert (Code.PACKAGE_STATE_BROKEN, "postgresql-15") in found
        assert ReinstallPackage in {type(action) for action in proposal.actions}
    assert "installed ok" == state(lab_host, "postgresql-15")
    assert whole == dpkg_complains(lab_host)
    assert "" == lab_host.must(["dpkg", "--audit"])


def test_lists_holds_diversions_and_configuration_survive_a_repair(lab_host: LabHost) -> None:
    """Missing lists come back; held packages stay held, diverted files diverted, edited configuration edited."""
    info = lab_host.inside("/var/lib/dpkg/info")
    (info / "hostname.list").unlink()
    (info / "sudo.list").write_bytes(b"")
    lab_host.must(["apt-mark", "hold", "curl"])
    lab_host.inside("/usr/bin/curl").write_bytes(b"garbage")
    lab_host.must(
        ["dpkg-divert", "--local", "--rename", "--divert", "/usr/bin/free.distrib", "--add", "/usr/bin/free"]
    )
    ours = lab_host.inside("/usr/bin/free")
    ours.write_text("#!/bin/sh\necho ours\n")
    ours.chmod(0o755)
    lab_host.inside("/usr/bin/free.distrib").write_bytes(b"garbage")
    edited = lab_host.inside("/etc/sudo.conf")
    edited.write_text(edited.read_text() + "# edited here\n")
    kept = edited.read_bytes()
    deleted = lab_host.inside("/etc/nginx/mime.types")
    mime = deleted.read_bytes()
    deleted.unlink()
    lab_host.inside("/usr/bin/sudoreplay").unlink()
    for name in ("lock", "lock-frontend"):  # left by a dead process: nobody holds them
        (lab_host.inside("/var/lib/dpkg") / name).touch()
    there = Round(lab_host)
    with there.connect() as connection:
        found, _proposal = there.cure(connection)
    assert {
        (Code.PACKAGE_STATE_BROKEN, "hostname"), (Code.PACKAGE_STATE_BROKEN, "sudo"),
        (Code.FILE_CONTENT_DIFFERS, "/usr/bin/curl"), (Code.FILE_CONTENT_DIFFERS, "/usr/bin/free.distrib"),
        (Code.CONFFILE_MISSING, "/etc/nginx/mime.types"),
    } <= found  # fmt: skip
    assert ["curl"] == lab_host.must(["apt-mark", "showhold"]).split()
    assert "#!/bin/sh\necho ours\n" == ours.read_text()
    assert lab_host.must(["/usr/bin/free.distrib", "--version"]).startswith("free.distrib")
    assert kept == edited.read_bytes()
    assert mime == deleted.read_bytes()
    assert "/bin/hostname" in (info / "hostname.list").read_text()
    assert "/usr/bin/sudoreplay" in (info / "sudo.list").read_text()
