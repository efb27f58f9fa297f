"""Repair when the tools themselves are broken: each of them damaged for real, found, lent, and installed again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.packages import PackageStore
from checks import toolbox
from model.errors import PreconditionFailed
from model.finding import Code
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.support.rounds import Round, pool_store
from tests.support.witness import dpkg_complains, look

pytestmark = pytest.mark.lab

LIBS = "/usr/lib/x86_64-linux-gnu"


@pytest.fixture(scope="module")
def debs(lab_base: Base, tmp_path_factory: pytest.TempPathFactory) -> PackageStore:
    """A signed store with every package of the host."""
    return pool_store(lab_base, tmp_path_factory.mktemp("debs"))


def garble(path: Path) -> None:
    size, mode = path.stat().st_size, path.stat().st_mode
    path.unlink()
    path.write_bytes(os.urandom(min(size, 20000)))
    path.chmod(mode & 0o7777)


def halve(path: Path) -> None:
    content, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()  # those who run it keep the whole one
    path.write_bytes(content[: len(content) // 2])
    path.chmod(mode & 0o7777)


Case = tuple[str, Callable[[Path], None], str]
GROUPS: dict[str, list[Case]] = {
    "what finds and hashes": [
        ("/usr/bin/find", garble, "find"),
        ("/usr/bin/xargs", Path.unlink, "xargs"),
        ("/usr/bin/md5sum", garble, "md5sum"),
        ("/usr/bin/sha256sum", Path.unlink, "sha256sum"),
    ],
    "what reads and moves": [
        ("/bin/cat", garble, "cat"),
        ("/bin/mv", Path.unlink, "mv"),
        ("/bin/cp", halve, "cp"),
        ("/bin/chmod", garble, "chmod"),
        ("/usr/bin/env", Path.unlink, "env"),
        ("/usr/bin/tail", garble, "tail"),
        ("/bin/grep", garble, "grep"),
        ("/bin/sed", Path.unlink, "sed"),
    ],
    "the shell": [("/bin/dash", garble, "sh"), ("/bin/tar", Path.unlink, "tar")],
    "dpkg and what it needs": [
        ("/usr/bin/dpkg", garble, "dpkg"),
        ("/usr/bin/dpkg-deb", Path.unlink, "dpkg-deb"),
        ("/usr/bin/dpkg-query", garble, "dpkg-query"),
        ("/usr/bin/diff", Path.unlink, "diff"),
        ("/sbin/ldconfig", garble, "ldconfig"),
    ],
    "libraries beside libc": [
        (f"{LIBS}/libacl.so.1", halve, "cp"),
        (f"{LIBS}/libattr.so.1", garble, "cp"),
        (f"{LIBS}/libmd.so.0", halve, "dpkg"),
    ],
    "apt and the languages": [
        (f"{LIBS}/libapt-pkg.so.6.0", halve, "apt-get"),
        (f"{LIBS}/libxxhash.so.0", garble, "apt-get"),
        ("/usr/bin/apt-get", garble, "apt-get"),
        ("/usr/bin/python3.11", garble, "python3"),
        ("/usr/bin/perl", garble, "perl"),
    ],
}
PACKAGES = (
    *(
        "findutils",
        "coreutils",
        "grep",
        "sed",
        "dash",
        "tar",
        "dpkg",
        "diffutils",
        "libc-bin",
        "libacl1",
        "libattr1",
    ),
    *("libmd0", "libapt-pkg6.0", "libxxhash0", "apt", "python3.11-minimal", "perl-base", "sudo"),
)
FIELDS = {"store": "debs", "packages": PACKAGES}


def names(found: set[tuple[Code, str]]) -> set[str]:
    return {subject.rpartition("/")[2] for code, subject in found if code is Code.TOOL_BROKEN}


def test_every_broken_tool_is_found_and_installed_again(lab_host: LabHost, debs: PackageStore) -> None:
    """Must show 1 and R-RESP-5: apt, dpkg, tar, libraries beside libc, python, the shell and its tools."""
    there = Round(lab_host, {"debs": debs}, FIELDS)
    whole = dpkg_complains(lab_host)
    with there.connect() as connection:
        assert () == toolbox.probe(connection)
    for group, cases in GROUPS.items():
        places = [lab_host.inside(path) for path, _act, _tool in cases]
        paths = [str(Path("/") / place.relative_to(lab_host.root)) for place in places]
        before = look(lab_host, paths)
        for place, (_path, act, _tool) in zip(places, cases, strict=True):
            act(place)
        with there.connect() as connection:
            found, _proposal = there.cure(connection)
        assert {tool for _path, _act, tool in cases} <= names(found), group
        assert before == look(lab_host, paths), group
    assert whole == dpkg_complains(lab_host)
    assert "" == lab_host.must(["dpkg", "--audit"])
    assert [] == [p.name for p in lab_host.inside("/dev/shm").iterdir()]
    lab_host.must(["apt-get", "check"])


def test_all_tools_at_once_are_repaired_without_any_of_them(lab_host: LabHost, debs: PackageStore) -> None:
    """The whole workbench gone: nothing of coreutils, findutils, grep, sed, tar, dpkg, perl, python and apt works."""
    for path in dict.fromkeys(path for cases in GROUPS.values() for path, _act, _tool in cases):
        garble(lab_host.inside(path))
    there = Round(lab_host, {"debs": debs}, FIELDS)
    with there.connect() as connection:
        found, proposal = there.cure(connection)
    assert "sh" in names(found)
    assert {"coreutils", "findutils", "dash", "dpkg", "tar", "libacl1", "perl-base"} <= {
        action.package for action in proposal.actions if action.kind == "reinstall_package"
    }
    assert [] == dpkg_complains(lab_host)


def test_without_any_source_of_tools_the_host_is_not_called_healthy(lab_host: LabHost) -> None:
    """G11: what cannot be examined is an error with the remedy, never a pass and never thousands of missing files."""
    for path in ("/usr/bin/find", "/usr/bin/apt-get", "/usr/bin/python3.11"):
        garble(lab_host.inside(path))
    there = Round(lab_host)
    with there.connect() as connection, pytest.raises(AssertionError, match="could not be checked"):
        there.look(connection)


def test_login_without_sudo_says_so_and_root_repairs_it(lab_host: LabHost, debs: PackageStore) -> None:
    """Sudo that lost its setuid bit: the ordinary login gets a clear answer, root's key repairs."""
    sudo = lab_host.inside("/usr/bin/sudo")
    sudo.chmod(0o755)
    with (
        Round(lab_host).connect() as connection,
        pytest.raises(PreconditionFailed, match=r"sudo does not let ops"),
    ):
        toolbox.probe(connection)
    there = Round(lab_host, {"debs": debs}, FIELDS, user="root")
    garble(sudo)
    with there.connect() as connection:
        found, _proposal = there.cure(connection)
    assert (Code.FILE_CONTENT_DIFFERS, "/usr/bin/sudo") in found
    assert 0o4755 == sudo.stat().st_mode & 0o7777
    with Round(lab_host).connect() as connection:
        assert () == toolbox.probe(connection)
