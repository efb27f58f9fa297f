"""What lies beyond a package's own files: hash lists, alternatives, what is nobody's, what a person accepted."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from checks import packages
from checks.baseline import candidates, record
from checks.hash_lists import Delivered
from model.accepted import Accepted
from model.finding import CheckResult, Code, Degree, Verdict
from model.manifest import Entry
from tasks.delivered import delivered
from tests.checks.local import LocalConnection
from tests.checks.test_packages import asset, codes
from tests.checks.test_stat import NO_PYTHON, _tools
from tests.support.packages import key, shelf

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")

INFO = "/var/lib/dpkg/info"


def check(
    here: LocalConnection, root: Path, baseline: tuple[Entry, ...] = (), accepted: tuple[Accepted, ...] = (),
    store: Delivered | None = None, **more: object,
) -> CheckResult:  # fmt: skip
    installed = asset(root, **more)
    data = packages.collect(here, installed, baseline, accepted=accepted)
    return packages.judge("os", installed, data, baseline, accepted=accepted, delivered=store)


def accept_all(here: LocalConnection, root: Path, baseline: tuple[Entry, ...] = ()) -> tuple[Accepted, ...]:
    return tuple(
        Accepted(
            entry=one.entry, codes=one.codes, package=one.package, person="ana", reason="wanted",
            at=datetime(2026, 1, 2, tzinfo=UTC),
        )
        for one in candidates(here, "os", asset(root), baseline, ())
    )  # fmt: skip


def rehash(root: Path, path: str) -> None:
    """Change a file and its line in `md5sums`, as an intruder would."""
    (root / path).write_text("altered")
    sums = root / f"{INFO[1:]}/hello.md5sums"
    new = hashlib.md5(b"altered", usedforsecurity=False).hexdigest()
    lines = [
        f"{new}  {path}" if line.endswith(f"  {path}") else line for line in sums.read_text().splitlines()
    ]
    sums.write_text("\n".join(lines) + "\n")


def test_file_changed_with_its_hash_is_found_by_the_baseline(here: LocalConnection, root: Path) -> None:
    baseline = record(here, asset(root))
    rehash(root, "usr/bin/hello")
    assert Verdict.PASSED is check(here, root).verdict
    lists = (Code.HASH_LIST_DIFFERS, f"{INFO}/hello.md5sums")
    assert {lists, (Code.FILE_CONTENT_DIFFERS, "/usr/bin/hello")} == codes(check(here, root, baseline), root)


def test_file_changed_with_its_hash_is_found_by_the_package_in_the_store(
    here: LocalConnection, root: Path
) -> None:
    pool = root.parent / "pool"
    assert Verdict.PASSED is check(here, root, store=delivered(shelf(pool))).verdict
    rehash(root, "usr/bin/hello")
    assert (Code.HASH_LIST_DIFFERS, f"{INFO}/hello.md5sums") in codes(
        check(here, root, store=delivered(shelf(pool))), root
    )
    assert delivered(shelf(pool, signer=key("intruder"))) is None
    trusted = shelf(pool)
    (pool / trusted.index().packages[0].filename).write_bytes(b"!<arch>\n")
    assert Verdict.PASSED is check(here, root, store=delivered(trusted)).verdict


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def _garble(path: Path) -> None:
    path.write_bytes(b"\0\xff\n" * 30)


@pytest.mark.parametrize("act", [Path.unlink, _cut, _garble], ids=["missing", "cut", "garbage"])
@pytest.mark.parametrize("known", [True, False], ids=["baseline", "no-baseline"])
def test_damaged_hash_list_is_found_and_the_files_are_not_blamed(
    here: LocalConnection, root: Path, act: Callable[[Path], object], known: bool
) -> None:
    baseline = record(here, asset(root)) if known else ()
    act(root / f"{INFO[1:]}/hello.md5sums")
    assert {(Code.HASH_LIST_DIFFERS, f"{INFO}/hello.md5sums")} == codes(check(here, root, baseline), root)


def test_capability_that_came_or_went_is_found(here: LocalConnection, root: Path) -> None:
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    hello, other = root / "usr/bin/hello", root / "usr/share/hello/data"
    try:
        os.setxattr(hello, "security.capability", value)
    except OSError:
        pytest.skip("needs root and a file system with capabilities")
    baseline = record(here, asset(root))
    assert Verdict.PASSED is check(here, root, baseline).verdict
    os.removexattr(hello, "security.capability")
    os.setxattr(other, "security.capability", value)
    result = check(here, root, baseline)
    code = Code.FILE_CAPABILITIES_DIFFER
    assert {(code, "/usr/bin/hello"), (code, "/usr/share/hello/data")} == codes(result, root)


def test_capabilities_are_said_to_be_unknown_without_python(
    here: LocalConnection, root: Path, tmp_path: Path
) -> None:
    baseline = record(here, asset(root))
    result = check(LocalConnection(path=_tools(tmp_path / "bin", **NO_PYTHON)), root, baseline)
    assert Verdict.PASSED is result.verdict
    assert any("file capabilities" in note for note in result.not_checked)


def test_file_of_nobody_among_programs_is_found_and_what_is_made_anew_is_not(
    here: LocalConnection, root: Path
) -> None:
    (root / "usr/bin/nobodys").touch()
    (root / "usr/bin/__pycache__").mkdir()
    (root / "usr/share/doc/hello/notes").touch()
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/mine").touch()
    (root / "etc/mine").touch()
    result = check(here, root)
    assert {(Code.FILE_FOREIGN, "/usr/bin/nobodys")} == codes(result, root)
    assert Verdict.PASSED is check(here, root, ignore=("/usr/bin/nobodys", f"{root}/usr/bin/nobodys")).verdict
    assert Verdict.PASSED is check(here, root, packages=("hello", "other")).verdict, "others may own it then"


def test_merged_usr_is_no_damage(here: LocalConnection, root: Path) -> None:
    """The list says /bin, the host has it in /usr/bin, and another list says /usr/bin."""
    info = root / INFO[1:]
    for name in ("list", "md5sums"):
        text = (info / f"hello.{name}").read_text()
        (info / f"hello.{name}").write_text(text.replace("usr/bin", "bin"))
    (root / "bin").symlink_to("usr/bin")
    assert Verdict.PASSED is check(here, root).verdict
    (root / "usr/bin/nobodys").touch()
    assert (Code.FILE_FOREIGN, "/usr/bin/nobodys") in codes(check(here, root), root)


GROUP = "{status}\n/usr/bin/greet\ngreet.1\n/usr/share/greet.1\n\n/usr/bin/hello\n50\n\n/usr/share/other/data\n10\n\n\n"


@pytest.fixture
def group(root: Path) -> Path:
    """A group with two choices."""
    folder = root / "var/lib/dpkg/alternatives"
    folder.mkdir()
    (root / "etc/alternatives").mkdir(exist_ok=True)
    (folder / "greet").write_text(GROUP.format(status="auto"))
    (root / "etc/alternatives/greet").symlink_to("/usr/bin/hello")
    (root / "usr/bin/greet").symlink_to("/etc/alternatives/greet")
    return root


def relink(root: Path, path: str, target: str) -> None:
    (root / path).unlink()
    if target:
        (root / path).symlink_to(target)


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("etc/alternatives/greet", "/usr/bin/gone", "link to /usr/bin/hello"),
        ("etc/alternatives/greet", "", "link to /usr/bin/hello"),
        ("etc/alternatives/greet", "/usr/share/other/data", "link to /usr/bin/hello"),
        ("usr/bin/greet", "/usr/bin/true", "link to /etc/alternatives/greet"),
        ("usr/bin/greet", "", "link to /etc/alternatives/greet"),
    ],
)
def test_alternative_that_leads_astray_is_found(
    here: LocalConnection, group: Path, path: str, target: str, expected: str
) -> None:
    assert Verdict.PASSED is check(here, group).verdict
    relink(group, path, target)
    result = check(here, group)
    assert {(Code.ALTERNATIVE_BROKEN, f"/{path}")} == codes(result, group)
    assert expected == result.findings[0].expected


def test_alternative_a_person_chose_is_no_damage(here: LocalConnection, group: Path) -> None:
    (group / "var/lib/dpkg/alternatives/greet").write_text(GROUP.format(status="manual"))
    relink(group, "etc/alternatives/greet", "/usr/share/other/data")
    assert Verdict.PASSED is check(here, group).verdict


@pytest.mark.parametrize("text", ["", "auto\n/usr/bin/greet\n", "\0\0\0", None])
def test_damaged_or_lost_record_of_a_group_names_the_package_that_writes_it(
    here: LocalConnection, group: Path, text: str | None
) -> None:
    place = group / "var/lib/dpkg/alternatives/greet"
    place.unlink() if text is None else place.write_text(text)
    result = check(here, group)
    assert {(Code.ALTERNATIVE_BROKEN, "/var/lib/dpkg/alternatives/greet")} == codes(result, group)
    assert "hello" == result.findings[0].package


def test_accepted_differences_are_no_findings_and_are_said_until_they_change(
    here: LocalConnection, root: Path
) -> None:
    """R-PREV-2: by a person, with a reason, exactly as they were; never in code."""
    (root / "usr/share/hello/data").write_text("edited")
    (root / "usr/bin/hello").chmod(0o700)
    (root / "usr/bin/mine").touch()
    (root / "usr/share/other/data").unlink()
    (root / "etc/hello.conf").write_text("a = 2\n")
    (root / "usr/share/hello/link").unlink()
    baseline = record(here, asset(root))
    assert Verdict.FAILED is check(here, root, baseline).verdict
    accepted = accept_all(here, root, baseline)
    assert 5 <= len(accepted)
    result = check(here, root, baseline, accepted)
    assert Verdict.PASSED is result.verdict, [f.sentence for f in result.findings]
    assert any("differences that people accepted" in note for note in result.not_checked)
    (root / "usr/share/hello/data").write_text("damaged")
    (root / "usr/bin/mine").write_text("damaged")
    (root / "etc/hello.conf").write_text("a = 3\n")
    result = check(here, root, baseline, accepted)
    differs = Code.FILE_CONTENT_DIFFERS
    found = {
        (differs, "/usr/share/hello/data"),
        (Code.FILE_FOREIGN, "/usr/bin/mine"),
        (differs, "/etc/hello.conf"),
    }
    assert found == codes(result, root)
    edited = next(f for f in result.findings if f.subject.endswith("hello.conf"))
    assert (Degree.SLIGHT, True) == (
        edited.degree,
        edited.expected.startswith("the content a person accepted (ana"),
    )


def test_accepted_edit_that_went_back_to_the_package_is_fine(here: LocalConnection, root: Path) -> None:
    original = (root / "etc/hello.conf").read_text()
    (root / "etc/hello.conf").write_text("a = 2\n")
    accepted = accept_all(here, root)
    (root / "etc/hello.conf").write_text(original)
    assert Verdict.PASSED is check(here, root, (), accepted).verdict


def test_broken_package_is_no_candidate(here: LocalConnection, root: Path) -> None:
    """What is not whole is never meant."""
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("install ok installed", "install ok unpacked", 1))
    (root / f"{INFO[1:]}/other.md5sums").write_text("rubbish\n")
    assert () == accept_all(here, root)


def test_dpkg_asset_of_one_package_does_not_look_for_strangers(here: LocalConnection, root: Path) -> None:
    data = packages.collect(here, asset(root, packages=("hello",)))
    assert data.strangers is None


def test_lost_record_of_a_group_is_found_with_a_baseline_too(here: LocalConnection, group: Path) -> None:
    baseline = record(here, asset(group))
    assert Verdict.PASSED is check(here, group, baseline).verdict
    (group / "var/lib/dpkg/alternatives/greet").unlink()
    lost = (Code.ALTERNATIVE_BROKEN, "/var/lib/dpkg/alternatives/greet")
    assert {lost} == codes(check(here, group, baseline), group)


def test_what_the_baseline_did_not_foresee_is_looked_at_as_well(here: LocalConnection, root: Path) -> None:
    """The guess saves time and decides nothing."""
    baseline = tuple(entry for entry in record(here, asset(root)) if "/usr/bin" not in entry.path)
    (root / "usr/bin/hello").write_text("damaged")
    (root / "usr/bin/nobodys").touch()
    found = {(Code.FILE_CONTENT_DIFFERS, "/usr/bin/hello"), (Code.FILE_FOREIGN, "/usr/bin/nobodys")}
    assert found == codes(check(here, root, baseline), root)
