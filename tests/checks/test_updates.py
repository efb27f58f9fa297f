"""Pending updates from what apt, dnf, changelogs and advisories say: small raw answers in, updates out (R-PREV-3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from checks import advisories
from checks.updates import cves_of, judge_pip, parse_apt, parse_dnf
from model.errors import BadInput

APT = """\
lists 1748736000.25
hold nginx
Inst libssl3 [3.0.15-1~deb12u1] (3.0.16-1~deb12u1 Debian-Security:12/stable-security [amd64])
Inst curl [7.88.1-10+deb12u8] (7.88.1-10+deb12u12 Debian:12.11/stable [amd64]) []
Inst nginx [1.22.1-9] (1.22.1-9+deb12u2 Debian:12.11/stable, Debian-Security:12/stable-security [all])
Inst libc6:i386 [2.35-0ubuntu3.1] (2.35-0ubuntu3.8 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [i386])
Inst linux-image-6.1.0-37-amd64 (6.1.140-1 Debian-Security:12/stable-security [amd64])
Conf libssl3 (3.0.16-1~deb12u1 Debian-Security:12/stable-security [amd64])
"""

CHANGELOG = """\
openssl (3.0.16-1~deb12u1) bookworm-security; urgency=medium

  * CVE-2024-13176 (Timing side-channel in ECDSA), CVE-2024-9143

openssl (3.0.15-1~deb12u2) bookworm; urgency=medium

  * Fixes CVE-2024-5535

openssl (3.0.15-1~deb12u1) bookworm; urgency=medium

  * CVE-2023-0001
"""


def test_apt_says_what_is_pending_which_is_security_what_is_held_and_how_old_its_lists_are() -> None:
    found, lists_at = parse_apt(APT)
    assert datetime(2025, 6, 1, tzinfo=UTC) == lists_at
    assert [
        ("libssl3", True, False), ("curl", False, False), ("nginx", True, True), ("libc6", True, False)
    ] == [(u.package, u.security, u.held) for u in found]  # fmt: skip
    assert ("3.0.15-1~deb12u1", "3.0.16-1~deb12u1") == (found[0].installed, found[0].candidate)


def test_apt_without_lists_says_so() -> None:
    assert ([], None) == parse_apt("")


def test_changelog_names_what_is_mended_since_the_installed_version() -> None:
    assert ("CVE-2024-13176", "CVE-2024-5535", "CVE-2024-9143") == cves_of(CHANGELOG, "3.0.15-1~deb12u1")
    assert () == cves_of("", "1")


def test_dnf_advisories_and_their_cves_are_joined_by_package() -> None:
    advised = (
        "FEDORA-2024-0d5a2ab1fe Important/Sec. openssl-libs-1:3.0.7-27.fc38.x86_64\n"
        "RHSA-2024:1234         Moderate/Sec.  kernel-core-5.14.0-427.el9.x86_64\n"
        "RHSA-2024:9999         Important/Sec. kernel-core-5.14.0-503.el9.x86_64\n"
        "Last metadata expiration check: 0:01:02 ago\n"
    )
    cves = (
        "CVE-2024-1111 Moderate/Sec.  kernel-core-5.14.0-427.el9.x86_64\n"
        "CVE-2024-2222 Important/Sec. kernel-core-5.14.0-503.el9.x86_64\n"
    )
    found = parse_dnf(advised, cves, {"kernel-core.x86_64": "5.14.0-362.el9"})
    assert [("openssl-libs", "1:3.0.7-27.fc38", "", ()),
            ("kernel-core", "5.14.0-503.el9", "5.14.0-362.el9", ("CVE-2024-1111", "CVE-2024-2222"))] == [
        (u.package, u.candidate, u.installed, u.cves) for u in found
    ]  # fmt: skip
    assert ("RHSA-2024:1234", "RHSA-2024:9999") == found[1].advisories


OSV = {
    "id": "GHSA-xxxx", "aliases": ["CVE-2024-0001"],
    "affected": [
        {"package": {"ecosystem": "PyPI", "name": "Shop.Core"},
         "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"},
                                                     {"introduced": "1.3"}, {"fixed": "1.4.2"}]}]},
        {"package": {"ecosystem": "npm", "name": "shop-core"}, "versions": ["1.4.0"]},
    ],
}  # fmt: skip
PYPA = """\
id: PYSEC-2024-7
affected:
- package: {name: shop-web, ecosystem: PyPI, purl: pkg:pypi/shop-web}
  ranges:
  - type: ECOSYSTEM
    events:
    - introduced: "2.0"
    - last_affected: "2.0.1"
aliases: [CVE-2024-0002]
"""
AUDIT = {
    "dependencies": [
        {
            "name": "tiny-mod",
            "version": "0.3",
            "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.4"], "aliases": []}],
        }
    ]
}


def test_advisories_of_every_form_name_what_is_affected_and_the_first_version_that_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(OSV))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.yaml").write_text(PYPA)
    (tmp_path / "c.json").write_text(json.dumps(AUDIT))
    installed = [("shop_core", "1.4.0"), ("shop-web", "2.0.1"), ("tiny_mod", "0.3"), ("whole", "1")]
    assert [
        ("shop-core", "1.4.2", ("CVE-2024-0001",)), ("shop-web", "", ("CVE-2024-0002",)), ("tiny-mod", "0.4", ())
    ] == [(u.package, u.candidate, u.cves) for u in judge_pip(installed, advisories.load(tmp_path))]  # fmt: skip
    fine = [("shop_core", "1.2.5"), ("shop-web", "2.0.2"), ("tiny_mod", "0.4"), ("shop_core", "no version")]
    assert [] == judge_pip(fine, advisories.load(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", '{"id": "x"}', '{"affected": [{"package": {}}]}'])
def test_file_that_is_no_advisory_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """An unreadable list proves nothing, so it is no empty answer (G11)."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput):
        advisories.load(tmp_path)


def test_no_advisories_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        advisories.load(tmp_path / "absent")
