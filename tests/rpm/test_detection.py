"""Detection on a real RPM host: everything `rpm -Va` finds and what it does not, and nothing on a healthy one."""

from __future__ import annotations

import re
import time

import pytest

from blocks.hosts.base import Connection
from checks import rpm_baseline, rpm_packages
from model.accepted import Accepted
from model.assets import RpmAsset
from model.canonical import now
from model.finding import CheckResult, Code, Verdict
from model.manifest import Entry
from tests.corpus.cases import Case
from tests.corpus.faults import inflict
from tests.lab.host import LabHost

pytestmark = pytest.mark.lab

ASSET = RpmAsset(kind="rpm", host="rpm-1")
DATA = "/usr/share/tally/data"


def check(
    connection: Connection, baseline: tuple[Entry, ...] = (), asset: RpmAsset = ASSET,
    agreed: tuple[Accepted, ...] = (),
) -> CheckResult:  # fmt: skip
    return rpm_packages.judge("os", asset, rpm_packages.collect(connection, asset, agreed), baseline, agreed)


def codes(result: CheckResult) -> set[tuple[Code, str]]:
    return {(finding.code, finding.subject) for finding in result.findings}


def damage(host: LabHost, *ops: dict[str, object]) -> None:
    inflict(
        host,
        Case.model_validate(
            {"name": "x", "kind": "x", "place": "x", "do": ops, "expect": None, "cure": "none", "remedy": "x"}
        ),
    )


DAMAGE: tuple[tuple[dict[str, object], Code | None, str], ...] = (
    ({"garble": "/usr/libexec/tallyd"}, Code.FILE_CONTENT_DIFFERS, "/usr/libexec/tallyd"),
    ({"flip": "/usr/lib64/libtally.so.1.4.2"}, Code.FILE_CONTENT_DIFFERS, "/usr/lib64/libtally.so.1.4.2"),
    ({"link": ["/usr/lib64/libtally.so.1", "libz.so"]}, Code.FILE_LINK_DIFFERS, "/usr/lib64/libtally.so.1"),
    ({"delete": "/usr/bin/tally-page"}, Code.FILE_MISSING, "/usr/bin/tally-page"),
    ({"chmod": ["/usr/bin/tally-id", "0755"]}, Code.FILE_MODE_DIFFERS, "/usr/bin/tally-id"),
    ({"chown": ["/srv/tally/inbox", 12, 0]}, Code.FILE_OWNER_DIFFERS, "/srv/tally/inbox"),
    ({"run": ["setcap", "-r", "/usr/bin/tally-ping"]}, Code.FILE_CAPABILITIES_DIFFER, "/usr/bin/tally-ping"),
    ({"run": ["setcap", "cap_chown=ep", f"{DATA}/0004.txt"]}, Code.FILE_CAPABILITIES_DIFFER, f"{DATA}/0004.txt"),
    ({"directory": f"{DATA}/0001.txt"}, Code.FILE_TYPE_DIFFERS, f"{DATA}/0001.txt"),
    ({"link": [f"{DATA}/0002.txt", "/etc/hostname"]}, Code.FILE_TYPE_DIFFERS, f"{DATA}/0002.txt"),
    ({"truncate": "/usr/share/doc/tally-docs/README"}, Code.FILE_CONTENT_DIFFERS, "/usr/share/doc/tally-docs/README"),
    ({"delete": "/etc/tally/secret.conf"}, Code.CONFFILE_MISSING, "/etc/tally/secret.conf"),
    ({"chmod": ["/etc/tally/rules.conf", "0666"]}, Code.FILE_MODE_DIFFERS, "/etc/tally/rules.conf"),
    ({"garble": "/usr/share/tally/odd names/Größe – 数量 $(id) \"x\"; y.txt"}, Code.FILE_CONTENT_DIFFERS,
     "/usr/share/tally/odd names/Größe – 数量 $(id) \"x\"; y.txt"),
    ({"write": ["/usr/libexec/tallyd;6b070d67", "half"]}, Code.FILE_FOREIGN, "/usr/libexec/tallyd;6b070d67"),
    ({"write": [f"{DATA}/extra.so", "nobody's"]}, Code.FILE_FOREIGN, f"{DATA}/extra.so"),
    # What is no damage.
    ({"append": ["/etc/tally/tally.conf", "debug = yes\n"]}, None, "/etc/tally/tally.conf"),
    ({"delete": "/etc/tally/optional.conf"}, None, "/etc/tally/optional.conf"),
    ({"append": ["/var/lib/tally-tools/state", "changed"]}, None, "/var/lib/tally-tools/state"),
    ({"write": ["/var/lib/tallyd/cache.db", "made by the service"]}, None, "/var/lib/tallyd/cache.db"),
)  # fmt: skip


