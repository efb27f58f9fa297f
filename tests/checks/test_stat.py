"""The collector of file facts, on real files of this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from checks.stat import collect, excluded, list_tree
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import FileType
from tests.checks.local import LocalConnection

ODD = (
    "new\nline",
    "back\\slash",
    "tab\there",
    "byte\udcff",
    "-dash",
    "'quote\" $(x)",
    "ünïcode",
    "space end ",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    for name in ODD:
        (tree / name).write_text(name, errors="surrogateescape")
    (tree / "link").symlink_to("odd\ntarget")
    os.mkfifo(tree / "pipe")
    return tree


@pytest.mark.parametrize("jobs", [1, 2])
def test_collect_of_odd_names_gives_a_fact_with_hashes_for_each(
    here: LocalConnection, tree: Path, jobs: int
) -> None:
    paths = [f"{tree}/{name}" for name in ODD]
    facts = collect(here, paths, "both", jobs=jobs)
    assert paths == list(facts)
    for name, fact in zip(ODD, facts.values(), strict=True):
        content = name.encode("utf-8", "surrogateescape")
        assert hashlib.sha256(content).hexdigest() == fact.sha256
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == fact.md5
        assert len(content) == fact.size


def test_collect_tells_types_links_modes_times_and_absence(here: LocalConnection, tree: Path) -> None:
    (tree / "folder").chmod(0o2750)
    os.utime(tree / "folder", ns=(0, 1_700_000_000_123_456_789))
    facts = collect(
        here, [f"{tree}/{n}" for n in ("folder", "link", "pipe", "none", "link/under", "none/under")]
    )
    kinds = [fact.type for fact in facts.values()]
    absent = FileType.ABSENT
    assert [FileType.DIRECTORY, FileType.LINK, FileType.OTHER, absent, absent, absent] == kinds
    folder, link = facts[f"{tree}/folder"], facts[f"{tree}/link"]
    assert (0o2750, 1_700_000_000_123_456_789) == (folder.mode, folder.mtime_ns)
    assert (os.geteuid(), "odd\ntarget") == (link.uid, link.link)


def test_collect_leaves_nothing_on_the_host_and_uses_two_commands_at_most(
    here: LocalConnection, tree: Path
) -> None:
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()
    collect(here, list_tree(here, str(tree)))
    assert 2 == len(here.ran)
    assert before == (set(shared.iterdir()) if shared.is_dir() else set())


def test_collect_of_nothing_runs_nothing(here: LocalConnection) -> None:
    assert {} == collect(here, [])
    assert [] == here.ran


def test_collect_refuses_a_relative_path(here: LocalConnection) -> None:
    with pytest.raises(ReinstateError, match="relative"):
        collect(here, ["etc/passwd"])


def _tools(folder: Path, **fakes: str) -> str:
    folder.mkdir()
    for name, script in fakes.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(
    "fakes",
    [
        {"find": "exit 0"},
        {"find": "kill -9 $$"},
        {"xargs": "exit 0"},
        {"xargs": "exit 127"},
        {"sha256sum": "echo 0000", "openssl": "exit 1"},
    ],
    ids=["find-says-nothing", "find-dies", "xargs-does-nothing", "xargs-missing", "hasher-lies"],
)
def test_collect_with_a_damaged_tool_fails_instead_of_calling_files_absent(
    tmp_path: Path, tree: Path, fakes: dict[str, str]
) -> None:
    """A damaged host must not look like a host without files (G11)."""
    host = LocalConnection(path=_tools(tmp_path / "bin", **fakes))
    with pytest.raises(PreconditionFailed):
        collect(host, [f"{tree}/link", f"{tree}/-dash"])


def test_collect_without_openssl_hashes_with_coreutils(tmp_path: Path, tree: Path) -> None:
    host = LocalConnection(path=_tools(tmp_path / "bin", openssl="exit 1"))
    expected = collect(LocalConnection(), [f"{tree}/-dash"])
    assert expected == collect(host, [f"{tree}/-dash"])


def test_list_tree_is_sorted_and_leaves_out_what_is_excluded_with_all_below_it(
    here: LocalConnection, tmp_path: Path
) -> None:
    for name in ("a/cache/deep/x", "a/keep", "b.tmp", "c"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).touch()
    found = list_tree(here, str(tmp_path / "t"), ("*/cache", "*.tmp"))
    assert ["", "/a", "/a/keep", "/c"] == [path.removeprefix(str(tmp_path / "t")) for path in found]


def test_excluded_matches_a_folder_above() -> None:
    assert excluded("cache/x/y", ("cache",))
    assert not excluded("cached", ("cache",))
