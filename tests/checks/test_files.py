"""File sets against manifests, on real files."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from checks import files, stat
from model.assets import FilesAsset
from model.finding import CheckResult, Code, Verdict
from model.manifest import Entry, FileType, Manifest
from tests.checks.local import LocalConnection


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "set"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/data").write_text("data")
    (tree / "a/new\nline").write_text("odd")
    (tree / "link").symlink_to("a/b/data")
    (tree / "cache").mkdir()
    (tree / "cache/x").write_text("x")
    for path in tree.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    return tree


def manifest(root: Path, entries: list[Entry], taken: datetime | None = None) -> Manifest:
    taken = taken or datetime.now(UTC) - timedelta(hours=1)
    return Manifest(
        asset="set", point="20250101T000000Z", format="tar", host="web-1", machine_id="0" * 32, root=str(root),
        taken_at=taken, object_key="k", object_sha256="0" * 64, object_bytes=1, entries=tuple(entries),
    )  # fmt: skip


Digest = Literal["sha256", "xxh128"]


def check(
    here: LocalConnection, tree: Path, known: Manifest, exclude: tuple[str, ...] = ("cache",),
    digest: Digest = "sha256",
) -> CheckResult:  # fmt: skip
    asset = FilesAsset(
        kind="files", host="web-1", path=str(tree), backup="tree", exclude=exclude, digest=digest
    )
    return files.judge("set", asset, files.collect(here, asset, known), known)


def test_collect_tree_names_the_root_and_everything_below_but_what_is_excluded(
    here: LocalConnection, tree: Path
) -> None:
    entries = files.collect_tree(here, str(tree), ("cache",))
    assert [".", "a", "a/b", "a/b/data", "a/new\nline", "link"] == [entry.path for entry in entries]
    data = entries[3]
    assert (FileType.FILE, 4, 1_700_000_000 * 10**9) == (data.type, data.size, data.mtime_ns)


def test_collect_tree_of_a_single_file_is_one_entry(here: LocalConnection, tree: Path) -> None:
    assert ["."] == [entry.path for entry in files.collect_tree(here, str(tree / "a/b/data"))]


def test_healthy_set_passes_and_new_files_are_counted_not_blamed(here: LocalConnection, tree: Path) -> None:
    known = manifest(tree, files.collect_tree(here, str(tree)))
    (tree / "a/newer").touch()
    result = check(here, tree, known)
    assert Verdict.PASSED is result.verdict
    assert any("1 paths that recovery point 20250101T000000Z does not hold" in n for n in result.not_checked)


def test_empty_manifest_is_an_error(here: LocalConnection, tree: Path) -> None:
    assert Verdict.ERROR is check(here, tree, manifest(tree, [])).verdict


def _relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("name", "act", "code"),
    [
        ("a/b/data", Path.unlink, Code.FILE_MISSING),
        ("a/b/data", lambda path: path.write_text("dat4"), Code.FILE_CONTENT_DIFFERS),
        ("a/new\nline", lambda path: path.write_text(""), Code.FILE_CONTENT_DIFFERS),
        ("a/b/data", lambda path: path.chmod(0), Code.FILE_MODE_DIFFERS),
        ("a/b", lambda path: path.chmod(0o777), Code.FILE_MODE_DIFFERS),
        ("a/b/data", _relink, Code.FILE_TYPE_DIFFERS),
        ("link", _relink, Code.FILE_LINK_DIFFERS),
        pytest.param(
            "a/b/data", lambda path: os.chown(path, 12, 34), Code.FILE_OWNER_DIFFERS,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away"),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("digest", ["sha256", "xxh128"])
def test_damage_is_found(
    here: LocalConnection, tree: Path, name: str, act: Callable[[Path], object], code: Code, digest: Digest
) -> None:
    known = manifest(tree, files.collect_tree(here, str(tree), digests="sha256+xxh128"))
    act(tree / name)
    result = check(here, tree, known, digest=digest)
    assert [(code, str(tree / name))] == [(finding.code, finding.subject) for finding in result.findings]


@pytest.mark.parametrize("library", ["libxxhash.so.0", "libc.so.6", "libnothing.so.0"])
def test_fast_digest_is_asked_for_where_backup_and_host_have_it(
    here: LocalConnection, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """A host without the library, or with a wrong one, answers with SHA-256, to old and new manifests alike."""
    new = manifest(tree, files.collect_tree(here, str(tree), digests="sha256+xxh128"))
    old = manifest(tree, files.collect_tree(here, str(tree)))
    assert all(len(e.xxh128) == (32 if e.type is FileType.FILE else 0) for e in new.entries)
    probe = tmp_path / "probe.py"
    probe.write_text(stat.PROBE.read_text().replace("libxxhash.so.0", library))
    monkeypatch.setattr(stat, "PROBE", probe)
    assert ["", ""] == [e.xxh128 for e in old.entries if e.type is FileType.FILE][:2]
    assert Verdict.PASSED is check(here, tree, new, digest="xxh128").verdict
    assert Verdict.PASSED is check(here, tree, old, digest="xxh128").verdict
    (tree / "a/b/data").write_text("dat4")
    says = {known: check(here, tree, known, digest="xxh128").findings[0].actual[:7] for known in (new, old)}
    assert {new: "xxh128 " if library == "libxxhash.so.0" else "sha256 ", old: "sha256 "} == says


def test_fast_digest_is_xxh3(here: LocalConnection, tree: Path) -> None:
    """Also of what does not fit into one read; the values are those of xxhsum -H2."""
    (tree / "long").write_bytes(bytes(range(256)) * 1000)
    (tree / "empty").touch()
    entries = {e.path: e for e in files.collect_tree(here, str(tree), digests="sha256+xxh128")}
    assert "99aa06d3014798d86001c324468d497f" == entries["empty"].xxh128
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    data = (tree / "long").read_bytes()
    # Of more than 240 bytes, the low half of the longer hash is the shorter one.
    assert f"{library.XXH3_64bits(data, ctypes.c_size_t(len(data))):016x}" == entries["long"].xxh128[16:]


def test_damage_in_an_excluded_folder_is_not_looked_at(here: LocalConnection, tree: Path) -> None:
    known = manifest(tree, files.collect_tree(here, str(tree)))
    (tree / "cache/x").write_text("y")
    assert Verdict.PASSED is check(here, tree, known).verdict


def test_set_that_is_gone_is_found_path_by_path(here: LocalConnection, tree: Path) -> None:
    known = manifest(tree, files.collect_tree(here, str(tree), ("cache",)))
    tree.rename(tree.with_name("gone"))
    result = check(here, tree, known)
    assert {Code.FILE_MISSING} == {finding.code for finding in result.findings}
    assert 6 == len(result.findings)


def test_change_after_the_backup_says_that_it_may_be_wanted(here: LocalConnection, tree: Path) -> None:
    """Data newer than the recovery point is declared, never hidden (guarantees.md)."""
    known = manifest(tree, files.collect_tree(here, str(tree)))
    (tree / "a/b/data").write_text("newer work")
    assert "may be a wanted change" in check(here, tree, known).findings[0].detail
    os.utime(tree / "a/b/data", (1_700_000_000, 1_700_000_000))
    assert "" == check(here, tree, known).findings[0].detail
