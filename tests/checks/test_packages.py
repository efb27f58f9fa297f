"""Packages: damage planted in a real dpkg tree, and the rules that must not cry wolf on a healthy Debian."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from checks import dpkg, packages
from checks.baseline import record
from model.assets import DpkgAsset
from model.errors import PreconditionFailed
from model.finding import CheckResult, Code, Verdict
from model.manifest import Entry
from tests.checks.local import LocalConnection

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")


def asset(root: Path, **more: object) -> DpkgAsset:
    return DpkgAsset.model_validate({"kind": "dpkg", "host": "web-1", "root": str(root)} | more)


def check(here: LocalConnection, root: Path, baseline: tuple[Entry, ...] = (), **more: object) -> CheckResult:
    installed = asset(root, **more)
    return packages.judge("os", installed, packages.collect(here, installed, baseline), baseline)


def codes(result: CheckResult, root: Path) -> set[tuple[Code, str]]:
    return {(finding.code, finding.subject.removeprefix(str(root))) for finding in result.findings}


def test_healthy_tree_passes_with_and_without_baseline(here: LocalConnection, root: Path) -> None:
    bare = check(here, root)
    baseline = record(here, asset(root))
    full = check(here, root, baseline)
    assert [Verdict.PASSED, Verdict.PASSED] == [bare.verdict, full.verdict]
    assert "no baseline" in bare.not_checked[0]
    assert () == full.not_checked


def test_empty_database_is_an_error_and_not_a_pass(here: LocalConnection, root: Path) -> None:
    (root / "var/lib/dpkg/status").write_text("")
    for path in (root / "var/lib/dpkg/info").iterdir():
        path.unlink()
    assert Verdict.ERROR is check(here, root).verdict


def test_no_database_is_refused(here: LocalConnection, tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="dpkg database"):
        check(here, tmp_path)


def _overwrite(path: Path) -> None:
    path.write_text("garbage")


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("name", "act", "code"),
    [
        ("/usr/bin/hello", Path.unlink, Code.FILE_MISSING),
        ("/usr/share/hello/link", Path.unlink, Code.FILE_MISSING),
        ("/usr/bin/hello", _overwrite, Code.FILE_CONTENT_DIFFERS),
        ("/usr/bin/hello", _to_link, Code.FILE_TYPE_DIFFERS),
        ("/usr/bin/hello", _to_folder, Code.FILE_TYPE_DIFFERS),
        ("/usr/bin/hello", lambda path: path.chmod(0), Code.FILE_MODE_DIFFERS),
        ("/usr/bin/hello", lambda path: path.chmod(0o777), Code.FILE_MODE_DIFFERS),
        ("/etc/hello.conf", Path.unlink, Code.CONFFILE_MISSING),
        ("/etc/hello.conf", lambda path: path.chmod(0), Code.FILE_MODE_DIFFERS),
    ],
)  # fmt: skip
def test_damage_is_found_without_a_baseline(
    here: LocalConnection, root: Path, name: str, act: Callable[[Path], object], code: Code
) -> None:
    """Types and modes are what `dpkg --verify` does not see."""
    act(root / name[1:])
    result = check(here, root)
    assert {(code, name)} == codes(result, root)
    assert ("hello", "1:1.0-1") == (result.findings[0].package, result.findings[0].version)
    assert result.findings[0].expected


@pytest.mark.parametrize(
    ("name", "act", "code"),
    [
        ("/usr/bin/hello", lambda path: path.chmod(0o700), Code.FILE_MODE_DIFFERS),
        ("/usr/share/hello/link", _retarget, Code.FILE_LINK_DIFFERS),
        ("/usr/share/hello/link", lambda path: (path.unlink(), path.touch()), Code.FILE_TYPE_DIFFERS),
        ("/usr/share/hello/data", _overwrite, Code.FILE_CONTENT_DIFFERS),
        ("/usr/share/hello/data", Path.unlink, Code.FILE_MISSING),
        pytest.param(
            "/usr/bin/hello", lambda path: os.chown(path, 12, 34), Code.FILE_OWNER_DIFFERS,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away"),
        ),
    ],
)  # fmt: skip
def test_damage_is_found_with_a_baseline(
    here: LocalConnection, root: Path, name: str, act: Callable[[Path], object], code: Code
) -> None:
    baseline = record(here, asset(root))
    act(root / name[1:])
    assert {(code, name)} == codes(check(here, root, baseline), root)


def test_edited_configuration_file_is_no_damage_and_is_said(here: LocalConnection, root: Path) -> None:
    _overwrite(root / "etc/hello.conf")
    result = check(here, root)
    assert Verdict.PASSED is result.verdict
    assert any("1 configuration files edited" in note for note in result.not_checked)


def test_baseline_recorded_on_a_damaged_host_does_not_make_damage_the_measure(
    here: LocalConnection, root: Path
) -> None:
    _overwrite(root / "usr/bin/hello")
    baseline = record(here, asset(root))
    assert {(Code.FILE_CONTENT_DIFFERS, "/usr/bin/hello")} == codes(check(here, root, baseline), root)


def test_baseline_of_another_version_is_not_used_and_that_is_said(here: LocalConnection, root: Path) -> None:
    baseline = record(here, asset(root))
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("1:1.0-1", "1:1.1-1", 1))
    (root / "usr/bin/hello").chmod(0o700)
    result = check(here, root, baseline)
    assert Verdict.PASSED is result.verdict
    assert "1 of 2 packages: no baseline of their version" in result.not_checked[0]


def test_named_package_that_is_not_installed_is_found(here: LocalConnection, root: Path) -> None:
    result = check(here, root, packages=("hello", "absent"))
    assert {(Code.PACKAGE_NOT_INSTALLED, "absent")} == codes(result, root)


def test_only_named_packages_are_looked_at(here: LocalConnection, root: Path) -> None:
    _overwrite(root / "usr/share/other/data")
    assert Verdict.PASSED is check(here, root, packages=("hello",)).verdict


@pytest.mark.parametrize("state", ["half-installed", "unpacked", "half-configured"])
def test_package_that_is_not_whole_is_found(here: LocalConnection, root: Path, state: str) -> None:
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("install ok installed", f"install ok {state}", 1))
    assert {(Code.PACKAGE_STATE_BROKEN, "hello")} == codes(check(here, root), root)


def test_state_in_an_update_not_yet_merged_counts(here: LocalConnection, root: Path) -> None:
    """A killed dpkg leaves its newest states in `updates` (lab.md)."""
    stanza = (root / "var/lib/dpkg/status").read_text().split("\n\n")[0]
    (root / "var/lib/dpkg/updates/0000").write_text(
        stanza.replace("ok installed", "ok half-configured") + "\n"
    )
    assert {(Code.PACKAGE_STATE_BROKEN, "hello")} == codes(check(here, root), root)


def test_lost_list_of_a_package_is_found(here: LocalConnection, root: Path) -> None:
    (root / "var/lib/dpkg/info/hello.list").unlink()
    assert (Code.PACKAGE_STATE_BROKEN, "hello") in codes(check(here, root), root)


def test_files_missing_from_a_cut_list_are_looked_at_by_their_hashes(
    here: LocalConnection, root: Path
) -> None:
    (root / "var/lib/dpkg/info/hello.list").write_text("/.\n")
    _overwrite(root / "usr/bin/hello")
    cut = (Code.HASH_LIST_DIFFERS, "/var/lib/dpkg/info/hello.list")
    assert {cut, (Code.FILE_CONTENT_DIFFERS, "/usr/bin/hello")} == codes(check(here, root), root)


def test_status_file_that_lost_its_end_is_found(here: LocalConnection, root: Path) -> None:
    status = root / "var/lib/dpkg/status"
    text = status.read_text()
    status.write_text(text[: text.index("Package: other")])
    assert {(Code.PACKAGE_DATABASE_DAMAGED, "/var/lib/dpkg/status")} == codes(check(here, root), root)
    status.write_text(text[: text.index("Package: other") + 20])
    assert (Code.PACKAGE_DATABASE_DAMAGED, "/var/lib/dpkg/status") in codes(check(here, root), root)


def test_ignored_and_excluded_paths_are_left_out_and_counted(here: LocalConnection, root: Path) -> None:
    (root / "usr/share/doc/hello/README").unlink()
    _overwrite(root / "usr/share/hello/data")
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text("# slim\npath-exclude=/usr/share/doc/*\n")
    result = check(here, root, ignore=("/usr/share/hello/da*",))
    assert Verdict.PASSED is result.verdict
    assert any("paths left out" in note for note in result.not_checked)


def test_diverted_file_is_looked_at_where_it_went(here: LocalConnection, root: Path) -> None:
    (root / "var/lib/dpkg/diversions").write_text("/usr/bin/hello\n/usr/bin/hello.real\nother\n")
    (root / "usr/bin/hello").rename(root / "usr/bin/hello.real")
    (root / "usr/bin/hello").write_text("#!/bin/sh\n# other's\n")
    assert Verdict.PASSED is check(here, root).verdict
    _overwrite(root / "usr/bin/hello.real")
    assert {(Code.FILE_CONTENT_DIFFERS, "/usr/bin/hello.real")} == codes(check(here, root), root)


def test_mode_by_statoverride_is_no_damage(here: LocalConnection, root: Path) -> None:
    baseline = record(here, asset(root))
    (root / "var/lib/dpkg/statoverride").write_text("root root 4711 /usr/bin/hello\n")
    (root / "usr/bin/hello").chmod(0o4711)
    assert Verdict.PASSED is check(here, root, baseline).verdict


def test_healthy_packages_of_this_machine_pass(here: LocalConnection) -> None:
    """The conservative rules give no false alarm on a real Debian: every finding is one of `dpkg --verify` too."""
    names = (
        "base-files",
        "bash",
        "coreutils",
        "dpkg",
        "login",
        "mount",
        "passwd",
        "perl-base",
        "tar",
        "util-linux",
    )
    installed = DpkgAsset(kind="dpkg", host="web-1", packages=names)
    if not Path("/var/lib/dpkg/info/coreutils.list").exists():
        pytest.skip("this machine is no Debian")
    result = packages.judge("os", installed, packages.collect(here, installed))
    assert () == result.findings
    assert result.examined > 500


def test_parse_of_a_foreign_package_names_its_architecture() -> None:
    output = b"\0".join([
        b"", b"status", b"Package: libx\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\nConffiles:\n"
        b" /etc/x 11111111111111111111111111111111\n /etc/old 22222222222222222222222222222222 obsolete\n\n",
        b"updates", b"", b"arch", b"amd64\ni386\n", b"diversions", b"", b"statoverride", b"root #7 710 /etc/x y\n",
        b"users", b"root:x:0:0:::",
        b"config", b"path-exclude /usr/share/man/*\npath-include=/usr/share/man/keep/*\n",
        b"names", b"libx:i386.list\nlibx:i386.md5sums\n", b"list", b"==> libx:i386.list <==\n/.\n/usr\n/usr/x y\n",
        b"md5sums", b"==> libx:i386.md5sums <==\n33333333333333333333333333333333  usr/x y\n", b"end", b"",
    ])  # fmt: skip
    database = dpkg.parse(output)
    package = database.packages["libx:i386"]
    assert ("/", "/usr", "/usr/x y") == package.paths
    assert {"/usr/x y": "3" * 32} == package.md5sums
    assert {"/etc/x": "1" * 32} == package.conffiles
    assert ("libx:i386.list", "libx:i386.md5sums") == package.info
    assert {"/etc/x y": (0, 7, 0o710)} == database.overrides
    assert [True, False] == [database.filtered(f"/usr/share/man/{name}") for name in ("a", "keep/a")]
