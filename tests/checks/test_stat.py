"""The collector of file facts, on real files of this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from checks.fact import Facts
from checks.stat import Around, Digests, Expected, Fact, collect, excluded, list_tree
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import FileType
from tests.checks.local import LocalConnection
from tests.support.waiting import wait_for

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
NO_PYTHON = {"python3": "exit 1"}
LIARS = {
    "missing": "exit 127",
    "says-nothing": "exit 0",
    "rubbish": "echo rubbish; cat",
    "wrong-hash": 'exec /usr/bin/python3 -c \'import sys; print(["00", "11", True]); print(["end", 1])\'',
    "cut-off": '/usr/bin/python3 "$@" | head -c 300',
    "killed": "kill -9 $$",
    "all-as-expected": """exec /usr/bin/python3 -c 'import hashlib, json, sys
count = sys.stdin.buffer.read().count(b"\\0") // 2
print(json.dumps([hashlib.md5(b"abc").hexdigest(), hashlib.sha256(b"abc").hexdigest(), True]))
print(json.dumps([count - 1, [count - 1, "d", 0, 0, 0, 0, 0, "", "", "", "", ""]]))
print(json.dumps(["end", count, 0]))'""",
}
"""Interpreters of a damaged host."""


@pytest.fixture(params=["python", "tools"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> LocalConnection:
    """This machine, looked at by its Python, and by its tools alone."""
    if request.param == "python":
        return LocalConnection()
    return LocalConnection(path=_tools(tmp_path / "no-python", **NO_PYTHON))


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
    host: LocalConnection, tree: Path, jobs: int
) -> None:
    paths = [f"{tree}/{name}" for name in ODD]
    facts = collect(host, paths, "both", jobs=jobs)
    assert paths == list(facts)
    for name, fact in zip(ODD, facts.values(), strict=True):
        content = name.encode("utf-8", "surrogateescape")
        assert hashlib.sha256(content).hexdigest() == fact.sha256
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == fact.md5
        assert len(content) == fact.size


def test_collect_tells_types_links_modes_times_and_absence(host: LocalConnection, tree: Path) -> None:
    (tree / "folder").chmod(0o2750)
    os.utime(tree / "folder", ns=(0, 1_700_000_000_123_456_789))
    facts = collect(
        host, [f"{tree}/{n}" for n in ("folder", "link", "pipe", "none", "link/under", "none/under")]
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
    new = set(shared.iterdir()) - before if shared.is_dir() else set()
    # What another process of the tests makes there meanwhile goes away, too.
    wait_for("nothing is left in shared memory", lambda: not any(path.exists() for path in new))


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
    host = LocalConnection(path=_tools(tmp_path / "bin", **NO_PYTHON, **fakes))
    with pytest.raises(PreconditionFailed):
        collect(host, [f"{tree}/link", f"{tree}/-dash"])


def test_collect_without_openssl_hashes_with_coreutils(tmp_path: Path, tree: Path) -> None:
    host = LocalConnection(path=_tools(tmp_path / "bin", openssl="exit 1", **NO_PYTHON))
    expected = collect(LocalConnection(), [f"{tree}/-dash"])
    assert plain(expected) == plain(collect(host, [f"{tree}/-dash"]))


def plain(facts: dict[str, Fact]) -> list[Fact]:
    """Facts without what only Python can find out."""
    return [fact._replace(capabilities=None) for fact in facts.values()]


def test_python_and_the_hosts_tools_see_the_same(tmp_path: Path, tree: Path, here: LocalConnection) -> None:
    """One contract, two ways: only capabilities need Python."""
    (tree / "folder" / "more").mkdir()
    (tree / "empty").touch()
    (tree / "big").write_bytes(os.urandom((1 << 18) + 1))
    (tree / "closed").touch(mode=0)
    (tree / "loop").symlink_to("loop")
    paths = [
        *list_tree(here, str(tree)),
        f"{tree}/none",
        f"{tree}/loop/under",
        f"{tree}/{'x' * 300}",
        "/dev/null",
    ]
    tools = LocalConnection(path=_tools(tmp_path / "bin", **NO_PYTHON))
    kinds: tuple[Digests, ...] = ("none", "md5", "sha256", "both")
    by_python = [collect(here, paths, digests) for digests in kinds]
    by_tools = [collect(tools, paths, digests) for digests in kinds]
    assert [plain(facts) for facts in by_python] == [plain(facts) for facts in by_tools]
    assert {"", None} == {fact.capabilities for facts in (*by_python, *by_tools) for fact in facts.values()}


@pytest.mark.parametrize("liar", LIARS.values(), ids=LIARS)
def test_python_that_lies_is_not_believed(tmp_path: Path, tree: Path, liar: str) -> None:
    host = LocalConnection(path=_tools(tmp_path / "bin", python3=liar))
    paths = [f"{tree}/-dash", f"{tree}/link", f"{tree}/none"]
    assert plain(collect(LocalConnection(), paths)) == plain(collect(host, paths))
    assert {None} == {fact.capabilities for fact in collect(host, paths).values()}


def test_only_what_is_not_as_expected_is_answered(host: LocalConnection, tree: Path) -> None:
    """Where there is no Python, everything is."""
    looked = collect(LocalConnection(), [f"{tree}/-dash", f"{tree}/link", f"{tree}/folder"])
    right = {path: fact.entry() for path, fact in looked.items()}
    expected = Expected(
        {**right, f"{tree}/link": right[f"{tree}/link"].model_copy(update={"link": "elsewhere"})}
    )
    asked = [*looked, f"{tree}/pipe"]
    found = Facts(collect(host, asked, expected=expected), expected.same)
    assert sorted(asked) == sorted(found)
    assert [right[path] for path in looked] == [found[path].entry() for path in looked]
    by_python = found[f"{tree}/pipe"].capabilities is not None
    assert ({f"{tree}/-dash", f"{tree}/folder"} if by_python else set()) == set(expected.same)


def test_what_else_lies_in_folders_is_told(host: LocalConnection, tree: Path) -> None:
    """Under both names of a link at the top, and without what was asked for."""
    (tree / "folder" / "known").touch()
    (tree / "folder" / "odd\nname\udcff").touch()
    (tree / "alias").symlink_to("folder")
    (tree / "folder" / "also").touch()
    around = Around(
        frozenset({f"{tree}/folder", f"{tree}/alias", f"{tree}/none"}), {f"{tree}/alias": f"{tree}/folder"}
    )
    collect(host, [f"{tree}/folder/known", f"{tree}/alias/also"], around=around)
    assert [f"{tree}/folder/odd\nname\udcff"] == around.found


def test_each_path_may_need_other_hashes_and_progress_is_told(host: LocalConnection, tree: Path) -> None:
    told: list[tuple[int, int]] = []
    wanted = {f"{tree}/-dash": "md5", f"{tree}/link": "none", f"{tree}/space end ": "both"}
    facts = collect(host, wanted, wanted, progress=lambda done, total: told.append((done, total)))  # type: ignore[arg-type] # literals
    assert [(True, False), (False, False), (True, True)] == [
        (bool(f.md5), bool(f.sha256)) for f in facts.values()
    ]
    assert (3, 3) == told[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives capabilities")
def test_capabilities_are_seen(here: LocalConnection, tmp_path: Path) -> None:
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    (tmp_path / "ping").touch()
    try:
        os.setxattr(tmp_path / "ping", "security.capability", value)
    except OSError:
        pytest.skip("this file system keeps no capabilities")
    assert value.hex() == collect(here, [f"{tmp_path}/ping"])[f"{tmp_path}/ping"].capabilities


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
