"""The snapshot: consistent when taken, found damaged when it is, never overwritten (G4, N1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model.canonical import digest
from model.errors import Damaged, Transient
from model.manifest import FileType
from tasks.snapshot import SnapshotManifest, load_snapshot, take_snapshot, verify_snapshot
from tasks.undo import roll_back_files
from tests.tasks.livetree import make_tree, paths_of
from tests.tasks.localhost import JobHost, quiet


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "live")


@pytest.mark.parametrize("place", [0.01, 0.3, 0.5, 0.7, 0.99])
def test_snapshot_with_one_byte_changed_is_found_and_not_used(
    host: JobHost, tree: Path, tmp_path: Path, place: float
) -> None:
    """Corruption is found before the swap (bars: 100 %)."""
    manifest = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    archive = bytearray((tmp_path / "snap" / manifest.archive).read_bytes())
    archive[int(len(archive) * place)] ^= 1
    (tmp_path / "snap" / manifest.archive).write_bytes(archive)
    (tree / "etc/app.conf").write_text("now")
    with pytest.raises(Damaged):
        verify_snapshot(tmp_path / "snap")
    with pytest.raises(Damaged):
        roll_back_files(host, tmp_path / "snap", None, job_prefix="i-1", token=3, progress=quiet)
    assert {} == host.jobs


def test_snapshot_cut_off_or_missing_is_found(host: JobHost, tree: Path, tmp_path: Path) -> None:
    manifest = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    archive = tmp_path / "snap" / manifest.archive
    for size in (archive.stat().st_size - 20_000, 512, 100, 0):
        os.truncate(archive, size)
        with pytest.raises(Damaged):
            verify_snapshot(tmp_path / "snap")
    archive.unlink()
    with pytest.raises(Damaged):
        verify_snapshot(tmp_path / "snap")
    (tmp_path / "snap/manifest.json").write_text("{}")
    with pytest.raises(Damaged):
        load_snapshot(tmp_path / "snap")


def test_snapshot_taken_again_of_the_same_host_is_the_same(host: JobHost, tree: Path, tmp_path: Path) -> None:
    """G2; and the manifest read back has the digest that is signed into the journal."""
    first = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    again = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    assert digest(first) == digest(again) == digest(load_snapshot(tmp_path / "snap"))


def test_snapshot_taken_again_after_a_change_keeps_the_first(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """A snapshot is never overwritten."""
    take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    (tree / "etc/app.conf").write_text("other")
    second = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    assert second == verify_snapshot(tmp_path / "snap")
    assert 1 == len(list((tmp_path / "snap").glob("superseded-*.tar")))


def test_snapshot_of_a_file_that_changes_once_is_consistent(
    host: JobHost, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log written meanwhile is read again; the archive holds what the manifest says."""
    changes: list[Callable[[], object]] = [
        lambda: (tree / "etc/app.conf").write_text("changed during the copy")
    ]
    manifest = _take_while(host, tree, tmp_path, monkeypatch, changes)
    assert manifest == verify_snapshot(tmp_path / "snap")


def test_snapshot_of_a_file_that_never_rests_is_transient_and_names_it(
    host: JobHost, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow() -> None:
        with (tree / "etc/app.conf").open("a") as log:
            log.write("line\n")

    with pytest.raises(Transient, match=r"app\.conf keeps changing"):
        _take_while(host, tree, tmp_path, monkeypatch, [grow] * 9)
    assert not (tmp_path / "snap/manifest.json").exists()


def _take_while(
    host: JobHost,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: list[Callable[[], object]],
) -> SnapshotManifest:
    run = host.run

    def changing(command: object, **options: object) -> object:
        if "--create" in command.argv and changes:  # type: ignore[attr-defined]  # a Command
            changes.pop(0)()
        return run(command, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(host, "run", changing)
    return take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)


def test_snapshot_of_nothing_but_absent_paths_verifies(host: JobHost, tmp_path: Path) -> None:
    take_snapshot(host, [str(tmp_path / "none")], tmp_path / "snap", quiet)
    assert FileType.ABSENT is verify_snapshot(tmp_path / "snap").entries[0].type