def test_healthy_host_has_no_finding(connection: Connection) -> None:
    """Must show 2."""
    baseline = rpm_baseline.record(connection, ASSET)
    result = check(connection, baseline)
    assert (Verdict.PASSED, ()) == (result.verdict, result.findings)
    assert result.examined > 1500
    assert 8 == len(baseline)  # seven packages and a key


def test_every_kind_of_damage_is_found_and_nothing_else(rpm_host: LabHost, connection: Connection) -> None:
    """R-RESP-2: the right code on the right path, and whatever `rpm -Va` complains about."""
    for op, _, _ in DAMAGE:
        damage(rpm_host, op)
    start = time.monotonic()
    result = check(connection, rpm_baseline.record(connection, ASSET))
    seconds = time.monotonic() - start
    assert {(code, path) for _, code, path in DAMAGE if code} == codes(result)
    start = time.monotonic()
    verified = rpm_host.shell(["rpm", "--verify", "--all"]).stdout
    print(f"\nours {seconds:.2f} s, rpm -Va {time.monotonic() - start:.2f} s (without SSH)")
    theirs = {line[13:] for line in verified.splitlines() if line[13:].startswith("/")}
    accepted = {path for _, code, path in DAMAGE if code is None}
    assert theirs - accepted <= {path for _, path in codes(result)}
    assert "tallyd;6b070d67" not in verified
    assert "extra.so" not in verified
    assert any("1 configuration files edited" in note for note in result.not_checked)
    by_path = {finding.subject: finding for finding in result.findings}
    assert ("tallyd", "1:2.1.0-3") == (
        by_path["/usr/libexec/tallyd"].package, by_path["/usr/libexec/tallyd"].version,
    )  # fmt: skip
    assert "capabilities cap_net_raw=ep" == by_path["/usr/bin/tally-ping"].expected


def test_accepted_difference_is_no_finding_until_it_changes_again(
    rpm_host: LabHost, connection: Connection
) -> None:
    """A person reviewed it (`reinstate baseline`), edited configuration included."""
    damage(
        rpm_host, {"chmod": ["/etc/tally/rules.conf", "0640"]}, {"append": ["/etc/tally/tally.conf", "x = 1\n"]},
        {"write": [f"{DATA}/extra.so", "wanted"]},
    )  # fmt: skip
    found = list(rpm_baseline.candidates(connection, "os", ASSET, (), ()))
    assert [
        ("/etc/tally/rules.conf", (Code.FILE_MODE_DIFFERS,), "tally-config"),
        ("/etc/tally/tally.conf", (), "tally-config"),
        (f"{DATA}/extra.so", (Code.FILE_FOREIGN,), ""),
    ] == [(one.entry.path, one.codes, one.package) for one in found]
    agreed = tuple(
        Accepted(entry=one.entry, codes=one.codes, person="ann", reason="wanted", at=now()) for one in found
    )
    assert Verdict.PASSED is check(connection, agreed=agreed).verdict
    assert [] == list(rpm_baseline.candidates(connection, "os", ASSET, (), agreed))
    damage(rpm_host, {"chmod": ["/etc/tally/rules.conf", "0666"]})
    assert {(Code.FILE_MODE_DIFFERS, "/etc/tally/rules.conf")} == codes(check(connection, agreed=agreed))


def test_named_and_half_installed_packages(rpm_host: LabHost, connection: Connection) -> None:
    """States of whole packages: not there, there twice, without what it needs."""
    baseline = rpm_baseline.record(connection, ASSET)
    rpm_host.must(["rpm", "-e", "--nodeps", "tally-libs"])
    newer = "/srv/repo/tallyd-2.2.0-3.x86_64.rpm"
    rpm_host.must(["rpm", "-i", "--nodeps", "--noscripts", "--force", newer])
    asset = RpmAsset(kind="rpm", host="rpm-1", packages=("tallyd", "tally-libs"))
    found = {f.subject: f for f in check(connection, baseline, asset).findings}
    assert {"tallyd", "tallyd (needs)", "tally-libs"} == set(found)
    assert re.search("2.1.0-3 and 1:2.2.0-3", found["tallyd"].actual)
    assert "1:2.2.0-3" == found["tallyd"].version
    assert ("1.4.2-3", Code.PACKAGE_NOT_INSTALLED) == (found["tally-libs"].version, found["tally-libs"].code)
